//! Objects with hundreds of fields, and other queries that are longer than an address can be.

use crate::rig::Org;
use sailor::testing::Event;
use salesforce_standin::Fault;
use serde_json::{Value, json};

/// Customers have 700 fields, whose names are twice as long as those of the stand-in.
const FIELDS: usize = 1200;
const LAST: &str = "Wide1200__c";

/// An account and a contact, both with all these fields.
async fn wide() -> (Org, String) {
    let org = Org::new().await;
    for object in ["Account", "Contact"] {
        org.api.widen(object, FIELDS);
    }
    let id = org
        .api
        .insert("Account", json!({ "Name": "Acme", LAST: "last" }));
    org.api.insert(
        "Contact",
        json!({ "LastName": "Ada", "AccountId": id, LAST: "of the contact" }),
    );
    org.api.pass(1);
    (org, id)
}

fn fields_of(record: &Value) -> usize {
    record.as_object().unwrap().len()
}

#[tokio::test]
async fn every_function_reads_a_wide_object() {
    let (org, id) = wide().await;
    let by_name = json!({ "sobject": "Account", "lookupField": "Name" });
    let each = json!({ "sobject": "Account", "outputMethod": "emitIndividually", "termNumber": 0 });
    for (function, fields, body) in [
        ("lookupObject", by_name, json!({ "Name": "Acme" })),
        ("lookupObjects", each, json!({})),
        (
            "getUpdatedObjectsPolling",
            json!({ "sobject": "Account" }),
            json!({}),
        ),
    ] {
        let found = org.data(function, fields, body).await;
        assert_eq!(found.len(), 1, "{function}");
        assert_eq!(
            (&found[0]["Id"], &found[0][LAST]),
            (&json!(id), &json!("last")),
            "{function}"
        );
        assert!(fields_of(&found[0]) > FIELDS, "{function}");
    }
    assert_eq!(org.api.calls_matching("POST .*/composite").len(), 3);
    assert!(org.api.calls_matching("GET .*/query").is_empty());
}

#[tokio::test]
async fn wide_linked_objects_are_read() {
    let (org, id) = wide().await;
    let of_account =
        json!({ "sobject": "Account", "lookupField": "Name", "linkedObjects": ["!Contacts"] });
    let found = org
        .data("lookupObject", of_account, json!({ "Name": "Acme" }))
        .await;
    assert_eq!(found[0]["Contacts"][0][LAST], "of the contact");
    let of_contact =
        json!({ "sobject": "Contact", "lookupField": "AccountId", "linkedObjects": ["Account"] });
    let found = org
        .data("lookupObject", of_contact, json!({ "AccountId": id }))
        .await;
    assert_eq!(found[0]["Account"][LAST], "last");
    assert!(!found[0].to_string().contains("attributes"), "{}", found[0]);
}

#[tokio::test]
async fn only_the_chosen_fields_and_the_id_are_read() {
    let (org, _) = wide().await;
    let chosen = json!(["Name", LAST]);
    for (function, fields, body) in [
        (
            "lookupObject",
            json!({ "sobject": "Account", "lookupField": "Name", "selectedFields": chosen }),
            json!({ "Name": "Acme" }),
        ),
        (
            "lookupObjects",
            json!({ "sobject": "Account", "outputMethod": "emitIndividually", "termNumber": 0,
                "selectedFields": format!("Name, {LAST}") }),
            json!({}),
        ),
    ] {
        let found = org.data(function, fields.clone(), body).await;
        let mut names: Vec<&String> = found[0].as_object().unwrap().keys().collect();
        names.sort_unstable();
        assert_eq!(names, ["Id", "Name", LAST], "{function}");
        let metadata = org
            .harness(function, fields, org.provider.issue())
            .metadata();
        let metadata = metadata.await.unwrap();
        let record = metadata["out"]["properties"].as_object().unwrap();
        assert_eq!(record.keys().collect::<Vec<_>>(), names, "{function}");
    }
    assert!(org.api.calls_matching("composite").is_empty());
}

