//! Creating, changing and deleting records, and raw requests.

use crate::rig::Org;
use sailor::testing::Event;
use salesforce_standin::Fault;
use serde_json::{Value, json};

fn by(search: &str, field: &str) -> Value {
    json!({ "sobject": "Account", "typeOfSearch": search, "lookupField": field })
}

#[tokio::test]
async fn create_emits_the_fields_with_the_new_id() {
    let org = Org::new().await;
    let created = org
        .data(
            "create",
            json!({ "sobject": "Account" }),
            json!({ "Name": "Acme", "NumberOfEmployees": 5 }),
        )
        .await;
    let id = created[0]["id"].as_str().unwrap();
    assert_eq!(
        (&created[0]["Name"], &created[0]["NumberOfEmployees"]),
        (&json!("Acme"), &json!(5))
    );
    assert_eq!(org.api.record("Account", id).unwrap()["Name"], "Acme");
}

#[tokio::test]
async fn an_attachment_becomes_the_records_file() {
    let org = Org::new().await;
    let parent = org.api.insert("Account", json!({ "Name": "Acme" }));
    let url = org.file("letter", "Dear Sirs");
    let fields = json!({ "sobject": "Attachment", "utilizeAttachment": "on" });
    let message = json!({
        "body": { "Name": "letter.txt", "ParentId": parent },
        "attachments": { "letter.txt": { "url": url, "content-type": "text/plain" } },
    });
    let emitted = org
        .harness("create", fields, org.provider.issue())
        .run_message(message)
        .await
        .unwrap();
    let data: Vec<Value> = emitted.data();
    assert_eq!(data[0].get("Body"), None, "{emitted:?}");
    assert_eq!(org.api.records("Attachment")[0]["Body"], "RGVhciBTaXJz");
}

#[tokio::test]
async fn create_account_emits_the_account_with_its_id() {
    let org = Org::new().await;
    let created = org
        .data(
            "createAccount",
            json!({}),
            json!({ "Name": "Acme", "BillingCity": "Bonn" }),
        )
        .await;
    let record = org
        .api
        .record("Account", created[0]["id"].as_str().unwrap())
        .unwrap();
    assert_eq!(
        (&record["Name"], &record["BillingCity"]),
        (&json!("Acme"), &json!("Bonn"))
    );
    assert_eq!(created[0]["BillingCity"], "Bonn");
}

#[tokio::test]
async fn upsert_by_external_id_is_one_call() {
    let org = Org::new().await;
    let first = org
        .data(
            "upsert",
            by("externalIds", "ErpId__c"),
            json!({ "ErpId__c": "a/b?c", "Name": "One" }),
        )
        .await;
    assert_eq!(
        (&first[0]["success"], &first[0]["created"]),
        (&json!(true), &json!(true))
    );
    let second = org
        .data(
            "upsert",
            by("externalIds", "ErpId__c"),
            json!({ "ErpId__c": "a/b?c", "Name": "Two" }),
        )
        .await;
    assert_eq!(
        (&second[0]["id"], &second[0]["created"]),
        (&first[0]["id"], &json!(false))
    );
    assert_eq!(org.api.records("Account").len(), 1);
    assert_eq!(org.api.records("Account")[0]["Name"], "Two");
    assert_eq!(org.api.calls().len(), 2);
}

/// The deprecated action has no type of search, and not always an external id.
#[tokio::test]
async fn the_earlier_upsert_prefers_id_over_external_id() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Acme" }));
    let step = || json!({ "sobject": "Account", "extIdField": "ErpId__c" });
    let changed = org
        .data(
            "upsert",
            step(),
            json!({ "Id": id, "ErpId__c": "e-1", "Name": "By id" }),
        )
        .await;
    assert_eq!(
        (&changed[0]["id"], &changed[0]["created"]),
        (&json!(id), &json!(false))
    );
    assert_eq!(org.api.record("Account", &id).unwrap()["ErpId__c"], "e-1");
    org.data(
        "upsert",
        step(),
        json!({ "ErpId__c": "e-1", "Name": "By external id" }),
    )
    .await;
    assert_eq!(
        org.api.record("Account", &id).unwrap()["Name"],
        "By external id"
    );
    let created = org
        .data("upsert", step(), json!({ "Id": "", "Name": "New" }))
        .await;
    assert_eq!(
        (&created[0]["created"], org.api.records("Account").len()),
        (&json!(true), 2)
    );
}

