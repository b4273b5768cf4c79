//! Requests to the flow's webhook address, and replies.

use crate::rig;
use emulator::{EventKind, platform::Step};
use serde_json::json;
use std::collections::HashMap;

#[tokio::test]
async fn a_reply_with_a_waiting_caller_is_not_returned() {
    let rig = rig().await;
    let headers = json!({"reply_to": "waiting.for.it"});
    rig.emulator.send(
        &json!({"body": {"op": "reply"}}),
        headers.as_object().unwrap(),
    );
    let reply = rig.find(EventKind::HttpReply).await;
    assert_eq!(
        (reply.routing_key.as_str(), &reply.body),
        ("waiting.for.it", &json!({"statusCode": 201, "body": {}}))
    );
}

#[tokio::test]
async fn a_webhook_caller_gets_the_components_reply() {
    let rig = rig().await;
    let env: HashMap<String, String> = rig.emulator.env().into_iter().collect();
    let post = |op: &str| {
        reqwest::Client::new()
            .post(format!("{}?a=1", env["ELASTICIO_FLOW_WEBHOOK_URI"]))
            .json(&json!({"op": op}))
            .send()
    };
    assert_eq!(post("reply").await.unwrap().status(), 201);
    assert_eq!(post("echo").await.unwrap().status(), 200);
    assert_eq!(post("fail").await.unwrap().status(), 500);
    let message = &rig.find(EventKind::Sent).await.body;
    assert_eq!(
        (&message["method"], &message["query"]),
        (&json!("POST"), &json!({"a": "1"}))
    );
    assert_eq!(message["body"], json!({"op": "reply"}));
    let elsewhere = reqwest::get(rig.emulator.platform().url() + "/hook/other-flow")
        .await
        .unwrap();
    assert_eq!(elsewhere.status(), 404);
}

#[tokio::test]
async fn a_raw_webhook_body_is_passed_on_unchanged() {
    let rig = rig().await;
    let platform = rig.emulator.platform();
    let step = platform.step("emulated-flow", "step_1").unwrap();
    platform.set_step(
        "emulated-flow",
        Step {
            consumes_raw_data: true,
            ..step
        },
    );
    let hook = platform.url() + "/hook/emulated-flow";
    let raw = "{\"op\": \"echo\",  \"no\": JSON";
    let call = tokio::spawn(reqwest::Client::new().post(hook).body(raw).send());
    assert_eq!(
        rig.find(EventKind::Sent).await.body["body"],
        json!({"rawData": raw})
    );
    assert!(call.await.unwrap().unwrap().status().as_u16() < 600);
}
