//! Bulk jobs, with files from and to object storage.

use crate::rig::Org;
use sailor::testing::{Emitted, Event, Verdict};
use salesforce_standin::Fault;
use serde_json::{Value, json};

async fn change(org: &Org, operation: &str, csv: &str, body: Value) -> Emitted {
    let mut body = body;
    body["attachmentUrl"] = org.file("rows.csv", csv).into();
    org.run(
        "bulk_cud",
        json!({ "operation": operation, "sobject": "Account" }),
        body,
    )
    .await
}

fn result(emitted: &Emitted) -> Vec<Value> {
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    emitted.data::<Value>()[0]["result"]
        .as_array()
        .unwrap_or_else(|| panic!("{emitted:?}"))
        .clone()
}

fn error(emitted: &Emitted) -> &str {
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    text
}

#[tokio::test]
async fn insert_reports_the_result_of_each_row() {
    let org = Org::new().await;
    org.api.set_job_pace(1);
    let csv = "Name,NumberOfEmployees\n\"A, \"\"quoted\"\"\",5\n,7\nB,many\n";
    let result = result(&change(&org, "insert", csv, json!({})).await);
    let done = json!({ "success": true, "created": true, "errors": [] });
    assert_eq!(
        (&result[0]["success"], &result[0]["created"]),
        (&done["success"], &done["created"])
    );
    assert_eq!(
        org.api
            .record("Account", result[0]["id"].as_str().unwrap())
            .unwrap()["Name"],
        "A, \"quoted\""
    );
    assert_eq!(
        result[0]["row"]["NumberOfEmployees"], "5",
        "which row the new id is of"
    );
    for (row, code, employees) in [
        (1, "REQUIRED_FIELD_MISSING", "7"),
        (2, "JSON_PARSER_ERROR", "many"),
    ] {
        assert_eq!(
            (&result[row]["success"], result[row].get("id")),
            (&json!(false), None)
        );
        assert!(
            result[row]["errors"][0].as_str().unwrap().contains(code),
            "{}",
            result[row]
        );
        assert_eq!(result[row]["row"]["NumberOfEmployees"], employees);
    }
    assert_eq!((result.len(), org.api.records("Account").len()), (3, 1));
}

#[tokio::test]
async fn update_and_delete_change_records_by_id() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Old" }));
    let updated = result(
        &change(
            &org,
            "update",
            &format!("Id,Name\r\n{id},New\r\n"),
            json!({}),
        )
        .await,
    );
    assert_eq!(
        updated,
        [json!({ "id": id, "success": true, "created": false, "errors": [] })]
    );
    assert_eq!(org.api.record("Account", &id).unwrap()["Name"], "New");
    let deleted = result(&change(&org, "delete", &format!("Id\n{id}\n"), json!({})).await);
    assert_eq!(
        (&deleted[0]["id"], &deleted[0]["success"]),
        (&json!(id), &json!(true))
    );
    assert_eq!(org.api.record("Account", &id), None);
}

#[tokio::test]
async fn upsert_by_external_id_creates_and_updates() {
    let org = Org::new().await;
    let id = org
        .api
        .insert("Account", json!({ "Name": "Old", "ErpId__c": "1" }));
    let csv = "ErpId__c,Name\n1,New\n2,Other\n";
    let result = result(&change(&org, "upsert", csv, json!({ "extIdField": "ErpId__c" })).await);
    assert_eq!(
        (
            &result[0]["id"],
            &result[0]["created"],
            &result[1]["created"]
        ),
        (&json!(id), &json!(false), &json!(true))
    );
    assert_eq!(org.api.records("Account").len(), 2);
}