#[tokio::test]
async fn a_file_is_passed_although_its_name_was_not_chosen() {
    let org = Org::new().await;
    let parent = org.api.insert("Account", json!({ "Name": "Acme" }));
    let file = json!({ "Name": "a.txt", "ParentId": parent, "ContentType": "text/plain", "Body": "aGVsbG8=" });
    org.api.insert("Attachment", file);
    let fields = json!({ "sobject": "Attachment", "lookupField": "Name", "passBinaryData": "on",
        "selectedFields": ["ParentId"] });
    let emitted = org
        .run("lookupObject", fields, json!({ "Name": "a.txt" }))
        .await;
    let [Event::Data(message)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert_eq!(
        message["attachments"]["a.txt"]["content-type"],
        "text/plain"
    );
}

#[tokio::test]
async fn long_queries_keep_their_options_and_pages() {
    let (org, id) = wide().await;
    for n in 0..5 {
        org.api.insert("Account", json!({ "Name": n.to_string() }));
    }
    let by_id =
        json!({ "sobject": "Account", "typeOfSearch": "uniqueFields", "lookupField": "Id" });
    org.data("delete", by_id, json!({ "Id": id })).await;
    org.api.set_page_size(2);
    let fields: Vec<String> = (1..=FIELDS).map(|n| format!("Wide{n}__c")).collect();
    let query = format!("SELECT Id, {} FROM Account", fields.join(", "));
    for (include_deleted, count) in [("", 5), ("on", 6)] {
        let before = org.api.calls_matching("/query/01g").len();
        let options = json!({ "includeDeleted": include_deleted, "batchSize": "200" });
        let found = org.data("query", options, json!({ "query": query })).await;
        assert_eq!(found.len(), count, "{include_deleted:?}");
        assert_eq!(org.api.calls_matching("/query/01g").len() - before, 2);
        let sent = org.api.calls_matching("POST .*/composite").pop().unwrap();
        let headers = &sent.content()["compositeRequest"][0]["httpHeaders"];
        assert_eq!(headers["Sforce-Query-Options"], "batchSize=200");
    }
    let trigger = json!({ "query": query, "outputMethod": "emitAll" });
    let found = org.data("queryTrigger", trigger, json!({})).await;
    assert_eq!(found[0]["records"].as_array().unwrap().len(), 5);
}

#[tokio::test]
async fn a_long_query_is_refused_and_refreshed_like_others() {
    let (org, _) = wide().await;
    let query = format!("SELECT {}Nope FROM Account", "Id, ".repeat(3000));
    let error = org
        .error("query", json!({}), json!({ "query": query }))
        .await;
    assert!(
        error.contains("INVALID_FIELD") && error.contains("Nope") && error.contains("/query (400)"),
        "{error}"
    );
    let fields = json!({ "sobject": "Account" });
    let emitted = org
        .harness(
            "getUpdatedObjectsPolling",
            fields.clone(),
            org.provider.issue_expired(),
        )
        .run(json!({}))
        .await
        .unwrap();
    assert_eq!(emitted.data::<Value>().len(), 1, "{emitted:?}");
    for busy in [
        json!([{ "errorCode": "SERVER_UNAVAILABLE", "message": "busy" }]),
        json!([{ "errorCode": "UNABLE_TO_LOCK_ROW", "message": "locked" }]),
    ] {
        let part = json!({ "body": busy, "httpHeaders": {}, "httpStatusCode": 503, "referenceId": "query" });
        let response = Fault::Json(200, json!({ "compositeResponse": [part] }));
        org.api.inject_faults("POST .*/composite", [response]);
        let emitted = org
            .run("getUpdatedObjectsPolling", fields.clone(), json!({}))
            .await;
        assert!(
            matches!(&emitted.events[..], [Event::Rebound(_)]),
            "{emitted:?}"
        );
    }
}

#[tokio::test]
async fn a_long_list_to_search_for_is_read() {
    let (org, _) = wide().await;
    let mut names: Vec<String> = (0..2000).map(|n| format!("name {n}")).collect();
    names.push("Acme".to_owned());
    let term =
        json!({ "sTerm_1": { "fieldName": "Name", "condition": "IN", "fieldValue": names } });
    let fields = json!({ "sobject": "Account", "outputMethod": "emitIndividually" });
    let found = org.data("lookupObjects", fields, term).await;
    assert_eq!((found.len(), &found[0]["Name"]), (1, &json!("Acme")));
}
