//! What the platform's UI, a message or an odd answer may do to the component.

use crate::rig::Org;
use sailor::testing::{Event, Verdict};
use serde_json::json;

#[tokio::test]
async fn empty_choices_use_the_defaults() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "A" }));
    org.api.pass(2);
    for none in [json!(""), json!(null)] {
        for (function, fields, body) in [
            (
                "getUpdatedObjectsPolling",
                json!({ "sobject": "Account", "emitBehavior": none }),
                json!({}),
            ),
            (
                "queryTrigger",
                json!({ "query": "SELECT Id FROM Account", "outputMethod": none }),
                json!({}),
            ),
            (
                "lookupObjects",
                json!({ "sobject": "Account", "outputMethod": none, "termNumber": 0 }),
                json!({}),
            ),
            (
                "lookupObject",
                json!({ "sobject": "Account", "typeOfSearch": none, "lookupField": "Name" }),
                json!({ "Name": "A" }),
            ),
            (
                "upsert",
                json!({ "sobject": "Account", "typeOfSearch": none, "lookupField": "Id" }),
                json!({ "Name": "B" }),
            ),
            (
                "delete",
                json!({ "sobject": "Account", "typeOfSearch": none, "lookupField": "Name" }),
                json!({ "Name": "none" }),
            ),
        ] {
            let emitted = org.run(function, fields, body).await;
            assert_eq!(
                emitted.verdict,
                Verdict::Acknowledged,
                "{function} {none}: {:?}",
                emitted.events
            );
            assert!(
                !emitted
                    .events
                    .iter()
                    .any(|event| matches!(event, Event::Error(_))),
                "{function}: {emitted:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_invalid_timeout_starts_no_job() {
    for timeout in [
        json!(0),
        json!("0"),
        json!(u64::MAX),
        json!("18446744073709551615"),
    ] {
        let org = Org::new().await;
        let body = json!({ "attachmentUrl": org.file("rows.csv", "Name\nA\n") });
        let fields = json!({ "operation": "insert", "sobject": "Account", "timeout": timeout });
        for (function, body) in [
            ("bulk_cud", body),
            ("bulk_q", json!({ "query": "SELECT Id FROM Account" })),
        ] {
            let emitted = org.run(function, fields.clone(), body).await;
            assert!(
                matches!(&emitted.events[..], [Event::Error(text)] if text.contains("timeout")),
                "{function} {timeout}: {:?}",
                emitted.events
            );
            assert!(
                org.api.calls_matching("POST .*jobs").is_empty(),
                "{function} {timeout}"
            );
        }
    }
}

#[tokio::test]
async fn earlier_pages_are_not_kept_in_memory() {
    let org = Org::new().await;
    let fields = json!({ "sobject": "Account", "outputMethod": "emitPage", "termNumber": 0 });
    let body = json!({ "pageSize": 1000, "pageNumber": u64::MAX });
    let text = org.error("lookupObjects", fields, body).await;
    assert!(text.contains("pageNumber"), "{text}");
    assert!(org.api.calls_matching("GET .*query").is_empty());
}

#[tokio::test]
async fn a_file_too_large_for_a_record_is_not_read_into_memory() {
    let org = Org::new().await;
    let file = org.file("large", &"x".repeat(37 << 20));
    let fields = json!({ "sobject": "Attachment", "utilizeAttachment": "on" });
    let message =
        json!({ "body": { "Name": "large" }, "attachments": { "large": { "url": file } } });
    let emitted = org
        .harness("create", fields, org.provider.issue())
        .run_message(message)
        .await
        .unwrap();
    assert!(
        matches!(&emitted.events[..], [Event::Error(text)] if text.contains("larger than 36 MB")),
        "{:?}",
        emitted.events
    );
    assert!(org.api.calls_matching("POST .*Attachment").is_empty());
}