#[tokio::test]
async fn an_attachment_is_the_default_csv_file() {
    let org = Org::new().await;
    let url = org.file("rows.csv", "Name\nA\nB\n");
    let message = json!({ "body": {}, "attachments": { "rows.csv": { "url": url, "content-type": "text/csv" } } });
    let fields = json!({ "operation": "insert", "sobject": "Account" });
    let emitted = org
        .harness("bulk_cud", fields, org.provider.issue())
        .run_message(message)
        .await
        .unwrap();
    assert_eq!(result(&emitted).len(), 2);
    assert_eq!(org.api.records("Account").len(), 2);
}

#[tokio::test]
async fn a_failed_job_reports_salesforces_reason() {
    let org = Org::new().await;
    org.api
        .fail_jobs(Some("InvalidBatch : Field name not found : Nope"));
    assert!(
        error(&change(&org, "insert", "Nope\n1\n", json!({})).await)
            .contains("Field name not found : Nope")
    );
    let emitted = org
        .run(
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT Id FROM Account" }),
        )
        .await;
    assert!(error(&emitted).contains("Field name not found : Nope"));
    assert!(org.platform.object_ids().iter().all(|id| id == "rows.csv"));
}

#[tokio::test]
async fn a_job_past_its_timeout_is_reported_as_running() {
    let org = Org::new().await;
    org.api.set_job_pace(100);
    let url = org.file("rows.csv", "Name\nA\n");
    let fields = json!({ "operation": "insert", "sobject": "Account", "timeout": "1" });
    let emitted = org
        .run("bulk_cud", fields, json!({ "attachmentUrl": url }))
        .await;
    let text = error(&emitted);
    assert!(
        text.contains("not done after 1 s") && text.contains("timeout"),
        "{text}"
    );
}

#[tokio::test]
async fn a_refused_upload_aborts_the_job() {
    let org = Org::new().await;
    org.api
        .inject_faults("PUT", [Fault::Error(400, "INVALIDJOB", "no")]);
    assert!(error(&change(&org, "insert", "Name\nA\n", json!({})).await).contains("INVALIDJOB"));
    let aborts = org.api.calls_matching("PATCH");
    assert_eq!(
        (aborts.len(), &aborts[0].content()["state"]),
        (1, &json!("Aborted"))
    );
}

#[tokio::test]
async fn an_error_after_job_creation_does_not_repeat_rows() {
    let org = Org::new().await;
    org.api.set_job_pace(1);
    // More errors than a request is retried, while waiting for the job's end and for its results.
    org.api.inject_faults(
        "GET .*/jobs/ingest/[^/]*$",
        [const { Fault::Throttled(0) }; 5],
    );
    org.api.inject_faults(
        "GET .*/failedResults",
        [const { Fault::Error(503, "SERVER_UNAVAILABLE", "busy") }; 4],
    );
    let result = result(&change(&org, "insert", "Name\nA\n", json!({})).await);
    assert_eq!((result.len(), org.api.records("Account").len()), (1, 1));
    assert_eq!(org.api.calls_matching("POST").len(), 1);
}

#[tokio::test]
async fn a_lost_response_to_the_upload_end_restarts_no_job() {
    let org = Org::new().await;
    org.api.inject_faults("PATCH", [Fault::DropAfter]);
    let result = result(&change(&org, "insert", "Name\nA\n", json!({})).await);
    assert_eq!((result.len(), org.api.records("Account").len()), (1, 1));
    assert!(
        org.api
            .calls_matching("PATCH")
            .iter()
            .all(|call| call.content()["state"] == "UploadComplete")
    );
}

#[tokio::test]
async fn a_refused_upload_end_rebounds_the_message() {
    let org = Org::new().await;
    org.api
        .inject_faults("PATCH", [const { Fault::Throttled(0) }; 4]);
    let emitted = change(&org, "insert", "Name\nA\n", json!({})).await;
    assert!(
        matches!(&emitted.events[..], [Event::Rebound(_)]),
        "{emitted:?}"
    );
    assert!(org.api.records("Account").is_empty());
    assert_eq!(
        org.api.calls_matching("PATCH").last().unwrap().content()["state"],
        "Aborted"
    );
}

