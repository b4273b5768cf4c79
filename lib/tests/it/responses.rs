//! makeRequest: how the response is emitted.

use super::{Rig, error_text};
use emulator::provider::Fault;
use sailor::testing::{Emitted, Event, Verdict};
use serde_json::{Value, json};

impl Rig {
    /// A request whose response has this body.
    async fn request_returning(&self, fields: Value, content_type: &str, body: &str) -> Emitted {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        self.provider.script_api([Fault::Response {
            status: 200,
            headers,
            body: body.to_owned(),
        }]);
        self.request(fields, json!({ "path": "/files/report.csv" }))
            .await
    }
}

#[tokio::test]
async fn the_response_type_follows_the_header_or_the_step() {
    let rig = Rig::new().await;
    for (taken, content_type, body, emitted_body) in [
        ("auto", "application/json", r#"{"a":1}"#, json!({ "a": 1 })),
        (
            "auto",
            "application/problem+json; charset=utf-8",
            "[1]",
            json!([1]),
        ),
        ("auto", "text/csv", "1", json!("1")),
        ("auto", "text/csv", "[1]", json!("[1]")),
        ("auto", "application/x-json", "123", json!(123)),
        ("auto", "text/json;charset=utf-8", "null", Value::Null),
        ("auto", "application/vnd.acme.v2+json", "{}", json!({})),
        ("auto", "text/plain", r#" {"a":1}"#, json!({ "a": 1 })),
        ("auto", "Text/Plain; charset=utf-8", "[]", json!([])),
        ("auto", "text/plain", "123", json!("123")),
        ("auto", "text/plain", "\"a\"", json!("\"a\"")),
        ("auto", "text/plain", "{a}", json!("{a}")),
        ("auto", "", r#"[{"a":1}]"#, json!([{ "a": 1 }])),
        ("auto", "", "true", json!("true")),
        ("text", "text/plain", "[1]", json!("[1]")),
        ("auto", "application/json", "<html>", json!("<html>")),
        ("auto", "application/soap+xml", "<a/>", json!("<a/>")),
        ("json", "text/plain", "[1]", json!([1])),
        ("text", "application/json", "[1]", json!("[1]")),
        ("auto", "application/json", "", Value::Null),
    ] {
        let emitted = rig
            .request_returning(json!({ "answerType": taken }), content_type, body)
            .await;
        assert_eq!(
            emitted.data::<Value>()[0]["body"],
            emitted_body,
            "{taken} {content_type} {body}"
        );
    }
    assert!(rig.platform.object_ids().is_empty());
    let empty = rig
        .request_returning(json!({ "answerType": "attachment" }), "application/pdf", "")
        .await;
    let [Event::Data(message)] = &empty.events[..] else {
        panic!("{:?}", empty.error)
    };
    assert_eq!(message["attachments"]["report.csv"]["size"], 0);
    let broken = rig
        .request_returning(json!({ "answerType": "json" }), "text/plain", "secret")
        .await;
    assert_eq!(
        error_text(&broken),
        "the response to GET /files/report.csv is not JSON: line 1, column 1"
    );
}

#[tokio::test]
async fn a_binary_response_becomes_an_attachment() {
    let rig = Rig::expired().await;
    let emitted = rig
        .request(json!({}), json!({ "path": "/files/logo.png" }))
        .await;
    rig.assert_refreshed_once(&emitted);
    let Some(Event::Data(message)) = emitted.events.last() else {
        panic!("{emitted:?}")
    };
    let file = &message["attachments"]["logo.png"];
    assert_eq!(
        (
            &message["body"]["body"],
            &file["content-type"],
            &file["size"]
        ),
        (&Value::Null, &json!("image/png"), &json!(10))
    );
    let [id] = &rig.platform.object_ids()[..] else {
        panic!("one object")
    };
    assert!(
        file["url"].as_str().unwrap().contains(id.as_str()),
        "{file}"
    );
    assert_eq!(
        rig.platform.object(id).unwrap()[..],
        b"\x89PNG\r\n\x1a\n\x00\xff"[..]
    );
}

#[tokio::test]
async fn an_unnamed_file_is_named_by_its_url() {
    let rig = Rig::new().await;
    let emitted = rig
        .request_returning(json!({ "answerType": "attachment" }), "text/csv", "a;b")
        .await;
    let [Event::Data(message)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    let request = json!({ "method": "POST", "path": "/echo" });
    let message =
        json!({ "body": request, "attachments": { "x": message["attachments"]["report.csv"] } });
    let sent = rig
        .harness("makeRequest", json!({ "bodyType": "raw" }))
        .run_message(message)
        .await
        .unwrap();
    assert_eq!(sent.data::<Value>()[0]["body"]["body"], "a;b");
}

#[tokio::test]
async fn each_item_of_a_split_list_is_a_message() {
    let rig = Rig::new().await;
    let whole = json!([{ "id": 1 }, { "id": 2 }]);
    for (pointer, response) in [
        ("/a/b", json!({ "a": { "b": whole } })),
        ("#/items", json!({ "items": whole })),
        ("#", whole),
    ] {
        let emitted = rig
            .request_returning(
                json!({ "splitPointer": pointer }),
                "application/json",
                &response.to_string(),
            )
            .await;
        let bodies = emitted
            .data::<Value>()
            .into_iter()
            .map(|response| response["body"].clone())
            .collect::<Vec<_>>();
        assert_eq!(
            bodies,
            [json!({ "id": 1 }), json!({ "id": 2 })],
            "{pointer}"
        );
    }
    let none = rig
        .request_returning(json!({ "splitPointer": "#" }), "application/json", "[]")
        .await;
    assert!(none.events.is_empty(), "{none:?}");
}

#[tokio::test]
async fn a_response_without_the_list_is_an_error_with_advice() {
    let rig = Rig::new().await;
    let fields = json!({ "splitPointer": "/items", "onError": "emit" });
    let emitted = rig
        .request(fields.clone(), json!({ "path": "/records" }))
        .await;
    assert_eq!(
        error_text(&emitted),
        "the response has no list at \"/items\": set `splitPointer` to the JSON pointer of its list"
    );
    let file = rig
        .request(fields.clone(), json!({ "path": "/files/a" }))
        .await;
    assert!(
        error_text(&file).contains("the response is a file and cannot be split"),
        "{file:?}"
    );
    // An unexpected response has no list, and is emitted whole.
    let unexpected = rig.request(fields, json!({ "path": "/status/404" })).await;
    assert_eq!(
        unexpected.data::<Value>()[0]["body"],
        json!({ "status": "404" })
    );
}

#[tokio::test]
async fn a_broken_response_is_retried_only_for_safe_requests() {
    let rig = Rig::new().await;
    rig.provider.script_api([Fault::DropMidBody]);
    let emitted = rig.request(json!({}), json!({ "path": "/me" })).await;
    // The response may break off before its first byte, or later.
    assert!(
        matches!(&emitted.events[..], [Event::Data(_) | Event::Rebound(_)]),
        "{emitted:?}"
    );
    rig.provider.script_api([Fault::DropMidBody]);
    let calls = rig.provider.api_calls().len();
    let post = rig
        .request(
            json!({}),
            json!({ "method": "POST", "path": "/items", "body": {} }),
        )
        .await;
    assert!(
        error_text(&post).contains("POST /items failed without a response"),
        "{post:?}"
    );
    assert_eq!(rig.provider.api_calls().len(), calls + 1);
}

#[tokio::test]
async fn a_response_too_large_for_memory_is_an_error() {
    let rig = Rig::new().await;
    let emitted = rig
        .request_returning(json!({}), "text/plain", &"a".repeat((16 << 20) + 1))
        .await;
    assert_eq!(
        error_text(&emitted),
        "the response to GET /files/report.csv is longer than 16 MB"
    );
    let file = rig
        .request_returning(json!({}), "application/zip", &"a".repeat(9 << 20))
        .await;
    let [Event::Data(message)] = &file.events[..] else {
        panic!("{:?}", file.error)
    };
    assert_eq!(message["attachments"]["report.csv"]["size"], 9 << 20);
}

#[tokio::test]
async fn splitting_an_empty_response_emits_nothing() {
    for status in [204, 304] {
        let rig = Rig::new().await;
        rig.provider.script_api([Fault::Response {
            status,
            headers: vec![],
            body: String::new(),
        }]);
        let emitted = rig
            .request(
                json!({ "splitPointer": "/items" }),
                json!({ "path": "/list" }),
            )
            .await;
        assert_eq!(
            (emitted.verdict, emitted.events.len()),
            (Verdict::Acknowledged, 0),
            "{:?}",
            emitted.events
        );
    }
}
