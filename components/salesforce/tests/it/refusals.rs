//! Salesforce's errors: they are read far enough to be understood, and shown in part.

use crate::rig::Org;
use sailor::testing::{Event, Verdict};
use salesforce_standin::Fault;
use serde_json::{Value, json};

/// A message that names the ids of so many records.
fn with_ids(count: usize) -> String {
    let ids: Vec<String> = (0..count).map(|n| format!("0015g{n:010}AAA")).collect();
    format!(
        "unable to obtain exclusive access to this record or {count} records: {}",
        ids.join(",")
    )
}

fn refused(status: u16, body: &Value) -> Fault {
    Fault::Json(status, body.clone())
}

#[tokio::test]
async fn a_lock_on_200_records_rebounds_each_kind_of_call() {
    let org = Org::new().await;
    let locked =
        json!([{ "message": with_ids(200), "errorCode": "UNABLE_TO_LOCK_ROW", "fields": [] }]);
    assert!(locked.to_string().len() > 3_000);
    let account = json!({ "sobject": "Account" });
    let by_id =
        json!({ "sobject": "Account", "typeOfSearch": "uniqueFields", "lookupField": "Id" });
    let raw = json!({ "method": "POST", "path": "sobjects/Account", "body": { "Name": "x" } });
    for (function, fields, body) in [
        ("create", account.clone(), json!({ "Name": "x" })),
        ("createAccount", json!({}), json!({ "Name": "x" })),
        ("upsert", by_id.clone(), json!({ "Id": "001", "Name": "x" })),
        ("delete", by_id, json!({ "Id": "001" })),
        (
            "query",
            json!({}),
            json!({ "query": "SELECT Id FROM Account" }),
        ),
        (
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT Id FROM Account" }),
        ),
        ("rawRequest", json!({}), raw),
        ("getUpdatedObjectsPolling", account, json!({})),
    ] {
        org.api.inject_faults(".*", [refused(400, &locked)]);
        let emitted = org.run(function, fields, body).await;
        let [Event::Rebound(reason)] = &emitted.events[..] else {
            panic!("{function}: {emitted:?}")
        };
        assert!(
            reason.contains("UNABLE_TO_LOCK_ROW") && reason.len() < 1_000,
            "{function}: {reason}"
        );
    }
    assert!(org.api.records("Account").is_empty());
}

#[tokio::test]
async fn a_transient_code_is_found_wherever_it_stands() {
    let org = Org::new().await;
    let item = |message: String, code: &str| json!({ "message": message, "errorCode": code });
    let other = || item(with_ids(50), "DUPLICATE_VALUE");
    for (status, body) in [
        // One error instead of a list, and the last one of several.
        (400, item(with_ids(300), "UNABLE_TO_LOCK_ROW")),
        (
            403,
            json!([
                other(),
                other(),
                item("limit".into(), "REQUEST_LIMIT_EXCEEDED")
            ]),
        ),
        (500, json!([item(with_ids(1000), "SERVER_UNAVAILABLE")])),
        (
            400,
            json!([{ "message": null, "fields": null, "errorCode": "UNABLE_TO_LOCK_ROW" }]),
        ),
    ] {
        org.api.inject_faults("POST", [refused(status, &body)]);
        let fields = json!({ "sobject": "Account" });
        let emitted = org.run("create", fields, json!({ "Name": "x" })).await;
        assert!(
            matches!(&emitted.events[..], [Event::Rebound(_)]),
            "{status}: {emitted:?}"
        );
    }
}

#[tokio::test]
async fn a_permanent_error_is_shown_in_part() {
    let org = Org::new().await;
    let many: Vec<Value> = (0..200)
        .map(|n| json!({ "message": format!("{n}: {}", with_ids(9)), "errorCode": "DUPLICATE_VALUE" }))
        .collect();
    for (body, wanted) in [
        (
            json!([{ "message": with_ids(200), "errorCode": "DUPLICATE_VALUE" }]),
            "DUPLICATE_VALUE",
        ),
        (json!(many), "and 190 more errors"),
        (json!({ "text": "é".repeat(40_000) }), "400"),
    ] {
        org.api.inject_faults("POST", [refused(400, &body)]);
        let fields = json!({ "sobject": "Account" });
        let emitted = org.run("create", fields, json!({ "Name": "x" })).await;
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{emitted:?}")
        };
        assert!(text.contains(wanted) && text.len() < 6_000, "{text}");
        assert_eq!(emitted.verdict, Verdict::Rejected);
    }
}

#[tokio::test]
async fn an_error_never_shows_the_access_token() {
    let org = Org::new().await;
    let tokens = org.provider.issue();
    let token = tokens["access_token"].as_str().unwrap().to_owned();
    let echoed = json!([{ "message": format!("bad header: Bearer {token}"), "errorCode": "ODD" }]);
    for body in [echoed, json!({ "headers": { "authorization": token } })] {
        org.api.inject_faults("POST", [refused(400, &body)]);
        let harness = org.harness("create", json!({ "sobject": "Account" }), tokens.clone());
        let emitted = harness.run(json!({ "Name": "x" })).await.unwrap();
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{emitted:?}")
        };
        assert!(!text.contains(&token) && text.contains("[token]"), "{text}");
    }
}

#[tokio::test]
async fn a_session_that_is_over_is_refreshed_for_any_status() {
    let org = Org::new().await;
    let over =
        json!([{ "message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID" }]);
    for (refreshes, status) in [401, 403, 500].into_iter().enumerate() {
        org.api.inject_faults("POST", [refused(status, &over)]);
        let fields = json!({ "sobject": "Account" });
        let emitted = org.run("create", fields, json!({ "Name": "x" })).await;
        assert_eq!(
            emitted.verdict,
            Verdict::Acknowledged,
            "{status}: {emitted:?}"
        );
        assert_eq!(org.provider.refreshes(), refreshes + 1, "{status}");
    }
    assert_eq!(org.api.records("Account").len(), 3);
}

#[tokio::test]
async fn a_response_that_is_not_the_expected_json_is_named() {
    let org = Org::new().await;
    for (body, wanted) in [
        ("<html>maintenance</html>", "not JSON"),
        (r#"{"totalSize": "many", "records": []}"#, "totalSize"),
        ("", "not the expected JSON"),
    ] {
        org.api.inject_faults(
            "/query",
            [Fault::Response {
                status: 200,
                headers: vec![],
                body: body.to_owned(),
            }],
        );
        let query = json!({ "query": "SELECT Id FROM Account" });
        let error = org.error("query", json!({}), query).await;
        assert!(
            error.contains(wanted) && error.contains("SALESFORCE_API_VERSION"),
            "{body}: {error}"
        );
    }
    // The same in other encodings is read.
    org.api.inject_faults(
        "/query",
        [Fault::Response {
            status: 200,
            headers: vec![],
            body:
                "\u{feff}{\"totalSize\": 1, \"done\": true, \"records\": [{\"Id\": \"\\ud83d\"}]}"
                    .to_owned(),
        }],
    );
    let query = json!({ "query": "SELECT Id FROM Account" });
    let found = org.data("query", json!({}), query).await;
    assert_eq!(found, [json!({ "Id": "\u{fffd}" })]);
}