async fn accounts(count: usize) -> Org {
    let org = Org::new().await;
    for n in 0..count {
        org.api
            .insert("Account", json!({ "Name": format!("\"{n}\", it is") }));
    }
    org
}

#[tokio::test]
async fn a_bulk_query_joins_its_pages_into_one_csv_file() {
    let org = accounts(5).await;
    org.api.set_page_size(2);
    org.api.set_job_pace(1);
    let emitted = org
        .run(
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT Id, Name FROM Account" }),
        )
        .await;
    let [Event::Data(message)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    let attachment = &message["attachments"]["bulk_query.csv"];
    assert_eq!(
        (&message["body"]["url"], &attachment["content-type"]),
        (&attachment["url"], &json!("text/csv"))
    );
    let csv = org.stored(attachment);
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 6, "{csv}");
    assert!(
        lines[0].contains("Id") && lines[0].contains("Name"),
        "{csv}"
    );
    assert!(
        lines[1..]
            .iter()
            .enumerate()
            .all(|(n, line)| line.contains(&format!("\"\"{n}\"\", it is"))),
        "{csv}"
    );
}

#[tokio::test]
async fn a_failed_result_page_emits_nothing() {
    let org = accounts(5).await;
    org.api.set_page_size(2);
    org.api.inject_faults(
        "results.*locator",
        [Fault::Error(
            400,
            "INVALID_QUERY_LOCATOR",
            "invalid locator",
        )],
    );
    let emitted = org
        .run(
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT Id, Name FROM Account" }),
        )
        .await;
    assert!(error(&emitted).contains("the results"), "{emitted:?}");
    assert!(org.platform.object_ids().is_empty());
}

#[tokio::test]
async fn result_pages_that_repeat_store_no_file() {
    let org = accounts(5).await;
    let page = Fault::Response {
        status: 200,
        headers: vec![("sforce-locator".to_owned(), "2".to_owned())],
        body: "Id\n1\n".to_owned(),
    };
    org.api
        .inject_faults("results", [page.clone(), page.clone(), page]);
    let query = json!({ "query": "SELECT Id FROM Account" });
    let emitted = org.run("bulk_q", json!({}), query).await;
    assert!(error(&emitted).contains("the results"), "{emitted:?}");
    assert!(org.platform.object_ids().is_empty());
    assert_eq!(org.api.calls_matching("results").len(), 2);
}

#[tokio::test]
async fn a_token_is_refreshed_while_the_file_is_written() {
    let org = accounts(5).await;
    org.api.set_page_size(2);
    org.api.inject_faults(
        "results.*locator=4",
        [Fault::Error(
            401,
            "INVALID_SESSION_ID",
            "Session expired or invalid",
        )],
    );
    let emitted = org
        .run(
            "bulk_q",
            json!({}),
            json!({ "query": "SELECT Name FROM Account" }),
        )
        .await;
    let [Event::UpdateKeys(_), Event::Data(message)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert_eq!(
        org.stored(&message["attachments"]["bulk_query.csv"])
            .lines()
            .count(),
        6
    );
    assert_eq!(org.provider.refreshes(), 1);
}

#[tokio::test]
async fn deleted_records_are_included_only_on_request() {
    let org = accounts(2).await;
    let id = org.api.records("Account")[0]["Id"].clone();
    let by_id =
        json!({ "sobject": "Account", "typeOfSearch": "uniqueFields", "lookupField": "Id" });
    org.data("delete", by_id, json!({ "Id": id })).await;
    for (include_deleted, lines) in [("", 2), ("on", 3)] {
        let fields = json!({ "includeDeleted": include_deleted });
        let found = org
            .data(
                "bulk_q",
                fields,
                json!({ "query": "SELECT Id FROM Account" }),
            )
            .await;
        assert_eq!(
            org.stored(&found[0]).lines().count(),
            lines,
            "{include_deleted:?}"
        );
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
