//! Tokens: how long and how often each is valid, and the log of that.

use crate::{Clock, SECOND, access_token, me, provider, refresh, refresh_token, story, text};
use emulator::provider::{Knobs, ProviderEventKind};
use serde_json::json;

#[tokio::test]
async fn an_expired_access_token_is_refused_and_refreshed() {
    let provider = provider(Knobs {
        access_lifetime: 60 * SECOND,
        ..Knobs::default()
    })
    .await;
    let clock = Clock::pause();
    let record = provider.issue();
    assert_eq!(record["expires_in"], 60);
    assert_eq!(me(&provider, text(&record, "access_token")).await, 200);
    clock.advance(60 * SECOND).await;
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    let (status, response) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        (status, &response["token_type"], &response["scope"]),
        (200, &json!("Bearer"), &json!("read write"))
    );
    assert_eq!(me(&provider, access_token(&response)).await, 200);
}

#[tokio::test]
async fn an_expired_grant_has_only_a_valid_refresh_token() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue_expired();
    assert_eq!(record["expires_in"], 3600);
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    assert!(!provider.is_valid(text(&record, "access_token")));
    assert!(provider.is_spendable(text(&record, "refresh_token")));
}

#[tokio::test]
async fn without_rotation_the_refresh_token_stays_valid() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    assert_eq!(refresh(&provider, token).await.1["refresh_token"], token);
    provider.knobs(|knobs| knobs.omit_refresh_token = true);
    let (status, response) = refresh(&provider, token).await;
    assert_eq!((status, response.get("refresh_token")), (200, None));
    assert!(
        provider.issue().contains_key("refresh_token"),
        "an authorization always returns a refresh token"
    );
    assert_eq!((provider.uses(token), provider.refreshes()), (2, 2));
}

#[tokio::test]
async fn rotation_replaces_the_refresh_token() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    let (_, first) = refresh(&provider, text(&record, "refresh_token")).await;
    let (status, _) = refresh(&provider, refresh_token(&first)).await;
    assert_eq!(status, 200);
    assert_eq!(
        story(&provider),
        [
            "issued at-2 and rt-1 (grant 0)",
            "spent rt-1",
            "issued at-4 and rt-3 (grant 0)",
            "spent rt-3",
            "issued at-6 and rt-5 (grant 0)",
        ]
    );
}

#[tokio::test]
async fn family_kill_revokes_the_grant_of_a_reused_token() {
    let provider = provider(Knobs::rotating()).await;
    let (record, other) = (provider.issue(), provider.issue());
    let (_, winner) = refresh(&provider, text(&record, "refresh_token")).await;
    assert!(!provider.is_spendable(text(&record, "refresh_token")));
    let (status, response) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!((status, &response["error"]), (400, &json!("invalid_grant")));
    assert_eq!(
        story(&provider)[4..],
        [
            "reuse of rt-1: refused",
            "all tokens of grant 0 are revoked"
        ]
    );
    assert_eq!(refresh(&provider, refresh_token(&winner)).await.0, 400);
    assert_eq!(me(&provider, access_token(&winner)).await, 401);
    assert_eq!(me(&provider, text(&other, "access_token")).await, 200);
    assert!(provider.is_spendable(text(&other, "refresh_token")));
}

#[tokio::test]
async fn without_family_kill_only_the_reused_token_is_refused() {
    let provider = provider(Knobs {
        kill_family_on_reuse: false,
        ..Knobs::rotating()
    })
    .await;
    let record = provider.issue();
    let (_, winner) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.0,
        400
    );
    assert_eq!(refresh(&provider, refresh_token(&winner)).await.0, 200);
}

#[tokio::test]
async fn within_the_grace_period_both_token_pairs_are_valid() {
    let provider = provider(Knobs {
        grace: 30 * SECOND,
        ..Knobs::rotating()
    })
    .await;
    let clock = Clock::pause();
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    let (_, first) = refresh(&provider, token).await;
    clock.advance(29 * SECOND).await;
    assert!(provider.is_spendable(token));
    let (status, second) = refresh(&provider, token).await;
    assert_eq!(status, 200);
    assert!(
        provider.is_spendable(refresh_token(&first))
            && provider.is_spendable(refresh_token(&second))
    );
    assert_eq!(
        (
            me(&provider, access_token(&first)).await,
            me(&provider, access_token(&second)).await
        ),
        (200, 200)
    );

    clock.advance(SECOND).await;
    assert!(!provider.is_spendable(token));
    assert_eq!(refresh(&provider, token).await.0, 400);
    assert!(
        !provider.is_spendable(refresh_token(&second)),
        "the whole grant is revoked"
    );
    let uses: Vec<String> = provider
        .log()
        .iter()
        .map(|entry| entry.kind.to_string())
        .collect();
    assert_eq!(
        uses.iter()
            .filter(|line| line.contains("within the grace period"))
            .count(),
        1
    );
    assert_eq!(provider.uses(token), 3);
}

