//! makeRequest: every body type.

use super::{Rig, error_text};
use emulator::provider::RecordedCall;
use sailor::testing::Emitted;
use serde_json::{Value, json};

const FILE: &[u8] = b"\x00\xff one";

impl Rig {
    /// A POST request with two attachments, one of them in object storage.
    async fn post(&self, fields: Value, body: Value) -> Emitted {
        self.platform.set_object("file-1", FILE);
        let attachments = json!({
            "one": { "url": format!("{}/objects/file-1", self.platform.url()), "content-type": "image/png" },
            "t\"wo": { "url": format!("{}/sample/items/item-1", self.platform.url()) },
        });
        let mut request = json!({ "method": "POST", "path": "/echo" });
        request
            .as_object_mut()
            .unwrap()
            .extend(body.as_object().unwrap().clone());
        let message = json!({ "headers": {}, "body": request, "attachments": attachments });
        self.harness("makeRequest", fields)
            .run_message(message)
            .await
            .unwrap()
    }
}

fn content_type(call: &RecordedCall) -> &str {
    call.headers
        .get("content-type")
        .map(|value| value.to_str().unwrap())
        .unwrap_or_default()
}

#[tokio::test]
async fn each_body_type_is_sent_with_its_content_type() {
    let form = "application/x-www-form-urlencoded";
    for (kind, body, sent, as_type) in [
        (
            "json",
            json!({ "body": { "a": [1] } }),
            r#"{"a":[1]}"#,
            "application/json",
        ),
        ("json", json!({ "body": null }), "", ""),
        (
            "form",
            json!({ "body": { "a": "1 2", "b": [3, true], "c": null } }),
            "a=1+2&b=3&b=true",
            form,
        ),
        (
            "text",
            json!({ "body": "über" }),
            "über",
            "text/plain; charset=utf-8",
        ),
        (
            "text",
            json!({ "body": "<a/>", "headers": { "Content-Type": "text/xml" } }),
            "<a/>",
            "text/xml",
        ),
    ] {
        let rig = Rig::new().await;
        let emitted = rig.post(json!({ "bodyType": kind }), body).await;
        assert_eq!(emitted.data::<Value>()[0]["status"], 200, "{emitted:?}");
        let call = &rig.provider.api_calls()[0];
        assert_eq!(
            (
                String::from_utf8_lossy(&call.body).as_ref(),
                content_type(call)
            ),
            (sent, as_type),
            "{kind}"
        );
        assert_eq!(
            call.headers.get_all("content-type").iter().count(),
            usize::from(!as_type.is_empty())
        );
    }
}

#[tokio::test]
async fn a_multipart_form_is_resent_after_a_refresh() {
    let rig = Rig::expired().await;
    let body = json!({ "body": { "title": "Two" }, "headers": { "content-type": "wrong" } });
    let emitted = rig.post(json!({ "bodyType": "multipart" }), body).await;
    rig.assert_refreshed_once(&emitted);
    let call = &rig.provider.api_calls()[1];
    let boundary = content_type(call)
        .strip_prefix("multipart/form-data; boundary=")
        .unwrap();
    let parts = [
        &b"Content-Disposition: form-data; name=\"title\"\r\n\r\nTwo\r\n"[..],
        b"Content-Disposition: form-data; name=\"one\"; filename=\"one\"\r\nContent-Type: image/png\r\n\r\n\x00\xff one\r\n",
        b"Content-Disposition: form-data; name=\"t%22wo\"; filename=\"t%22wo\"\r\nContent-Type: \
          application/octet-stream\r\n\r\n{\"id\":\"item-1\"",
    ];
    for part in parts {
        let found = call
            .body
            .windows(part.len())
            .filter(|window| *window == part)
            .count();
        assert_eq!(found, 1, "{}", String::from_utf8_lossy(&call.body));
    }
    assert!(
        call.body
            .ends_with(format!("\r\n--{boundary}--\r\n").as_bytes())
    );
}

#[tokio::test]
async fn a_part_and_its_file_have_names_of_their_own() {
    let rig = Rig::new().await;
    let named = json!({ "name": "one", "part": "document", "fileName": "invoice.pdf" });
    for (fields, attachments, part) in [
        (
            json!({ "filePart": "file" }),
            json!(["one"]),
            r#"name="file"; filename="one""#,
        ),
        (
            json!({}),
            json!([named]),
            r#"name="document"; filename="invoice.pdf""#,
        ),
        (
            json!({ "filePart": "file" }),
            json!([{ "name": "one", "fileName": "Rechnung \"ä\".pdf" }]),
            r#"name="file"; filename="Rechnung %22ä%22.pdf""#,
        ),
        (
            json!({}),
            json!([{ "name": "one" }]),
            r#"name="one"; filename="one""#,
        ),
    ] {
        let mut fields = fields;
        fields["bodyType"] = "multipart".into();
        rig.post(fields, json!({ "attachments": attachments }))
            .await;
        let call = rig.provider.api_calls().pop().unwrap();
        let sent = String::from_utf8_lossy(&call.body);
        assert!(sent.contains(&format!("form-data; {part}\r\n")), "{sent}");
    }
    for wrong in [
        json!({ "part": "file" }),
        json!({ "name": "one", "filename": "a.pdf" }),
    ] {
        let wrong = json!({ "attachments": [wrong] });
        let emitted = rig.post(json!({ "bodyType": "multipart" }), wrong).await;
        assert!(
            error_text(&emitted).contains("a name, or an object with `name`"),
            "{emitted:?}"
        );
    }
}

#[tokio::test]
async fn a_raw_body_is_the_named_attachment() {
    let rig = Rig::new().await;
    rig.post(
        json!({ "bodyType": "raw" }),
        json!({ "attachments": ["one"] }),
    )
    .await;
    let call = &rig.provider.api_calls()[0];
    assert_eq!((&call.body[..], content_type(call)), (FILE, "image/png"));
}

#[tokio::test]
async fn a_body_of_the_wrong_type_is_an_error_and_not_sent() {
    let rig = Rig::new().await;
    for (kind, body, expected) in [
        (
            "form",
            json!({ "body": ["a"] }),
            "`body` must be an object: its members",
        ),
        (
            "form",
            json!({ "body": { "a": { "b": 1 } } }),
            "`body.a` is an object",
        ),
        (
            "text",
            json!({ "body": { "a": 1 } }),
            "`body` is a list or an object",
        ),
        (
            "multipart",
            json!({ "attachments": ["three"] }),
            "`attachments` names \"three\"",
        ),
        (
            "multipart",
            json!({ "body": "text" }),
            "`body` must be an object",
        ),
        ("raw", json!({}), "one attachment, and there are 2"),
        (
            "raw",
            json!({ "attachments": [] }),
            "one attachment, and there are 0",
        ),
    ] {
        let emitted = rig.post(json!({ "bodyType": kind }), body).await;
        assert!(
            error_text(&emitted).contains(expected),
            "{expected}: {emitted:?}"
        );
    }
    let missing = json!({ "gone": { "url": format!("{}/objects/none", rig.platform.url()) } });
    let message = json!({ "body": { "method": "POST", "path": "/echo" }, "attachments": missing });
    let emitted = rig
        .harness("makeRequest", json!({ "bodyType": "raw" }))
        .run_message(message)
        .await
        .unwrap();
    assert!(
        error_text(&emitted).contains("reading attachment \"gone\""),
        "{emitted:?}"
    );
    assert!(rig.provider.api_calls().is_empty());
}
