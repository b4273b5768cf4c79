//! Action sendMail.

use crate::rig::{Rig, error, one, with};
use graph_standin::Fault;
use serde_json::{Value, json};

fn mail(more: Value) -> Value {
    let mail = json!({
        "subject": "Hello",
        "toRecipients": [{ "emailAddress": { "address": "ada@example.com", "name": "Ada" } }],
        "body": { "content": "How are you?" },
    });
    with(mail, more)
}

/// Puts a file into object storage and returns its URL.
fn stored(rig: &Rig, id: &str, bytes: impl Into<Vec<u8>>) -> String {
    rig.platform.set_object(id, bytes.into());
    format!("{}/objects/{id}?storage_type=maester", rig.platform.url())
}

#[tokio::test]
async fn a_sent_mail_matches_graphs_format() {
    let rig = Rig::new().await;
    let body = mail(json!({
        "ccRecipients": [{ "emailAddress": { "address": "grace@example.com" } }],
        "body": { "content": "<b>How are you?</b>", "contentType": "HTML" },
    }));
    let emitted = one(&rig.run("sendMail", json!({}), body.clone()).await);
    assert_eq!(
        (&emitted["subject"], &emitted["toRecipients"]),
        (&body["subject"], &body["toRecipients"])
    );
    assert_eq!(
        rig.graph.sent(),
        [json!({
            "message": {
                "subject": "Hello",
                "toRecipients": body["toRecipients"],
                "ccRecipients": body["ccRecipients"],
                "body": { "contentType": "html", "content": "<b>How are you?</b>" },
            },
            "saveToSentItems": true,
        })]
    );
}

#[tokio::test]
async fn without_a_content_type_the_body_is_text() {
    for kind in [Value::Null, json!("")] {
        let rig = Rig::new().await;
        rig.run(
            "sendMail",
            json!({}),
            mail(json!({ "body": { "content": "x", "contentType": kind } })),
        )
        .await;
        assert_eq!(
            rig.graph.sent()[0]["message"]["body"],
            json!({ "contentType": "text", "content": "x" })
        );
    }
}

#[tokio::test]
async fn stored_files_are_attached_in_order() {
    let rig = Rig::new().await;
    let (one_url, two_url) = (
        stored(&rig, "one", "hello"),
        stored(&rig, "two", [0, 255, 128]),
    );
    let files =
        json!([{ "name": "one.txt", "url": one_url }, { "name": "two.bin", "url": two_url }]);
    one(&rig
        .run("sendMail", json!({}), mail(json!({ "attachments": files })))
        .await);
    let file = |name: &str, bytes: &str| {
        json!({
            "@odata.type": "#microsoft.graph.fileAttachment",
            "name": name,
            "contentType": "application/octet-stream",
            "contentBytes": bytes,
        })
    };
    let sent = rig.graph.sent().remove(0);
    assert_eq!(
        sent["message"]["attachments"],
        json!([file("one.txt", "aGVsbG8="), file("two.bin", "AP+A")])
    );
}

#[tokio::test]
async fn oversized_files_are_an_error_and_nothing_is_sent() {
    let rig = Rig::new().await;
    let (one_url, two_url) = (
        stored(&rig, "one", vec![1; 2_000_000]),
        stored(&rig, "two", vec![2; 1_000_001]),
    );
    let files =
        json!([{ "name": "one.bin", "url": one_url }, { "name": "two.bin", "url": two_url }]);
    let emitted = rig
        .run("sendMail", json!({}), mail(json!({ "attachments": files })))
        .await;
    let error = error(&emitted);
    assert!(
        error.contains("`attachments[1]` (two.bin)") && error.contains("3000000 bytes together"),
        "{error}"
    );
    assert!(rig.graph.calls_matching(".").is_empty());
    // One byte less, and it fits.
    let two_url = stored(&rig, "two", vec![2; 1_000_000]);
    let files =
        json!([{ "name": "one.bin", "url": one_url }, { "name": "two.bin", "url": two_url }]);
    one(&rig
        .run("sendMail", json!({}), mail(json!({ "attachments": files })))
        .await);
}

#[tokio::test]
async fn a_file_that_cannot_be_fetched_is_named_and_nothing_is_sent() {
    let rig = Rig::new().await;
    let files = json!([{ "name": "a.csv", "url": format!("{}/objects/none", rig.platform.url()) }]);
    let emitted = rig
        .run("sendMail", json!({}), mail(json!({ "attachments": files })))
        .await;
    let error = error(&emitted);
    assert!(
        error.contains("`attachments[0]` (a.csv)") && error.contains("404"),
        "{error}"
    );
    assert!(rig.graph.calls_matching(".").is_empty());
}

#[tokio::test]
async fn an_attachment_on_another_host_gets_no_token() {
    let (rig, elsewhere) = (Rig::new().await, Rig::new().await);
    // The storage of the other platform requires its own token, and does not get one.
    let files = json!([{ "name": "a.csv", "url": stored(&elsewhere, "a", "x") }]);
    let emitted = rig
        .run("sendMail", json!({}), mail(json!({ "attachments": files })))
        .await;
    assert!(error(&emitted).contains("401"), "{emitted:?}");
}

#[tokio::test]
async fn refused_recipients_report_graphs_message() {
    let rig = Rig::new().await;
    let body = mail(json!({ "toRecipients": [{ "emailAddress": { "address": "nobody" } }] }));
    let emitted = rig.run("sendMail", json!({}), body).await;
    let error = error(&emitted);
    assert!(
        error.contains("sending the message") && error.contains("ErrorInvalidRecipients"),
        "{error}"
    );
}

#[tokio::test]
async fn an_error_or_lost_response_does_not_send_twice() {
    let rig = Rig::new().await;
    rig.run_after_401_and_after_429("sendMail", json!({}), mail(json!({})))
        .await;
    assert_eq!(rig.graph.sent().len(), 2, "one for each run");
    rig.graph.inject_faults("POST", [Fault::DropBefore]);
    let emitted = rig.run("sendMail", json!({}), mail(json!({}))).await;
    assert!(
        error(&emitted).contains("failed without a response"),
        "{emitted:?}"
    );
    assert_eq!(
        rig.graph
            .calls_matching("POST")
            .iter()
            .filter(|call| call.status.is_none())
            .count(),
        1
    );
}

#[tokio::test]
async fn save_to_sent_items_false_is_sent_as_false() {
    for (flag, kept) in [
        (json!(false), false),
        (json!("false"), false),
        (json!("off"), false),
        (json!(true), true),
        (json!("true"), true),
        (json!("on"), true),
        (json!(""), true),
        (Value::Null, true),
    ] {
        let rig = Rig::new().await;
        let body = json!({
            "subject": "Hello",
            "toRecipients": [{ "emailAddress": { "address": "ada@example.com" } }],
            "body": { "content": "x" },
            "saveToSentItems": flag,
        });
        one(&rig.run("sendMail", json!({}), body).await);
        assert_eq!(
            rig.graph.sent()[0]["saveToSentItems"],
            json!(kept),
            "{flag}"
        );
        assert_eq!(
            rig.graph.messages("sentitems").len(),
            usize::from(kept),
            "{flag}"
        );
    }
}