#[tokio::test]
async fn with_endless_grace_an_old_refresh_token_is_valid() {
    let provider = provider(Knobs::preset("microsoft").unwrap()).await;
    let clock = Clock::pause();
    let record = provider.issue();
    let scope = text(&record, "scope");
    for _ in 0..3 {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", text(&record, "refresh_token")),
            ("client_id", crate::ID),
            ("client_secret", crate::SECRET),
            ("scope", scope),
        ];
        let (status, response) = crate::token_call(&provider, &form).await;
        assert_eq!(status, 200, "{response}");
        assert_ne!(response["refresh_token"], record["refresh_token"]);
        clock.advance(86_400 * SECOND).await;
    }
}

#[tokio::test]
async fn an_expired_refresh_token_is_refused() {
    let provider = provider(Knobs {
        refresh_lifetime: Some(100 * SECOND),
        ..Knobs::default()
    })
    .await;
    let clock = Clock::pause();
    let record = provider.issue();
    assert_eq!(record["refresh_token_expires_in"], 100);
    clock.advance(100 * SECOND).await;
    let (status, response) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        (status, &response["error_description"]),
        (400, &json!("this refresh token is expired"))
    );
}

#[tokio::test]
async fn tokens_can_be_expired_and_revoked_by_a_test() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    provider.expire_access_tokens();
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.0,
        200
    );
    provider.revoke_all();
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.0,
        400
    );
}

#[tokio::test]
async fn with_one_access_token_per_grant_the_earlier_one_ends() {
    let provider = provider(Knobs {
        one_access_token: true,
        ..Knobs::default()
    })
    .await;
    let record = provider.issue();
    let (_, response) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    assert_eq!(me(&provider, access_token(&response)).await, 200);
}

#[tokio::test]
async fn a_grant_can_have_no_refresh_token() {
    let provider = provider(Knobs {
        issue_refresh_token: false,
        ..Knobs::default()
    })
    .await;
    assert!(!provider.issue().contains_key("refresh_token"));
}

#[tokio::test]
async fn a_refused_early_refresh_spends_nothing() {
    let knobs = Knobs {
        access_lifetime: 600 * SECOND,
        refuse_early: Some(30 * SECOND),
        ..Knobs::rotating()
    };
    let provider = provider(knobs).await;
    let clock = Clock::pause();
    let record = provider.issue();
    clock.advance(569 * SECOND).await;
    let (status, response) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        (status, &response["error"]),
        (400, &json!("invalid_request"))
    );
    clock.advance(SECOND).await;
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.0,
        200
    );
}

#[tokio::test]
async fn a_narrower_scope_on_refresh_is_granted() {
    let provider = provider(Knobs {
        narrow_scope: Some("read".into()),
        ..Knobs::default()
    })
    .await;
    let record = provider.issue();
    assert_eq!(record["scope"], "read write");
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.1["scope"],
        "read"
    );
}

#[tokio::test]
async fn the_log_prints_no_token() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    me(&provider, text(&record, "access_token")).await;
    let (_, response) = refresh(&provider, text(&record, "refresh_token")).await;
    refresh(&provider, "somebody-else's-refresh-token").await;
    let secrets = provider.secrets();
    for secret in [
        text(&record, "access_token"),
        text(&record, "refresh_token"),
        refresh_token(&response),
        "somebody-else's-refresh-token",
        crate::SECRET,
    ] {
        assert!(secrets.iter().any(|known| known == secret));
    }
    let shown = format!(
        "{:?} {:?} {:?}",
        provider.log(),
        provider.token_calls(),
        provider.api_calls()
    );
    assert!(
        shown.contains("issued at-2 and rt-1") && shown.contains("an unknown token"),
        "{shown}"
    );
    secrets
        .iter()
        .for_each(|secret| assert!(!shown.contains(secret.as_str()), "{shown}"));
    let Some(ProviderEventKind::Issued { access, .. }) =
        provider.log().first().map(|entry| entry.kind.clone())
    else {
        panic!()
    };
    assert_eq!(access, record["access_token"]);
}
