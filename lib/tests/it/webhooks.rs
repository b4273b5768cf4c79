//! receiveWebhooks: signatures, replies, and the flow's subscription.

use super::{Rig, error_text};
use emulator::provider::Fault;
use hmac::{Hmac, KeyInit, Mac};
use sailor::testing::{Emitted, Event, Harness, Verdict};
use serde_json::{Value, json};
use sha2::Sha256;

pub(super) const SECRET: &str = "Jefe";
/// A body whose spaces and order must be kept: the signature depends on them.
pub(super) const RAW: &str = r#"{"z": 1, "a": "ä"}"#;
/// Its HMAC-SHA-256, by another implementation.
pub(super) const HEX: &str = "e3ddb4db9031e354930b24478c39c16ae57e2c5b43a8b5a6849730c4b79c652f";
const BASE64: &str = "492025Ax41STCyRHjDnBauV+LFtDqLWmhJcwxLecZS8=";
const ADDRESS: &str = "https://hooks.example.com/hook/flow-1";

impl Rig {
    /// A webhook request that waits for a reply.
    async fn receive(&self, fields: Value, headers: Value, body: Value) -> Emitted {
        let mut all = json!({ "reply_to": "waiting", "Content-Type": "application/json" });
        all.as_object_mut()
            .unwrap()
            .extend(headers.as_object().unwrap().clone());
        let message = json!({ "headers": all, "body": body, "method": "POST", "query": { "q": "1" }, "url": "/hook" });
        self.harness("receiveWebhooks", fields)
            .run_message(message)
            .await
            .unwrap()
    }
}

#[track_caller]
pub(super) fn reply(emitted: &Emitted) -> (u16, &Value) {
    let Some(Event::HttpReply(reply)) = emitted.events.last() else {
        panic!("no reply: {emitted:?}")
    };
    (reply.status_code, &reply.body)
}

#[tokio::test]
async fn a_signed_request_is_emitted_then_replied() {
    let rig = Rig::new().await;
    for signature in [HEX.to_owned(), format!("sha256={HEX}"), BASE64.to_owned()] {
        let headers = json!({ "X-Hub-Signature-256": signature });
        let emitted = rig
            .receive(
                json!({ "webhookSecret": SECRET }),
                headers,
                json!({ "rawData": RAW }),
            )
            .await;
        let [Event::Data(message), Event::HttpReply(_)] = &emitted.events[..] else {
            panic!("{emitted:?}")
        };
        let received = &message["body"];
        assert_eq!(
            (&received["body"], &received["method"]),
            (&json!({ "z": 1, "a": "ä" }), &json!("POST"))
        );
        assert_eq!(
            (&received["query"], &received["headers"]["content-type"]),
            (&json!({ "q": "1" }), &json!("application/json"))
        );
        assert!(received["headers"].get("reply_to").is_none(), "{received}");
        assert_eq!(reply(&emitted), (200, &json!({})));
    }
}

