//! The record of calls, and injected faults.

use crate::{basic, bearer, platform};
use emulator::platform::Fault;
use reqwest::Client;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn calls_are_recorded_in_order() {
    let (platform, client) = platform().await;
    basic(client.get(platform.url() + "/v1/accounts/acc?x=1"))
        .send()
        .await
        .unwrap();
    bearer(client.post(platform.url() + "/objects"))
        .json(&json!({"a": 1}))
        .send()
        .await
        .unwrap();
    client
        .get(platform.url() + "/nowhere")
        .send()
        .await
        .unwrap();
    let calls = platform.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|c| {
            (
                c.line(),
                c.credentials().unwrap_or_default(),
                c.json(),
                c.status,
            )
        })
        .collect();
    let expected = [
        (
            "GET /v1/accounts/acc?x=1".into(),
            "emulator-user:emulator-key".into(),
            None,
            Some(200),
        ),
        (
            "POST /objects".into(),
            "Bearer emulator-storage-token".into(),
            Some(json!({"a": 1})),
            Some(201),
        ),
        ("GET /nowhere".into(), String::new(), None, Some(501)),
    ];
    assert_eq!(seen, expected);
    assert!(!format!("{calls:?}").contains("emulator-key"));
}

#[tokio::test]
async fn ordered_faults_are_used_once_each() {
    let (platform, client) = platform().await;
    platform.inject_faults(
        "GET /v1/accounts",
        [Fault::Status(503), Fault::DropBefore, Fault::Status(429)],
    );
    let get = |path: &str| basic(client.get(platform.url() + path)).send();

    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 503);
    assert_eq!(
        get("/v1/tasks/flow/steps/step_1").await.unwrap().status(),
        200
    );
    // A new client with a new connection: clients may retry by themselves when a reused connection is cut.
    assert!(
        basic(Client::new().get(platform.url() + "/v1/accounts/acc"))
            .send()
            .await
            .is_err()
    );
    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 429);
    assert_eq!(get("/v1/accounts/acc").await.unwrap().status(), 200);
    let statuses: Vec<_> = platform
        .called("/v1/accounts", 4)
        .await
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [Some(503), None, Some(429), Some(200)]);
}

#[tokio::test]
async fn a_hanging_call_gets_no_response() {
    let (platform, client) = platform().await;
    platform.inject_faults("GET /v1/accounts", [Fault::Hang]);
    let request =
        basic(client.get(platform.url() + "/v1/accounts/acc")).timeout(Duration::from_secs(30));
    let call = tokio::spawn(request.send());
    assert_eq!(platform.called("GET /v1/accounts", 1).await[0].status, None);
    assert!(!call.is_finished());
    platform.shutdown().await;
    assert!(!call.await.unwrap().unwrap_err().is_timeout());
}

#[tokio::test]
async fn waiting_for_a_call_waits_for_its_status() {
    let (platform, client) = platform().await;
    let waiting = tokio::spawn({
        let platform = platform.clone();
        async move { platform.called("^PUT /v1/accounts/acc$", 1).await }
    });
    basic(client.put(platform.url() + "/v1/accounts/acc"))
        .json(&json!({"keys": {"k": 1}}))
        .send()
        .await
        .unwrap();
    let calls = waiting.await.unwrap();
    assert_eq!(
        (calls[0].status, calls[0].json()),
        (Some(200), Some(json!({"keys": {"k": 1}})))
    );
}
