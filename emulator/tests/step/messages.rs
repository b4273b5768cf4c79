//! What a component does with messages, as events.

use crate::{Rig, rig};
use emulator::{EmulatorConfig, EventKind};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn both_protocol_versions_are_decrypted() {
    for protocol_version in [1, 2] {
        let rig = Rig::start(EmulatorConfig {
            protocol_version,
            ..EmulatorConfig::default()
        })
        .await;
        let id = rig
            .emulator
            .send(&json!({"id": "m1", "body": {"a": "ü"}}), &Headers::new());
        assert_eq!(id, "m1");
        assert_eq!(
            rig.find(EventKind::Data).await.body["body"],
            json!({"a": "ü"})
        );
        assert_eq!(rig.find(EventKind::Acked).await.message_id(), "m1");
        rig.emulator.settled().await;
    }
}

#[tokio::test]
async fn a_sent_message_has_the_platforms_headers() {
    let rig = rig().await;
    let given = json!({"x-eio-meta-a": "1", "threadId": "t", "userId": null, "n": 7});
    rig.emulator
        .send(&json!({"body": {}}), given.as_object().unwrap());
    let headers = &rig.find(EventKind::Delivered).await.headers;
    for (name, value) in [
        ("execId", json!("emulated-exec")),
        ("taskId", json!("emulated-flow")),
        ("stepId", json!("step_0")),
        ("threadId", json!("t")),
        ("x-eio-meta-a", json!("1")),
        ("n", json!(7)),
    ] {
        assert_eq!(headers[name], value);
    }
    assert!(headers["messageId"].is_string() && headers["parentMessageId"].is_string());
    assert!(!headers.contains_key("userId"));
}

#[tokio::test]
async fn a_rejected_message_is_dead_lettered_with_its_error() {
    let rig = rig().await;
    let id = rig.send("fail");
    let error = rig.find(EventKind::Error).await;
    assert_eq!(error.body["error"]["message"], "as told");
    assert_eq!(error.body["errorInput"]["body"]["op"], "fail");
    assert_eq!(rig.find(EventKind::Rejected).await.message_id(), id);
    let dead = rig.find(EventKind::DeadLettered).await;
    assert_eq!(
        (dead.message_id(), &dead.routing_key),
        (id.as_str(), &rig.emulator.topology().dead_key)
    );
}

#[tokio::test]
async fn a_rebound_comes_back_after_the_shortened_delay() {
    let rig = Rig::start(EmulatorConfig {
        rebound_speed_up: 300,
        ..EmulatorConfig::default()
    })
    .await;
    let id = rig.send("rebound");
    let rebound = rig.find(EventKind::Rebound).await;
    assert_eq!(
        (rebound.message_id(), &rebound.body["body"]["op"]),
        (id.as_str(), &json!("rebound"))
    );
    let back = rig.find(EventKind::CameBack).await;
    assert_eq!(back.message_id(), id);
    let waited = back.at - rebound.at;
    assert!(
        (Duration::from_millis(45)..Duration::from_secs(5)).contains(&waited),
        "50 ms wanted, {waited:?} waited"
    );
    assert_eq!(rig.find(EventKind::Data).await.body["body"], "again");
}

#[tokio::test]
async fn snapshot_events_update_the_step() {
    let rig = rig().await;
    let snapshot = || {
        rig.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot
    };
    rig.send("snapshot");
    assert_eq!(
        rig.find(EventKind::Snapshot).await.body,
        json!({"a": 1, "b": 1})
    );
    assert_eq!(snapshot(), json!({"a": 1, "b": 1}));
    rig.send("update snapshot");
    assert_eq!(
        rig.find(EventKind::SnapshotUpdate).await.body,
        json!({"b": 2})
    );
    assert_eq!(snapshot(), json!({"a": 1, "b": 2}));
}

#[tokio::test]
async fn keys_published_to_the_broker_reach_the_account() {
    let rig = rig().await;
    rig.send("keys");
    assert_eq!(
        rig.find(EventKind::UpdateKeys).await.body["keys"],
        json!({"token": "fresh"})
    );
    assert_eq!(
        Value::Object(rig.emulator.platform().account("acc").unwrap()),
        json!({"token": "fresh"})
    );
}

#[tokio::test]
async fn keys_for_an_unknown_account_are_reported() {
    let rig = Rig::start(EmulatorConfig {
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    })
    .await;
    rig.send("keys");
    assert_eq!(
        rig.find(EventKind::UpdateKeys).await.problem.as_deref(),
        Some("there is no account \"acc\"")
    );
}

#[tokio::test]
async fn keys_saved_over_rest_are_an_event() {
    let rig = rig().await;
    let client = reqwest::Client::new();
    let put = client
        .put(rig.emulator.platform().url() + "/v1/accounts/acc")
        .json(&json!({"keys": {"token": "new"}}));
    put.basic_auth("emulator-user", Some("emulator-key"))
        .send()
        .await
        .unwrap()
        .error_for_status()
        .unwrap();
    let body = &rig.find(EventKind::UpdateKeys).await.body;
    assert_eq!(body, &json!({"accountId": "acc", "keys": {"token": "new"}}));
}

#[tokio::test]
async fn an_unreadable_event_says_what_is_wrong() {
    let rig = rig().await;
    rig.send("garbage");
    let event = rig.find(EventKind::Data).await;
    assert_eq!(event.body, Value::Null);
    assert_eq!(
        event.problem.as_deref(),
        Some(
            "the payload cannot be decrypted with this platform's password (7 bytes of ciphertext): compare ELASTICIO_MESSAGE_CRYPTO_PASSWORD and ELASTICIO_MESSAGE_CRYPTO_IV with those of the step before"
        )
    );
}
