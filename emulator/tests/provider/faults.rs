//! Injected faults: scripted responses, and calls that are held.

use crate::{Clock, SECOND, client, me, provider, refresh, send_refresh, story, text};
use emulator::provider::{Fault, Knobs};
use reqwest::Response;
use serde_json::json;

#[tokio::test]
async fn token_calls_take_scripted_responses_in_order() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token");
    provider.script_token([
        Fault::Json(503, json!({"down": true})),
        Fault::Normal,
        Fault::retry_after(429, "7"),
        Fault::oauth_error("temporarily_unavailable"),
        Fault::Response {
            status: 200,
            headers: vec![("content-type".into(), "text/html".into())],
            body: "<p>".into(),
        },
    ]);
    assert_eq!(
        refresh(&provider, token).await,
        (503, json!({"down": true}))
    );
    assert_eq!(refresh(&provider, token).await.0, 200);
    let limited = send_refresh(&provider, token).await.unwrap();
    assert_eq!(
        (limited.status().as_u16(), &limited.headers()["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(
        refresh(&provider, token).await,
        (400, json!({"error": "temporarily_unavailable"}))
    );
    let page = send_refresh(&provider, token).await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html");
    assert_eq!(page.text().await.unwrap(), "<p>");
    assert_eq!(refresh(&provider, token).await.0, 200);
    assert_eq!((provider.refreshes(), provider.uses(token)), (6, 2));
    let statuses: Vec<_> = provider
        .token_calls()
        .iter()
        .map(|call| call.request.status)
        .collect();
    assert_eq!(statuses, [503, 200, 429, 400, 200, 200].map(Some));
}

#[tokio::test]
async fn a_redirect_is_307_and_does_nothing() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    provider.script_token([Fault::Redirect("http://127.0.0.1:1/token".into())]);
    let response = send_refresh(&provider, text(&record, "refresh_token"))
        .await
        .unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (307, &"http://127.0.0.1:1/token".parse().unwrap())
    );
    assert!(provider.is_spendable(text(&record, "refresh_token")));
}

#[tokio::test]
async fn a_cut_before_the_exchange_spends_nothing() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    provider.script_token([Fault::DropBefore]);
    assert!(
        send_refresh(&provider, text(&record, "refresh_token"))
            .await
            .is_err()
    );
    assert!(provider.is_spendable(text(&record, "refresh_token")));
    assert_eq!(provider.token_calls()[0].request.status, None);
}

#[tokio::test]
async fn a_response_lost_after_the_exchange_spends_the_token() {
    let provider = provider(Knobs::rotating()).await;
    for lost in [
        Fault::DropAfter,
        Fault::DropMidBody,
        Fault::JsonAfter(504, json!({})),
    ] {
        let record = provider.issue();
        provider.script_token([lost.clone()]);
        let answer = match send_refresh(&provider, text(&record, "refresh_token")).await {
            Ok(response) => response.error_for_status().map(Response::bytes),
            Err(error) => Err(error),
        };
        let arrived = match answer {
            Ok(body) => body.await.is_ok(),
            Err(_) => false,
        };
        assert!(!arrived, "{lost:?}");
        assert!(
            !provider.is_spendable(text(&record, "refresh_token")),
            "{lost:?}"
        );
    }
}

#[tokio::test]
async fn delays_come_before_or_after_the_exchange() {
    let clock = Clock::pause();
    for (delay, spent) in [
        (Fault::DelayBefore(10 * SECOND), false),
        (Fault::DelayAfter(10 * SECOND), true),
    ] {
        let provider = provider(Knobs::rotating()).await;
        let record = provider.issue();
        provider.script_token([delay]);
        let token = text(&record, "refresh_token").to_owned();
        let refreshing = tokio::spawn({
            let (provider, token) = (provider.clone(), token.clone());
            async move { refresh(&provider, &token).await.0 }
        });
        provider.token_called(1).await;
        if spent {
            while provider.is_spendable(&token) {
                tokio::task::yield_now().await;
            }
        }
        clock.advance(9 * SECOND).await;
        assert_eq!(provider.is_spendable(&token), !spent);
        assert!(!refreshing.is_finished());
        clock.advance(SECOND).await;
        assert_eq!(refreshing.await.unwrap(), 200);
    }
}

