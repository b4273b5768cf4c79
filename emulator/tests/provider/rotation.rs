//! Tokens: how long they live, how often they are good, and what the log says of it.

use crate::{Clock, SECOND, access_token, me, provider, refresh, refresh_token, story, text};
use emulator::provider::{Kind, Knobs};
use serde_json::json;

#[tokio::test]
async fn given_a_token_when_its_lifetime_is_over_then_the_api_refuses_it_and_a_refresh_brings_another()
 {
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
    let (status, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        (status, &answer["token_type"], &answer["scope"]),
        (200, &json!("Bearer"), &json!("read write"))
    );
    assert_eq!(me(&provider, access_token(&answer)).await, 200);
}

#[tokio::test]
async fn given_a_grant_that_is_issued_expired_when_it_is_used_then_only_its_refresh_token_is_good()
{
    let provider = provider(Knobs::default()).await;
    let record = provider.issue_expired();
    assert_eq!(record["expires_in"], 3600);
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    assert!(!provider.is_good(text(&record, "access_token")));
    assert!(provider.is_spendable(text(&record, "refresh_token")));
}

#[tokio::test]
async fn given_no_rotation_when_a_refresh_token_is_used_often_then_it_stays_good_and_is_repeated_or_left_out()
 {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    assert_eq!(refresh(&provider, token).await.1["refresh_token"], token);
    provider.knobs(|knobs| knobs.omit_refresh_token = true);
    let (status, answer) = refresh(&provider, token).await;
    assert_eq!((status, answer.get("refresh_token")), (200, None));
    assert!(
        provider.issue().contains_key("refresh_token"),
        "an authorization brings one in any case"
    );
    assert_eq!((provider.presented(token), provider.refreshes()), (2, 2));
}

#[tokio::test]
async fn given_rotation_when_a_refresh_token_is_spent_then_the_next_one_is_good_and_the_log_tells()
{
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
async fn given_family_kill_when_a_spent_refresh_token_comes_again_then_all_tokens_of_its_grant_are_dead_and_no_others()
 {
    let provider = provider(Knobs::rotating()).await;
    let (record, other) = (provider.issue(), provider.issue());
    let (_, winner) = refresh(&provider, text(&record, "refresh_token")).await;
    assert!(!provider.is_spendable(text(&record, "refresh_token")));
    let (status, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    assert_eq!(
        story(&provider)[4..],
        ["reuse of rt-1: refused", "all tokens of grant 0 are dead"]
    );
    assert_eq!(refresh(&provider, refresh_token(&winner)).await.0, 400);
    assert_eq!(me(&provider, access_token(&winner)).await, 401);
    assert_eq!(me(&provider, text(&other, "access_token")).await, 200);
    assert!(provider.is_spendable(text(&other, "refresh_token")));
}

#[tokio::test]
async fn given_no_family_kill_when_a_spent_refresh_token_comes_again_then_only_that_is_refused() {
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
async fn given_a_grace_period_when_a_spent_refresh_token_comes_again_then_both_pairs_are_good_until_it_ends()
 {
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
        "the whole grant is dead"
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
    assert_eq!(provider.presented(token), 3);
}

#[tokio::test]
async fn given_grace_for_ever_when_an_old_refresh_token_comes_then_it_is_good() {
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
        let (status, answer) = crate::token_call(&provider, &form).await;
        assert_eq!(status, 200, "{answer}");
        assert_ne!(answer["refresh_token"], record["refresh_token"]);
        clock.advance(86_400 * SECOND).await;
    }
}

#[tokio::test]
async fn given_a_lifetime_of_refresh_tokens_when_it_is_over_then_they_are_refused() {
    let provider = provider(Knobs {
        refresh_lifetime: Some(100 * SECOND),
        ..Knobs::default()
    })
    .await;
    let clock = Clock::pause();
    let record = provider.issue();
    assert_eq!(record["refresh_token_expires_in"], 100);
    clock.advance(100 * SECOND).await;
    let (status, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(
        (status, &answer["error_description"]),
        (400, &json!("this refresh token is expired"))
    );
}

#[tokio::test]
async fn given_tokens_that_are_out_when_a_test_expires_or_revokes_them_then_they_are_not_good_any_more()
 {
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
async fn given_one_access_token_per_grant_when_it_is_refreshed_then_the_earlier_one_ends() {
    let provider = provider(Knobs {
        one_access_token: true,
        ..Knobs::default()
    })
    .await;
    let record = provider.issue();
    let (_, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!(me(&provider, text(&record, "access_token")).await, 401);
    assert_eq!(me(&provider, access_token(&answer)).await, 200);
}

#[tokio::test]
async fn given_no_refresh_tokens_when_a_grant_is_issued_then_it_has_none() {
    let provider = provider(Knobs {
        issue_refresh_token: false,
        ..Knobs::default()
    })
    .await;
    assert!(!provider.issue().contains_key("refresh_token"));
}

#[tokio::test]
async fn given_early_refreshes_are_refused_when_one_comes_then_nothing_is_spent_and_it_is_good_later()
 {
    let knobs = Knobs {
        access_lifetime: 600 * SECOND,
        refuse_early: Some(30 * SECOND),
        ..Knobs::rotating()
    };
    let provider = provider(knobs).await;
    let clock = Clock::pause();
    let record = provider.issue();
    clock.advance(569 * SECOND).await;
    let (status, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_request")));
    clock.advance(SECOND).await;
    assert_eq!(
        refresh(&provider, text(&record, "refresh_token")).await.0,
        200
    );
}

#[tokio::test]
async fn given_a_narrower_scope_on_refresh_when_it_is_answered_then_the_grant_has_only_that() {
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
async fn given_everything_that_happened_when_it_is_shown_then_no_token_is_in_it() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    me(&provider, text(&record, "access_token")).await;
    let (_, answer) = refresh(&provider, text(&record, "refresh_token")).await;
    refresh(&provider, "somebody-else's-refresh-token").await;
    let secrets = provider.secrets();
    for secret in [
        text(&record, "access_token"),
        text(&record, "refresh_token"),
        refresh_token(&answer),
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
    let Some(Kind::Issued { access, .. }) = provider.log().first().map(|entry| entry.kind.clone())
    else {
        panic!()
    };
    assert_eq!(access, record["access_token"]);
}