#[tokio::test]
async fn a_read_only_lookup_field_is_not_written() {
    let org = Org::new().await;
    let id = org.api.insert(
        "Account",
        json!({ "Name": "Acme", "CreatedDate": "2024-01-01T00:00:00.000+0000" }),
    );
    let body = json!({ "CreatedDate": "2024-01-01T00:00:00Z", "Name": "Changed" });
    let changed = org
        .data("upsert", by("allFields", "CreatedDate"), body)
        .await;
    assert_eq!(
        (&changed[0]["id"], &changed[0]["created"]),
        (&json!(id), &json!(false))
    );
    assert_eq!(org.api.record("Account", &id).unwrap()["Name"], "Changed");
}

#[tokio::test]
async fn upsert_with_two_matches_is_an_error() {
    let org = Org::new().await;
    for _ in 0..2 {
        org.api
            .insert("Account", json!({ "Name": "Acme", "LegacyId__c": "7" }));
    }
    let error = org
        .error(
            "upsert",
            by("externalIds", "LegacyId__c"),
            json!({ "LegacyId__c": "7", "Name": "New" }),
        )
        .await;
    assert!(error.contains("2 records"), "{error}");
}

#[tokio::test]
async fn upsert_by_another_field_creates_updates_or_fails() {
    let org = Org::new().await;
    let upsert = async |name: &str| {
        org.run(
            "upsert",
            by("allFields", "Name"),
            json!({ "Name": name, "Website": "x" }),
        )
        .await
    };
    let created: Vec<Value> = upsert("It's").await.data();
    assert_eq!(created[0]["created"], true);
    let changed: Vec<Value> = upsert("It's").await.data();
    assert_eq!(
        (&changed[0]["id"], &changed[0]["created"]),
        (&created[0]["id"], &json!(false))
    );
    org.api.insert("Account", json!({ "Name": "It's" }));
    let refused = upsert("It's").await;
    assert!(
        matches!(&refused.events[..], [Event::Error(text)] if text.contains("more than one Account")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn upsert_by_id_updates_or_creates() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "One" }));
    let changed = org
        .data(
            "upsert",
            by("uniqueFields", "Id"),
            json!({ "Id": id, "Name": "Two" }),
        )
        .await;
    assert_eq!(changed[0]["id"], json!(id));
    assert_eq!(org.api.record("Account", &id).unwrap()["Name"], "Two");
    let created = org
        .data(
            "upsert",
            by("uniqueFields", "Id"),
            json!({ "Id": "", "Name": "Three" }),
        )
        .await;
    assert_eq!(created[0]["created"], true);
}

#[tokio::test]
async fn upsert_understands_the_fields_of_an_earlier_component() {
    let org = Org::new().await;
    let fields = json!({ "sobject": "Account", "extIdField": "ErpId__c" });
    let upserted = org
        .data("upsert", fields, json!({ "ErpId__c": "1", "Name": "One" }))
        .await;
    assert_eq!(upserted[0]["created"], true);
}

#[tokio::test]
async fn delete_removes_the_one_matching_record() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Acme" }));
    let deleted = org
        .data("delete", by("allFields", "Name"), json!({ "Name": "Acme" }))
        .await;
    assert_eq!(
        deleted,
        [json!({ "response": { "id": id, "success": true, "errors": [] } })]
    );
    assert!(org.api.records("Account").is_empty());
    let again = org
        .data("delete", by("uniqueFields", "Id"), json!({ "Id": id }))
        .await;
    assert_eq!(again, [json!({})]);
    let nobody = org
        .data("delete", by("allFields", "Name"), json!({ "Name": "Acme" }))
        .await;
    assert_eq!(nobody, [json!({})]);
}

#[tokio::test]
async fn delete_with_two_matches_deletes_nothing() {
    let org = Org::new().await;
    for _ in 0..2 {
        org.api.insert("Account", json!({ "Name": "Acme" }));
    }
    let error = org
        .error("delete", by("allFields", "Name"), json!({ "Name": "Acme" }))
        .await;
    assert!(error.contains("more than one"), "{error}");
    assert_eq!(org.api.records("Account").len(), 2);
}

#[tokio::test]
async fn raw_request_paths_may_be_relative_or_absolute() {
    let org = Org::new().await;
    let raw = async |method: &str, path: &str, body: Value| {
        let body = json!({ "method": method, "path": path, "body": body });
        org.data("rawRequest", json!({}), body).await.remove(0)
    };
    let created = raw("post", "sobjects/Account", json!({ "Name": "Acme" })).await;
    let id = created["id"].as_str().unwrap();
    let whole = format!("/services/data/v59.0/sobjects/Account/{id}");
    assert_eq!(raw("GET", &whole, Value::Null).await["Name"], "Acme");
    assert_eq!(
        raw(
            "PATCH",
            &format!("sobjects/Account/{id}"),
            json!({ "Name": "New" })
        )
        .await,
        json!({})
    );
    assert_eq!(
        raw("GET", &format!("{}{whole}", org.api.url()), Value::Null).await["Name"],
        "New"
    );
    assert_eq!(raw("DELETE", &whole, Value::Null).await, json!({}));
}

