//! APIs that reject new tokens as well: a refresh does not help, and must not happen again and again.

use super::{account::Fault as AccountFault, rejected::invalid_token, rig::Rig};
use emulator::provider::{Fault, Knobs};
use reqwest::StatusCode;
use serde_json::json;
use std::time::Duration;

/// token-failures: T39.
#[tokio::test]
async fn an_api_that_rejects_every_token_costs_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for _ in 0..50 {
        let error = replica.get().await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
    }
    // One for the first token, which could have expired, and three for new ones.
    assert_eq!(rig.provider.refreshes(), 4);

    // Refreshing resumes after a while.
    rig.clock.advance(Duration::from_secs(61)).await;
    for _ in 0..10 {
        replica.get().await.unwrap_err();
    }
    assert_eq!(rig.provider.refreshes(), 5);
}

/// Other requests start while a new token, which is already in the configuration, is being saved.
/// token-failures: T39.
#[tokio::test]
async fn parallel_rejections_before_the_save_cost_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for round in 1..=10 {
        rig.account.fail([AccountFault::WaitMerged]);
        let mut first = std::pin::pin!(replica.get());
        tokio::select! {
            response = &mut first => {
                response.unwrap_err();
                continue;
            }
            () = rig.account.saving_begun(round) => {}
        }
        let requests = rig.provider.api_calls().len();
        let mut other = std::pin::pin!(replica.get());
        tokio::select! {
            response = &mut other => panic!("{response:?}, although the token is not saved"),
            () = rig.provider.api_called(requests + 1) => {}
        }
        rig.account.gate.0.add_permits(1);
        first.await.unwrap_err();
        other.await.unwrap_err();
    }
    assert_eq!(rig.provider.refreshes(), 4);
}

/// The tokens are a minute old when they are rejected, but the API has never accepted one of them.
/// token-failures: T39.
#[tokio::test]
async fn slow_rejections_of_every_token_cost_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    rig.provider.script_api(vec![invalid_token(); 200]);
    let replica = rig.replica();
    for _ in 0..50 {
        replica.get().await.unwrap_err();
        rig.clock.advance(Duration::from_secs(61)).await;
    }
    assert!(
        rig.provider.refreshes() <= 15,
        "{} in 50 minutes",
        rig.provider.refreshes()
    );
}

/// Some APIs return 401, even for a valid token, if the user may not make the request.
/// token-failures: T39.
#[tokio::test]
async fn a_request_that_is_always_rejected_costs_few_refreshes() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    for _ in 0..50 {
        rig.provider.script_api([invalid_token(), invalid_token()]);
        let error = replica.get().await.unwrap_err();
        assert_eq!(error.status(), Some(StatusCode::UNAUTHORIZED), "{error}");
        // Use up the scripted response of a resend that did not happen.
        while replica.get().await.is_err() {}
    }
    assert!(
        rig.provider.refreshes() <= 4,
        "{}",
        rig.provider.refreshes()
    );

    // For other requests, an expired token is refreshed without delay.
    rig.clock.advance(Duration::from_secs(61)).await;
    rig.provider.expire_access_tokens();
    let refreshes = rig.provider.refreshes();
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), refreshes + 1);
}

/// token-failures: T39.
#[tokio::test]
async fn short_lived_tokens_are_refreshed_each_time() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    for refreshes in 1..=10 {
        rig.provider.expire_access_tokens();
        replica.get().await.unwrap();
        assert_eq!(rig.provider.refreshes(), refreshes);
    }
}

/// token-failures: T39.
#[tokio::test]
async fn refreshing_resumes_after_the_pause_for_rejected_tokens() {
    let rig = Rig::new(Knobs::rotating()).await;
    let replica = rig.replica();
    let reject = |count| {
        rig.provider
            .script_api(vec![Fault::Json(401, json!({})); count]);
    };
    let mut refreshes = 0;
    for _ in 0..10 {
        reject(2);
        replica.get().await.unwrap_err();
        if std::mem::replace(&mut refreshes, rig.provider.refreshes()) == refreshes {
            break;
        }
    }
    assert!((1..=4).contains(&refreshes), "{refreshes}");
    // Use up the rest of the script.
    while replica.get().await.is_err() {}
    // In the meantime a token that the API accepts is used, and one that it rejects is not refreshed.
    replica.get().await.unwrap();
    reject(1);
    let error = replica.get().await.unwrap_err();
    assert_eq!(
        (error.status().unwrap().as_u16(), rig.provider.refreshes()),
        (401, refreshes)
    );
    rig.clock.advance(Duration::from_secs(61)).await;
    reject(1);
    replica.get().await.unwrap();
    assert_eq!(rig.provider.refreshes(), refreshes + 1);
}