#[tokio::test]
async fn an_invalid_signature_gets_401_and_is_not_emitted() {
    let rig = Rig::new().await;
    let right = json!({ "x-hub-signature-256": HEX });
    for (headers, raw) in [
        (json!({}), RAW),
        (json!({ "x-hub-signature-256": "" }), RAW),
        (json!({ "x-hub-signature-256": 7 }), RAW),
        (json!({ "x-hub-signature-256": HEX.replace('5', "6") }), RAW),
        (json!({ "x-signature": HEX }), RAW),
        (right, r#"{"z":1,"a":"ä"}"#),
    ] {
        let emitted = rig
            .receive(
                json!({ "webhookSecret": SECRET }),
                headers.clone(),
                json!({ "rawData": raw }),
            )
            .await;
        assert_eq!(
            (emitted.events.len(), emitted.verdict),
            (1, Verdict::Acknowledged),
            "{headers} {raw}"
        );
        assert_eq!(reply(&emitted).0, 401);
    }
}

#[tokio::test]
async fn the_signature_header_is_configurable() {
    let rig = Rig::new().await;
    let fields = json!({ "webhookSecret": SECRET, "signatureHeader": "X-Acme-Signature" });
    let emitted = rig
        .receive(
            fields,
            json!({ "x-acme-signature": HEX }),
            json!({ "rawData": RAW }),
        )
        .await;
    assert_eq!(reply(&emitted).0, 200);
}

#[tokio::test]
async fn a_request_signed_with_either_secret_is_emitted() {
    let rig = Rig::new().await;
    for (secret, previous, status) in [
        (SECRET, "", 200),
        ("new", SECRET, 200),
        (SECRET, "old", 200),
        ("", SECRET, 200),
        ("new", "old", 401),
        ("", "old", 401),
    ] {
        let fields = json!({ "webhookSecret": secret, "previousSecret": previous });
        let headers = json!({ "X-Hub-Signature-256": format!("sha256=0,sha256={HEX}") });
        let emitted = rig
            .receive(fields, headers, json!({ "rawData": RAW }))
            .await;
        assert_eq!(reply(&emitted).0, status, "{secret} {previous}");
    }
}

#[tokio::test]
async fn a_signed_time_must_be_near_now() {
    let rig = Rig::new().await;
    let now = jiff::Timestamp::now().as_second();
    for (age, tolerance, status) in [
        (0, "", 200),
        (3600, "", 401),
        (-3600, "", 401),
        (3600, "7200", 200),
    ] {
        let time = now - age;
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("v0:{time}:{RAW}").as_bytes());
        let digits = mac.finalize().into_bytes();
        let digits: String = digits.iter().map(|byte| format!("{byte:02x}")).collect();
        let fields = json!({
            "webhookSecret": SECRET, "signatureHeader": "X-Slack-Signature", "timeTolerance": tolerance,
            "signedText": "v0:{header:X-Slack-Request-Timestamp}:{body}",
        });
        let headers = json!({
            "X-Slack-Signature": format!("v0={digits}"), "X-Slack-Request-Timestamp": time.to_string(),
        });
        let emitted = rig
            .receive(fields, headers, json!({ "rawData": RAW }))
            .await;
        assert_eq!(reply(&emitted).0, status, "{age} {tolerance}");
    }
}

#[tokio::test]
async fn a_body_as_javascript_or_windows_writes_it_is_json() {
    let rig = Rig::new().await;
    for (raw, wanted) in [
        (
            r#"{"party \ud83d": ["\ud83d"]}"#,
            json!({ "party \u{fffd}": ["\u{fffd}"] }),
        ),
        ("\u{feff}{\"a\": 1}", json!({ "a": 1 })),
        ("\u{feff}text", json!("\u{feff}text")),
    ] {
        let emitted = rig
            .receive(json!({}), json!({}), json!({ "rawData": raw }))
            .await;
        assert_eq!(emitted.data::<Value>()[0]["body"], wanted);
    }
}

#[tokio::test]
async fn a_parsed_body_is_verified_as_the_platform_passes_it() {
    let rig = Rig::new().await;
    let body: Value = serde_json::from_str(RAW).unwrap();
    let compact = "02e9eb53f6a75215b84e2c25cfaa39a730b19638f9c830be3f9ecab2585b2ee2";
    for (signature, status) in [(compact, 200), (HEX, 401)] {
        let headers = json!({ "x-hub-signature-256": signature });
        let emitted = rig
            .receive(json!({ "webhookSecret": SECRET }), headers, body.clone())
            .await;
        assert_eq!(reply(&emitted).0, status);
    }
}

#[tokio::test]
async fn without_a_secret_every_request_is_accepted() {
    let rig = Rig::new().await;
    for (body, wanted) in [
        (json!({ "rawData": "a=1&b=2" }), json!("a=1&b=2")),
        (json!({ "rawData": "[1]" }), json!([1])),
        (json!({ "rawData": "" }), json!("")),
        (json!({ "parsed": true }), json!({ "parsed": true })),
    ] {
        let emitted = rig.receive(json!({}), json!({}), body).await;
        assert_eq!(emitted.data::<Value>()[0]["body"], wanted);
    }
}

