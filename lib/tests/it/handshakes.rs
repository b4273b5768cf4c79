//! receiveWebhooks: handshakes and pings, which come before the webhooks and are never emitted.

use super::{
    Rig, error_text,
    webhooks::{HEX, RAW, SECRET, reply},
};
use sailor::{
    HttpReply,
    testing::{Emitted, Event, Verdict},
};
use serde_json::{Value, json};

/// A request of which only these members matter.
async fn receive(rig: &Rig, fields: &Value, members: Value) -> Emitted {
    receive_with(rig, fields, members, json!({})).await
}

async fn receive_with(rig: &Rig, fields: &Value, members: Value, snapshot: Value) -> Emitted {
    let mut message = json!({ "headers": {}, "body": { "rawData": "" }, "query": {} });
    let object = message.as_object_mut().unwrap();
    object.extend(members.as_object().unwrap().clone());
    message["headers"]["reply_to"] = "waiting".into();
    let harness = rig.harness("receiveWebhooks", fields.clone());
    harness
        .snapshot(snapshot)
        .run_message(message)
        .await
        .unwrap()
}

/// The reply of a request that emitted nothing else.
#[track_caller]
fn only_reply(emitted: &Emitted) -> &HttpReply {
    assert_eq!(emitted.verdict, Verdict::Acknowledged);
    match &emitted.events[..] {
        [Event::HttpReply(reply)] => reply,
        events => panic!("not one reply: {events:?}"),
    }
}

#[track_caller]
fn assert_plain(reply: &HttpReply, text: &str) {
    let plain = json!({
        "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff",
    });
    assert_eq!((reply.status_code, &reply.body), (200, &json!(text)));
    assert_eq!(Value::from(reply.headers.clone()), plain);
}