#[tokio::test]
async fn released_calls_are_carried_out() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token").to_owned();
    let hold = provider.hold_token_calls();
    let refreshing = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { refresh(&provider, &token).await.0 }
    });
    hold.held(1).await;
    assert!(provider.is_spendable(&token));
    hold.release();
    assert_eq!(refreshing.await.unwrap(), 200);
    assert_eq!(
        refresh(&provider, &token).await.0,
        400,
        "a released hold must not hold calls"
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_held_response_has_spent_the_token() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token").to_owned();
    let hold = provider.hold_token_responses();
    let refreshing = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { refresh(&provider, &token).await }
    });
    hold.held(1).await;
    refreshing.abort();
    assert!(!provider.is_spendable(&token));
    assert_eq!(
        story(&provider)[1..],
        ["spent rt-1", "issued at-4 and rt-3 (grant 0)"]
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_held_call_still_spends_the_token() {
    let provider = provider(Knobs::rotating()).await;
    let record = provider.issue();
    let token = text(&record, "refresh_token").to_owned();
    let (hold, mut entries) = (provider.hold_token_calls(), provider.watch());
    let refreshing = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { refresh(&provider, &token).await }
    });
    hold.held(1).await;
    refreshing.abort();
    let _ = refreshing.await;
    hold.release();
    assert_eq!(entries.recv().await.unwrap().kind.to_string(), "spent rt-1");
    assert!(!provider.is_spendable(&token));
}

#[tokio::test]
async fn a_second_parallel_refresh_is_refused() {
    let provider = provider(Knobs {
        concurrent_refresh_fails: true,
        ..Knobs::default()
    })
    .await;
    let (record, other) = (provider.issue(), provider.issue());
    let token = text(&record, "refresh_token").to_owned();
    let hold = provider.hold_token_responses();
    let first = tokio::spawn({
        let (provider, token) = (provider.clone(), token.clone());
        async move { refresh(&provider, &token).await.0 }
    });
    hold.held(1).await;
    let refused = refresh(&provider, &token).await;
    assert_eq!(
        refused,
        (
            400,
            json!({"error": "invalid_grant", "error_description": "expired authorization code"})
        )
    );
    hold.release();
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(refresh(&provider, &token).await.0, 200);
    assert_eq!(
        refresh(&provider, text(&other, "refresh_token")).await.0,
        200
    );
}

#[tokio::test]
async fn latency_delays_token_calls() {
    let provider = provider(Knobs {
        latency: 5 * SECOND,
        ..Knobs::default()
    })
    .await;
    let clock = Clock::pause();
    let record = provider.issue();
    let refreshing = tokio::spawn({
        let (provider, token) = (provider.clone(), text(&record, "refresh_token").to_owned());
        async move { refresh(&provider, &token).await.0 }
    });
    provider.token_called(1).await;
    clock.advance(4 * SECOND).await;
    assert!(!refreshing.is_finished());
    clock.advance(SECOND).await;
    assert_eq!(refreshing.await.unwrap(), 200);
}

#[tokio::test]
async fn api_calls_take_scripted_responses() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let challenge = r#"Bearer error="insufficient_claims", claims="eyJ9""#;
    provider.script_api([
        Fault::retry_after(429, "2"),
        Fault::Response {
            status: 401,
            headers: vec![
                ("www-authenticate".into(), "Basic realm=\"x\"".into()),
                ("www-authenticate".into(), challenge.into()),
            ],
            body: String::new(),
        },
    ]);
    assert_eq!(me(&provider, text(&record, "access_token")).await, 429);
    let request = client()
        .get(provider.api_url() + "/me")
        .bearer_auth(text(&record, "access_token"));
    let response = request.send().await.unwrap();
    let challenges: Vec<_> = response
        .headers()
        .get_all("www-authenticate")
        .iter()
        .collect();
    assert_eq!(challenges, ["Basic realm=\"x\"", challenge]);
    assert_eq!(me(&provider, text(&record, "access_token")).await, 200);
}

#[tokio::test]
async fn a_held_api_response_was_decided_before_the_expiry() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let hold = provider.hold_api_responses();
    let asking = tokio::spawn({
        let (provider, token) = (provider.clone(), text(&record, "access_token").to_owned());
        async move { me(&provider, &token).await }
    });
    hold.held(1).await;
    provider.api_called(1).await;
    provider.expire_access_tokens();
    hold.release();
    assert_eq!(asking.await.unwrap(), 200);
}

#[tokio::test]
async fn stopping_the_provider_ends_open_calls() {
    let provider = provider(Knobs::default()).await;
    let record = provider.issue();
    let hold = provider.hold_token_calls();
    let refreshing = tokio::spawn({
        let (provider, token) = (provider.clone(), text(&record, "refresh_token").to_owned());
        async move { send_refresh(&provider, &token).await.is_err() }
    });
    hold.held(1).await;
    provider.shutdown().await;
    assert!(refreshing.await.unwrap());
}