#[tokio::test]
async fn the_reply_is_configurable() {
    let rig = Rig::new().await;
    for (body, wanted, content_type) in [
        ("{\"ok\": true}", json!({ "ok": true }), "application/json"),
        ("thanks", json!("thanks"), "text/plain; charset=utf-8"),
    ] {
        let fields = json!({ "replyStatus": "202", "replyBody": body });
        let emitted = rig.receive(fields, json!({}), json!({})).await;
        assert_eq!(reply(&emitted), (202, &wanted));
        let Some(Event::HttpReply(reply)) = emitted.events.last() else {
            panic!("{emitted:?}")
        };
        assert_eq!(reply.headers["content-type"], content_type);
    }
}

#[tokio::test]
async fn without_reply_to_no_reply_is_sent() {
    let rig = Rig::new().await;
    let harness = rig.harness("receiveWebhooks", json!({}));
    let emitted = harness
        .run_message(json!({ "headers": {}, "body": { "rawData": "1" } }))
        .await
        .unwrap();
    assert!(
        matches!(&emitted.events[..], [Event::Data(_)]),
        "{emitted:?}"
    );
    let refused = rig.harness("receiveWebhooks", json!({ "webhookSecret": SECRET }));
    assert!(
        refused
            .run(json!({ "rawData": "1" }))
            .await
            .unwrap()
            .events
            .is_empty()
    );
}

#[tokio::test]
async fn invalid_fields_are_named_in_the_error() {
    let rig = Rig::new().await;
    for (fields, expected) in [
        (
            json!({ "replyStatus": "fine" }),
            "replyStatus: expected a status",
        ),
        (
            json!({ "webhookSecret": 7 }),
            "webhookSecret: expected a string",
        ),
        (
            json!({ "subscriptionPointer": "id" }),
            "subscriptionPointer: expected a JSON pointer",
        ),
    ] {
        let emitted = rig.receive(fields, json!({}), json!({})).await;
        assert!(error_text(&emitted).contains(expected), "{emitted:?}");
    }
}

/// A subscription as the sample API takes it.
fn subscribing() -> Value {
    json!({
        "subscribePath": "/webhooks", "webhookSecret": SECRET,
        "subscribeBody": r#"{"url": "{{webhookUri}}", "config": {"secret": "{{webhookSecret}}"}, "events": ["*"]}"#,
    })
}

#[tokio::test]
async fn the_flow_subscribes_on_start_and_unsubscribes_on_stop() {
    let rig = Rig::new().await;
    let flow = || {
        rig.harness("receiveWebhooks", subscribing())
            .webhook_uri(ADDRESS)
    };
    let kept = flow().startup().await.unwrap();
    assert_eq!(kept, json!({ "path": "/webhooks/webhook-1" }));
    let subscription = json!({ "url": ADDRESS, "config": { "secret": SECRET }, "events": ["*"] });
    assert_eq!(rig.provider.subscriptions(), [subscription]);
    flow().shutdown(kept.clone()).await.unwrap();
    assert!(rig.provider.subscriptions().is_empty());
    // A subscription that is gone already is not an error.
    flow().shutdown(kept).await.unwrap();
    assert_eq!(rig.statuses(), [201, 204, 404]);
}