#[tokio::test]
async fn a_refused_raw_request_returns_salesforces_error() {
    let org = Org::new().await;
    org.api.inject_faults(
        "GET",
        [Fault::Error(400, "INVALID_FIELD", "No such column 'x'")],
    );
    let error = org
        .error(
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": "query?q=x" }),
        )
        .await;
    assert!(
        error.contains("No such column 'x' (INVALID_FIELD)"),
        "{error}"
    );
}

#[tokio::test]
async fn a_204_is_a_success() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Old" }));
    let changed = org
        .data(
            "upsert",
            by("allFields", "Id"),
            json!({ "Id": id, "Name": "New" }),
        )
        .await;
    assert_eq!(changed[0]["success"], true);
    let raw = json!({ "method": "PATCH", "path": format!("sobjects/Account/{id}"), "body": { "Name": "Newer" } });
    assert_eq!(org.data("rawRequest", json!({}), raw).await, [json!({})]);
    assert_eq!(
        org.data("delete", by("allFields", "Id"), json!({ "Id": id }))
            .await[0]["response"]["success"],
        true
    );
    let statuses: Vec<Option<u16>> = org.api.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(204); 3]);
}

#[tokio::test]
async fn a_failed_delete_is_an_error() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Acme" }));
    for (status, code) in [
        (400, "DELETE_FAILED"),
        (400, "MALFORMED_ID"),
        (403, "INSUFFICIENT_ACCESS_OR_READONLY"),
        (404, "ENTITY_IS_LOCKED"),
        (500, "UNKNOWN_EXCEPTION"),
    ] {
        // An error of the server is retried.
        let times = if status == 500 { 4 } else { 1 };
        org.api
            .inject_faults("DELETE", vec![Fault::Error(status, code, "no"); times]);
        let emitted = org
            .run("delete", by("allFields", "Id"), json!({ "Id": id }))
            .await;
        let is_expected = match &emitted.events[..] {
            [Event::Error(text)] => text.contains(code),
            [Event::Rebound(reason)] => status == 500 && reason.contains("500"),
            _ => false,
        };
        assert!(is_expected, "{code}: {emitted:?}");
    }
    let history = org.api.insert("AccountHistory", json!({ "AccountId": id }));
    let of = |object: &str| json!({ "sobject": object, "lookupField": "Id" });
    let error = org
        .error("delete", of("AccountHistory"), json!({ "Id": history }))
        .await;
    assert!(error.contains("does not support delete"), "{error}");
    let error = org.error("delete", of("Acount"), json!({ "Id": id })).await;
    assert!(error.contains("no object Acount"), "{error}");
    assert_eq!(
        org.data("delete", of("Account"), json!({ "Id": "001nobody" }))
            .await,
        [json!({})]
    );
}

#[tokio::test]
async fn a_request_that_creates_is_not_retried_after_an_error() {
    let org = Org::new().await;
    let new = || json!({ "Name": "New" });
    let raw = json!({ "method": "POST", "path": "sobjects/Account", "body": new() });
    for fault in [
        Fault::DropAfter,
        Fault::DropBefore,
        Fault::Error(500, "UNKNOWN_EXCEPTION", "an error"),
    ] {
        for (function, fields, body) in [
            ("create", json!({ "sobject": "Account" }), new()),
            ("createAccount", json!({}), new()),
            ("upsert", by("allFields", "ErpId__c"), new()),
            ("rawRequest", json!({}), raw.clone()),
        ] {
            let (posts, records) = (
                org.api.calls_matching("POST").len(),
                org.api.records("Account").len(),
            );
            org.api.inject_faults("POST", [fault.clone()]);
            let emitted = org.run(function, fields, body).await;
            assert!(
                matches!(&emitted.events[..], [Event::Error(_)]),
                "{function} {fault:?}: {emitted:?}"
            );
            let done = usize::from(fault == Fault::DropAfter);
            assert_eq!(
                org.api.calls_matching("POST").len() - posts,
                1,
                "{function} {fault:?}"
            );
            assert_eq!(
                org.api.records("Account").len() - records,
                done,
                "{function} {fault:?}"
            );
        }
    }
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
