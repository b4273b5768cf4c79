//! Creating, changing and deleting records, and raw requests.

use crate::rig::Org;
use emulator::standins::salesforce::Fault;
use sailor::testing::Event;
use serde_json::{Value, json};

fn by(search: &str, field: &str) -> Value {
    json!({ "sobject": "Account", "typeOfSearch": search, "lookupField": field })
}

#[tokio::test]
async fn given_fields_then_create_emits_them_with_the_new_id() {
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
async fn given_an_attachment_then_create_makes_a_file_of_it_and_does_not_emit_its_bytes() {
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
async fn given_an_account_then_create_account_emits_it_with_the_new_id() {
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
async fn given_an_external_id_then_upsert_creates_or_changes_in_one_call() {
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

/// As the deprecated action took them: neither a type of search nor always an external id.
#[tokio::test]
async fn given_a_step_of_the_earlier_upsert_then_the_id_goes_before_the_external_id() {
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
async fn given_a_field_that_cannot_be_written_then_upsert_looks_by_it_and_leaves_it_alone() {
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
async fn given_an_external_id_of_two_records_then_upsert_is_an_error() {
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
async fn given_another_field_then_upsert_creates_changes_or_refuses_by_what_it_finds() {
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
async fn given_an_id_then_upsert_changes_that_record_and_without_a_value_it_creates_one() {
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
async fn given_the_fields_of_an_earlier_component_then_upsert_understands_them() {
    let org = Org::new().await;
    let fields = json!({ "sobject": "Account", "extIdField": "ErpId__c" });
    let upserted = org
        .data("upsert", fields, json!({ "ErpId__c": "1", "Name": "One" }))
        .await;
    assert_eq!(upserted[0]["created"], true);
}

#[tokio::test]
async fn given_a_value_then_delete_deletes_the_one_record_that_has_it() {
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
async fn given_a_value_of_two_records_then_delete_deletes_none() {
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
async fn given_raw_requests_then_paths_may_be_relative_or_whole_and_an_empty_answer_is_an_empty_object()
 {
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
async fn given_a_raw_request_that_is_refused_then_the_error_is_salesforces() {
    let org = Org::new().await;
    org.api.fail(
        "GET",
        [Fault::Refused(400, "INVALID_FIELD", "No such column 'x'")],
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
