//! `verifyCredentials` from end to end.

use super::*;
use emulator::platform::Fault;

#[tokio::test]
async fn verify_credentials_saves_a_refreshed_token() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    assert_eq!(
        connected.rig.service("verifyCredentials", &[]).await,
        (true, json!({ "verified": true }))
    );
    assert_eq!(connected.provider().refreshes(), 1);
    assert!(connected.rig.has_spendable_token());
    assert_eq!(
        connected.rig.service("verifyCredentials", &[]).await,
        (true, json!({ "verified": true }))
    );
    assert_eq!(connected.provider().refreshes(), 1);
}

#[tokio::test]
async fn an_unsaved_rotated_token_fails_a_one_time_call() {
    let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
    connected
        .platform()
        .inject_faults("PUT .*accounts", [const { Fault::Status(400) }; 10]);
    let (success, data) = connected.rig.service("verifyCredentials", &[]).await;
    assert!(!success, "{data}");
    assert!(
        data["message"]
            .as_str()
            .unwrap()
            .contains("could not be saved"),
        "{data}"
    );
}

/// The call was started with the tokens that the account had before.
#[tokio::test]
async fn a_call_does_not_connect_a_disconnected_account() {
    let left = [
        json!({}),
        json!({ "region": "eu" }),
        json!({ "oauth": null }),
    ];
    for keys in left {
        let connected = connected(Knobs::rotating(), Provider::issue_expired).await;
        let config = connected.rig.step().config;
        let keys = keys.as_object().unwrap().clone();
        connected.platform().set_account(ACCOUNT, keys.clone());
        let (result, _) = connected.rig.call("verifyCredentials", &config, &[]).await;
        let said = result.data.to_string();
        assert!(said.contains("were removed from the account"), "{said}");
        assert_eq!(connected.platform().account(ACCOUNT), Some(keys));
        assert_eq!(connected.provider().refreshes(), 0);
    }
}

/// token-failures: T58.
#[tokio::test]
async fn verification_of_an_unreachable_api_is_an_error() {
    let connected = connected(Knobs::default(), Provider::issue).await;
    connected.set_field("baseUrl", "http://127.0.0.1:1");
    let (success, data) = connected.rig.service("verifyCredentials", &[]).await;
    assert!(!success, "{data}");
    assert!(
        data["message"]
            .as_str()
            .unwrap()
            .contains("could not be checked now"),
        "{data}"
    );
    assert!(connected.provider().token_calls().is_empty());
}

#[tokio::test]
async fn verify_credentials_posts_a_result_or_an_error() {
    for (fields, script, success, text) in [
        (
            json!({ "verifyPath": "/me" }),
            vec![],
            true,
            r#"{"verified":true}"#,
        ),
        (
            json!({ "verifyPath": "/status/403" }),
            vec![],
            true,
            r#""verified":false"#,
        ),
        (
            json!({ "verifyPath": "/none" }),
            vec![],
            true,
            "GET /none returned 404",
        ),
        (
            json!({ "verifyPath": "/me" }),
            vec![Fault::retry_after(429, "0")],
            true,
            r#"{"verified":true}"#,
        ),
        (
            json!({ "verifyPath": "/me" }),
            vec![Fault::retry_after(429, "3600")],
            false,
            "could not be checked now",
        ),
        (
            json!({ "verifyPath": "/me", "baseUrl": "http://127.0.0.1:1" }),
            vec![],
            false,
            "could not be checked now",
        ),
    ] {
        let connected = Connected::start(
            "",
            Provider::issue_expired,
            fields.clone(),
            EmulatorConfig::default(),
        )
        .await;
        connected.provider().script_api(script);
        let (succeeded, data) = connected.rig.service("verifyCredentials", &[]).await;
        assert_eq!(succeeded, success, "{fields}: {data}");
        assert!(data.to_string().contains(text), "{fields}: {data}");
    }
}