#[tokio::test]
async fn a_handshake_is_echoed_as_text_and_emits_nothing() {
    let rig = Rig::new().await;
    let slack = r#"{"token":"t","challenge":"3eZbrw1aB","type":"url_verification"}"#;
    for (handshake, request, text) in [
        // Microsoft Graph, Meta, Slack.
        (
            "query:validationToken",
            json!({ "query": { "validationToken": "a <b> c" } }),
            "a <b> c",
        ),
        (
            "query:hub.challenge",
            json!({ "method": "GET", "query": { "hub.challenge": "1158201444" } }),
            "1158201444",
        ),
        (
            "body:/challenge",
            json!({ "body": { "rawData": slack } }),
            "3eZbrw1aB",
        ),
        // Ones of our own.
        (
            "body:/data/0/echo",
            json!({ "body": { "data": [{ "echo": 7 }] } }),
            "7",
        ),
        (
            "query:c",
            json!({ "query": { "c": "<script>alert(1)</script>" } }),
            "<script>alert(1)</script>",
        ),
        (
            "body:/c",
            json!({ "body": { "rawData": r#"{"c":"ä \ud83d"}"# } }),
            "ä \u{fffd}",
        ),
    ] {
        for secret in ["", SECRET] {
            let fields = json!({ "handshake": handshake, "webhookSecret": secret });
            let emitted = receive(&rig, &fields, request.clone()).await;
            assert_plain(only_reply(&emitted), text);
        }
    }
}

#[tokio::test]
async fn a_handshake_in_a_header_is_echoed_in_that_header() {
    let rig = Rig::new().await;
    for (handshake, sent) in [
        ("header:X-Hook-Secret", "x-hook-secret"),
        ("header:x-echo", "X-Echo"),
    ] {
        let fields = json!({ "handshake": handshake, "webhookSecret": SECRET });
        let emitted = receive(
            &rig,
            &fields,
            json!({ "headers": { sent: "b537207f20cb" } }),
        )
        .await;
        let reply = only_reply(&emitted);
        assert_eq!((reply.status_code, &reply.body), (200, &json!("")));
        let name = handshake.strip_prefix("header:").unwrap();
        assert_eq!(reply.headers[name], "b537207f20cb");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff");
    }
}

#[tokio::test]
async fn a_text_that_is_too_long_or_no_header_is_not_echoed() {
    let rig = Rig::new().await;
    let long = "x".repeat(1025);
    for (handshake, request) in [
        ("query:c", json!({ "query": { "c": long } })),
        ("body:/c", json!({ "body": { "c": "ä".repeat(513) } })),
        ("header:X-Echo", json!({ "headers": { "X-Echo": long } })),
        (
            "header:X-Echo",
            json!({ "headers": { "X-Echo": "a\r\nSet-Cookie: b" } }),
        ),
        ("header:X-Echo", json!({ "headers": { "X-Echo": "ä" } })),
    ] {
        let emitted = receive(&rig, &json!({ "handshake": handshake }), request).await;
        let reply = only_reply(&emitted);
        assert_eq!(reply.status_code, 400, "{handshake}");
        assert!(
            reply.body.to_string().len() < 100 && reply.headers.len() == 1,
            "{reply:?}"
        );
    }
    let longest = json!({ "query": { "c": "x".repeat(1024) } });
    let emitted = receive(&rig, &json!({ "handshake": "query:c" }), longest).await;
    assert_plain(only_reply(&emitted), &"x".repeat(1024));
}

#[tokio::test]
async fn other_requests_take_the_normal_path() {
    let rig = Rig::new().await;
    for (handshake, more) in [
        ("query:c", json!({})),
        (
            "query:c",
            json!({ "query": { "c": "", "C": "x", "d": "x" } }),
        ),
        ("query:c", json!({ "query": { "c": ["x"] } })),
        ("body:/c", json!({ "query": { "c": "x" } })),
        ("body:/a/b", json!({})),
        ("header:c", json!({ "query": { "c": "x" } })),
        ("", json!({ "query": { "validationToken": "x" } })),
    ] {
        let fields = json!({ "handshake": handshake, "webhookSecret": SECRET });
        let mut request = json!({ "body": { "rawData": RAW } });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        assert_eq!(
            only_reply(&receive(&rig, &fields, request.clone()).await).status_code,
            401
        );
        request["headers"] = json!({ "x-hub-signature-256": HEX });
        let emitted = receive(&rig, &fields, request).await;
        assert_eq!(
            (reply(&emitted).0, emitted.data::<Value>().len()),
            (200, 1),
            "{handshake}"
        );
    }
}

#[tokio::test]
async fn a_handshake_needs_the_verify_token_if_there_is_one() {
    let rig = Rig::new().await;
    let meta = json!({ "handshake": "query:hub.challenge", "verifyToken": "s3cret" });
    let mut slack = json!({ "handshake": "body:/challenge", "verifyToken": "s3cret" });
    slack["verifyTokenMember"] = "body:/token".into();
    for (token, status) in [
        (json!("s3cret"), 200),
        (json!("S3cret"), 403),
        (json!("s3cret "), 403),
        (json!(""), 403),
        (json!(["s3cret"]), 403),
        (Value::Null, 403),
    ] {
        let query =
            json!({ "hub.mode": "subscribe", "hub.challenge": "7", "hub.verify_token": token });
        let emitted = receive(&rig, &meta, json!({ "query": query })).await;
        assert_eq!(only_reply(&emitted).status_code, status, "{token}");
        let body = json!({ "challenge": "7", "token": token });
        let emitted = receive(&rig, &slack, json!({ "body": body })).await;
        assert_eq!(only_reply(&emitted).status_code, status, "{token}");
        assert!(!only_reply(&emitted).body.to_string().contains("s3cret"));
    }
}

/// Fields for an API that sends its secret in the handshake, as Asana does.
fn asana() -> Value {
    json!({
        "handshake": "header:X-Hook-Secret", "keepHandshakeSecret": "on", "signatureHeader": "X-Hook-Signature",
    })
}

#[tokio::test]
async fn the_secret_of_a_handshake_signs_later_requests() {
    let rig = Rig::new().await;
    let signed = json!({ "headers": { "X-Hook-Signature": HEX }, "body": { "rawData": RAW } });
    // Nothing is accepted before the handshake.
    let early = receive(&rig, &asana(), signed.clone()).await;
    assert_eq!(only_reply(&early).status_code, 401);
    let handshake = receive(
        &rig,
        &asana(),
        json!({ "headers": { "X-Hook-Secret": SECRET } }),
    )
    .await;
    let [Event::Snapshot(kept), Event::HttpReply(echoed)] = &handshake.events[..] else {
        panic!("{handshake:?}")
    };
    assert_eq!(echoed.headers["X-Hook-Secret"], SECRET);
    let later = receive_with(&rig, &asana(), signed, kept.clone()).await;
    assert_eq!((reply(&later).0, later.data::<Value>().len()), (200, 1));
    let unsigned = json!({ "body": { "rawData": RAW } });
    let unsigned = receive_with(&rig, &asana(), unsigned, kept.clone()).await;
    assert_eq!(only_reply(&unsigned).status_code, 401);
}

#[tokio::test]
async fn a_second_handshake_cannot_replace_the_secret() {
    let rig = Rig::new().await;
    let kept = json!({ "handshakeSecret": SECRET });
    for (secret, status) in [(SECRET, 200), ("mine", 403)] {
        let request = json!({ "headers": { "X-Hook-Secret": secret } });
        let emitted = receive_with(&rig, &asana(), request, kept.clone()).await;
        let reply = only_reply(&emitted);
        assert_eq!(reply.status_code, status);
        assert_eq!(reply.headers.contains_key("X-Hook-Secret"), status == 200);
        assert!(!reply.body.to_string().contains(SECRET));
    }
}

#[tokio::test]
async fn pings_get_200_without_a_signature_and_emit_nothing() {
    let rig = Rig::new().await;
    for (pings, request) in [
        // WooCommerce.
        (
            "form:webhook_id",
            json!({ "body": { "rawData": "webhook_id=1" } }),
        ),
        (
            "empty;form:webhook_id",
            json!({ "body": { "webhook_id": "1" } }),
        ),
        (
            "form:webhook_id; empty",
            json!({ "body": { "rawData": "" } }),
        ),
        ("empty", json!({ "body": { "rawData": " \r\n" } })),
        ("empty", json!({ "body": {} })),
        (
            "header:X-GitHub-Event=ping",
            json!({ "headers": { "x-github-event": "ping" } }),
        ),
        (
            "body:/type=test; query:test",
            json!({ "query": { "test": "1" } }),
        ),
        (
            "body:/type=test",
            json!({ "body": { "rawData": r#"{"type":"test"}"# } }),
        ),
    ] {
        let fields = json!({ "pings": pings, "webhookSecret": SECRET, "replyStatus": 202 });
        let emitted = receive(&rig, &fields, request).await;
        assert_eq!(only_reply(&emitted).status_code, 200, "{pings}");
        assert_eq!(only_reply(&emitted).body, json!({}));
    }
}

#[tokio::test]
async fn what_is_no_ping_needs_a_signature() {
    let rig = Rig::new().await;
    for (pings, request) in [
        ("", json!({ "body": { "rawData": "webhook_id=1" } })),
        ("empty", json!({ "body": { "rawData": "webhook_id=1" } })),
        (
            "form:webhook_id",
            json!({ "body": { "rawData": "webhook_id=1&order=7" } }),
        ),
        (
            "form:webhook_id",
            json!({ "body": { "rawData": "order=7" } }),
        ),
        (
            "form:webhook_id",
            json!({ "body": { "webhook_id": "1", "order": 7 } }),
        ),
        ("form:webhook_id", json!({ "body": { "rawData": "[1]" } })),
        (
            "header:X-GitHub-Event=ping",
            json!({ "headers": { "x-github-event": "push" } }),
        ),
        (
            "body:/type=test",
            json!({ "body": { "type": { "a": "test" } } }),
        ),
    ] {
        let fields = json!({ "pings": pings, "webhookSecret": SECRET });
        let emitted = receive(&rig, &fields, request).await;
        assert_eq!(only_reply(&emitted).status_code, 401, "{pings}");
    }
}

#[tokio::test]
async fn a_wrong_field_for_handshakes_is_named_in_the_error() {
    let rig = Rig::new().await;
    for (field, wrong, expected) in [
        (
            "handshake",
            json!("validationToken"),
            "a member of the request: query:NAME",
        ),
        ("handshake", json!("body:challenge"), "body:/POINTER"),
        ("handshake", json!("header:a b"), "header:NAME"),
        ("handshake", json!("query:"), "query:NAME"),
        ("verifyTokenMember", json!("cookie:a"), "query:NAME"),
        (
            "pings",
            json!("empty; webhook_id"),
            "a list such as empty; form:NAME",
        ),
        ("pings", json!("form:"), "form:NAME"),
        ("pings", json!("form:webhook_id=1"), "form:NAME"),
        ("signedText", json!("{t}."), "a text with {body}"),
        ("timeTolerance", json!("soon"), "a number above zero"),
        ("keepHandshakeSecret", json!("perhaps"), "expected"),
    ] {
        let mut fields = json!({});
        fields[field] = wrong;
        let emitted = receive(&rig, &fields, json!({})).await;
        let error = error_text(&emitted);
        assert!(
            error.contains(&format!("{field}: expected")) && error.contains(expected),
            "{error}"
        );
    }
}

/// The handshake of Zoom, with a secret of our own.
fn zoom(text: &str) -> Value {
    let body = json!({
        "event": "endpoint.url_validation", "event_ts": 1654503849680_i64, "payload": { "plainToken": text },
    });
    json!({ "body": { "rawData": body.to_string() } })
}

#[tokio::test]
async fn a_handshake_is_replied_with_an_hmac_of_its_text() {
    let rig = Rig::new().await;
    let hex = "f54f2d5fee8f181aab8371bada7fed9bb675eae464f18ed4fb91715244b58ef4";
    let x = json!({ "method": "GET", "query": { "crc_token": "MTIzNA==" } });
    for (handshake, template, request, expected) in [
        (
            "body:/payload/plainToken",
            r#"{"plainToken": "{{text}}", "encryptedToken": "{{hmac}}"}"#,
            zoom("qgg8vlvZRS6UYooatFL8Aw"),
            json!({ "plainToken": "qgg8vlvZRS6UYooatFL8Aw", "encryptedToken": hex }),
        ),
        (
            "query:crc_token",
            r#"{"response_token": "sha256={{hmacBase64}}"}"#,
            x.clone(),
            json!({ "response_token": "sha256=u9i/p6dd03anZib927likp8FQz07Vtk+cETs8KmUntA=" }),
        ),
        (
            "query:crc_token",
            r#"{"challenge": "{{text}}", "more": [true, "{{text}}!"]}"#,
            x,
            json!({ "challenge": "MTIzNA==", "more": [true, "MTIzNA==!"] }),
        ),
    ] {
        let fields = json!({
            "handshake": handshake, "handshakeReply": template, "webhookSecret": "s3cret",
        });
        let emitted = receive(&rig, &fields, request).await;
        let reply = only_reply(&emitted);
        assert_eq!((reply.status_code, &reply.body), (200, &expected));
        assert_eq!(reply.headers["content-type"], "application/json");
    }
}

/// Otherwise anybody could have a webhook of their own signed.
#[tokio::test]
async fn only_a_word_is_signed_for_a_handshake() {
    let rig = Rig::new().await;
    let fields = json!({
        "handshake": "body:/payload/plainToken",
        "handshakeReply": r#"{"encryptedToken": "{{hmac}}"}"#,
        "webhookSecret": SECRET,
    });
    let long = "a".repeat(300);
    for text in [
        r#"{"id":1}"#,
        "v0:1769860800:{}",
        "id=1",
        "a b",
        "1769860800.x",
        "==",
        &long,
    ] {
        let emitted = receive(&rig, &fields, zoom(text)).await;
        let reply = only_reply(&emitted);
        assert_eq!(reply.status_code, 400, "{text}");
        assert!(!reply.body.to_string().contains(text));
    }
}

#[tokio::test]
async fn a_computed_reply_needs_a_secret_and_a_template() {
    let rig = Rig::new().await;
    for (template, part) in [
        (r#"{"a": "{{hmac}}"}"#, "`webhookSecret`"),
        (r#"{"a": "b"}"#, "{{hmac}}"),
        ("{{hmac}}", "a JSON object"),
    ] {
        let fields = json!({ "handshake": "query:c", "handshakeReply": template });
        let emitted = receive(&rig, &fields, json!({ "query": { "c": "abc" } })).await;
        assert!(error_text(&emitted).contains(part), "{emitted:?}");
    }
}