#[tokio::test]
async fn without_a_subscribe_path_nothing_is_requested() {
    let rig = Rig::new().await;
    let kept = rig
        .harness("receiveWebhooks", json!({}))
        .startup()
        .await
        .unwrap();
    for state in [kept, json!({})] {
        rig.harness("receiveWebhooks", json!({}))
            .shutdown(state)
            .await
            .unwrap();
    }
    assert!(rig.provider.api_calls().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_refreshed_before_subscribing() {
    let rig = Rig::expired().await;
    let fields = json!({ "subscribePath": "/webhooks" });
    rig.harness("receiveWebhooks", fields)
        .webhook_uri(ADDRESS)
        .startup()
        .await
        .unwrap();
    assert_eq!(
        (rig.statuses(), rig.provider.refreshes()),
        (vec![401, 201], 1)
    );
    assert_eq!(rig.provider.subscriptions(), [json!({ "url": ADDRESS })]);
}

#[tokio::test]
async fn a_busy_api_is_retried_or_fails_the_start() {
    let rig = Rig::new().await;
    rig.busy_once();
    let start = || {
        rig.harness("receiveWebhooks", subscribing())
            .webhook_uri(ADDRESS)
            .startup()
    };
    start().await.unwrap();
    assert_eq!(rig.statuses(), [429, 201]);
    rig.busy_for_long();
    let error = format!("{:#}", start().await.unwrap_err());
    assert!(
        error.contains("subscribing to webhooks") && error.contains("429"),
        "{error}"
    );
    assert_eq!(rig.provider.subscriptions().len(), 1);
}

#[tokio::test]
async fn a_failed_subscribe_says_why() {
    let rig = Rig::new().await;
    let with = |name: &str, value: &str| {
        let mut fields = subscribing();
        fields[name] = value.into();
        fields
    };
    for (fields, address, expected) in [
        (
            with("subscribeBody", "{secret"),
            Some(ADDRESS),
            "`subscribeBody` is not JSON: line 1, column 2",
        ),
        (subscribing(), None, "ELASTICIO_FLOW_WEBHOOK_URI is not set"),
        (
            with("subscribeBody", "{}"),
            Some(ADDRESS),
            "a subscription needs a \\\"url\\\"",
        ),
        (
            with("subscribePath", "/hooks"),
            Some(ADDRESS),
            "POST /hooks returned 404",
        ),
    ] {
        let harness = rig.harness("receiveWebhooks", fields);
        let harness = address.into_iter().fold(harness, Harness::webhook_uri);
        let error = format!("{:#}", harness.startup().await.unwrap_err());
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(rig.provider.subscriptions().is_empty());
}

#[tokio::test]
async fn a_subscription_without_an_id_is_not_deleted() {
    let rig = Rig::new().await;
    for (pointer, kept) in [("/data/id", "/webhooks/7%2Fa?x=1"), ("/data", "")] {
        rig.provider
            .script_api([Fault::Json(201, json!({ "data": { "id": "7/a" } }))]);
        let fields = json!({ "subscribePath": "/webhooks/?x=1", "subscriptionPointer": pointer });
        let state = rig
            .harness("receiveWebhooks", fields)
            .webhook_uri(ADDRESS)
            .startup()
            .await
            .unwrap();
        assert_eq!(state["path"].as_str().unwrap_or_default(), kept);
    }
}

#[tokio::test]
async fn a_failed_unsubscribe_fails_the_stop() {
    let rig = Rig::new().await;
    rig.provider
        .script_api([Fault::Json(403, json!({ "error": "forbidden" }))]);
    let stop = rig
        .harness("receiveWebhooks", subscribing())
        .shutdown(json!({ "path": "/webhooks/1" }));
    let error = format!("{:#}", stop.await.unwrap_err());
    assert!(
        error.contains("ending the subscription") && error.contains("403"),
        "{error}"
    );
}

#[tokio::test]
async fn a_path_traversal_in_a_subscription_id_deletes_nothing_else() {
    for id in [".", ".."] {
        let rig = Rig::new().await;
        rig.provider
            .script_api([Fault::Json(200, json!({ "id": id }))]);
        let fields = json!({ "subscribePath": "/webhooks/all" });
        let flow = || {
            rig.harness("receiveWebhooks", fields.clone())
                .webhook_uri("https://example.com/hook")
        };
        let state = flow().startup().await.unwrap();
        let _ = flow().shutdown(state).await;
        assert!(
            rig.provider
                .api_calls()
                .iter()
                .all(|call| call.method != "DELETE"),
            "{id}"
        );
    }
}
