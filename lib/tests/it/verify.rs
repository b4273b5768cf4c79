//! verifyCredentials: whether the credentials work, or an error if that cannot be checked.

use super::Rig;
use emulator::provider::{Knobs, Provider};
use sailor::Verified;
use serde_json::{Value, json};

impl Rig {
    async fn verify(&self, fields: Value) -> anyhow::Result<Verified> {
        self.harness("", fields).verify().await
    }
}

fn me() -> Value {
    json!({ "verifyPath": "/me" })
}

#[tokio::test]
async fn valid_credentials_cost_one_request() {
    let rig = Rig::new().await;
    assert_eq!(rig.verify(me()).await.unwrap(), Verified::Yes);
    assert_eq!((rig.statuses(), rig.provider.refreshes()), (vec![200], 0));
    for empty in [json!({}), json!({ "verifyPath": "" })] {
        assert_eq!(
            rig.verify(empty).await.unwrap(),
            Verified::Yes,
            "an available token is enough"
        );
    }
    assert_eq!(rig.statuses(), [200]);
}

#[tokio::test]
async fn an_expired_token_is_refreshed_once() {
    let rig = Rig::expired().await;
    assert_eq!(rig.verify(me()).await.unwrap(), Verified::Yes);
    assert_eq!(
        (rig.statuses(), rig.provider.refreshes()),
        (vec![401, 200], 1)
    );
}

#[tokio::test]
async fn refused_credentials_are_not_verified() {
    let rig = Rig::expired().await;
    rig.provider.revoke_all();
    let Ok(Verified::No(reason)) = rig.verify(me()).await else {
        panic!("refused credentials are verified")
    };
    assert!(reason.contains("connect the account again"), "{reason}");
    let refusing = Rig::with(
        Knobs {
            refuse_all: true,
            ..Knobs::default()
        },
        Provider::issue,
    )
    .await;
    assert!(matches!(refusing.verify(me()).await, Ok(Verified::No(_))));
    let rig = Rig::new().await;
    let forbidden = rig.verify(json!({ "verifyPath": "/status/403" })).await;
    assert!(matches!(forbidden, Ok(Verified::No(reason)) if reason.contains("403")));
}

#[tokio::test]
async fn a_busy_api_is_retried_or_fails_the_check() {
    let rig = Rig::new().await;
    rig.busy_once();
    assert_eq!(rig.verify(me()).await.unwrap(), Verified::Yes);
    rig.busy_for_long();
    assert!(
        rig.verify(me())
            .await
            .unwrap_err()
            .to_string()
            .contains("429")
    );
}

#[tokio::test]
async fn a_network_error_is_an_error_and_not_a_result() {
    let rig = Rig::new().await;
    let mut away = me();
    away["baseUrl"] = "http://127.0.0.1:1".into();
    assert!(
        rig.verify(away)
            .await
            .unwrap_err()
            .to_string()
            .contains("without a response")
    );
    let expired = Rig::expired().await;
    expired
        .provider
        .script_token((0..10).map(|_| emulator::provider::Fault::retry_after(503, "0")));
    assert!(expired.verify(me()).await.is_err());
}

#[tokio::test]
async fn invalid_fields_are_named_in_the_error() {
    let rig = Rig::new().await;
    for (fields, expected) in [
        (json!({ "verifyPath": 7 }), "verifyPath: expected a string"),
        (json!({ "verifyPath": "/none" }), "GET /none returned 404"),
        (
            json!({ "verifyPath": "/me", "baseUrl": "ftp://example.com" }),
            "the base URL is not a valid address",
        ),
    ] {
        let error = format!("{:#}", rig.verify(fields).await.unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
    }
}
