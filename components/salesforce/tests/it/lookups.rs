//! The lookups: for one record, and for many by search terms.

use crate::rig::Org;
use sailor::testing::Event;
use serde_json::{Value, json};

fn by(field: &str, more: Value) -> Value {
    let mut fields =
        json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": field });
    fields
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    fields
}

/// The UI sends empty texts if nothing was chosen.
#[tokio::test]
async fn empty_fields_use_the_defaults() {
    let org = Org::new().await;
    let id = org
        .api
        .insert("Account", json!({ "Name": "Acme", "ErpId__c": "erp-1" }));
    let empty = json!({ "typeOfSearch": "", "linkedObjects": "", "allowZeroResults": "", "passBinaryData": "" });
    let found = org
        .data("lookupObject", by("Name", empty), json!({ "Name": "Acme" }))
        .await;
    assert_eq!(found[0]["Id"], json!(id));
    let fields = json!({ "sobject": "Account", "outputMethod": "", "termNumber": "0", "includeDeleted": "", "maxFetch": "" });
    let found = org.data("lookupObjects", fields, json!({})).await;
    assert_eq!(found[0]["results"][0]["Id"], json!(id));
    let fields = json!({ "sobject": "Account", "typeOfSearch": "", "lookupField": "ErpId__c", "utilizeAttachment": "" });
    let changed = org
        .data(
            "upsert",
            fields,
            json!({ "ErpId__c": "erp-1", "Name": "Acme 2" }),
        )
        .await;
    assert_eq!(changed[0]["id"], json!(id));
    let fields = json!({ "query": "SELECT Id FROM Account", "outputMethod": "", "dontEmitOnEmptyResults": "" });
    assert_eq!(org.data("queryTrigger", fields, json!({})).await.len(), 1);
    let fields = json!({
        "sobject": "Account", "emitBehavior": "", "startTime": "", "endTime": "", "pageSize": "", "selectedFields": "",
        "linkedObjects": "", "singlePagePerInterval": "",
    });
    org.api.pass(2);
    assert_eq!(
        org.data("getUpdatedObjectsPolling", fields, json!({}))
            .await
            .len(),
        1
    );
    let gone = org
        .data(
            "delete",
            by("Name", json!({ "typeOfSearch": "" })),
            json!({ "Name": "Acme 2" }),
        )
        .await;
    assert_eq!(gone[0]["response"]["id"], json!(id));
}

#[tokio::test]
async fn lookup_object_emits_all_fields_without_attributes() {
    let org = Org::new().await;
    let id = org
        .api
        .insert("Account", json!({ "Name": "Acme", "AnnualRevenue": 1.5 }));
    org.api.insert("Account", json!({ "Name": "Other" }));
    for (field, value) in [
        ("Name", json!("Acme")),
        ("AnnualRevenue", json!("1.5")),
        ("Id", json!(id)),
    ] {
        let found = org
            .data(
                "lookupObject",
                by(field, json!({})),
                json!({ field: value }),
            )
            .await;
        assert_eq!(
            (&found[0]["Id"], &found[0]["Name"]),
            (&json!(id), &json!("Acme")),
            "{field}"
        );
        assert_eq!((found.len(), found[0].get("attributes")), (1, None));
    }
}

#[tokio::test]
async fn linked_objects_are_emitted_as_plain_values() {
    let org = Org::new().await;
    let parent = org.api.insert("Account", json!({ "Name": "Holding" }));
    let id = org
        .api
        .insert("Account", json!({ "Name": "Acme", "Owner__c": parent }));
    for name in ["Ada", "Grace"] {
        org.api
            .insert("Contact", json!({ "LastName": name, "AccountId": id }));
    }
    let links = json!({ "linkedObjects": ["Owner__r", "!Contacts"] });
    let found = org
        .data(
            "lookupObject",
            by("Name", links.clone()),
            json!({ "Name": "Acme" }),
        )
        .await;
    assert_eq!(found[0]["Owner__r"]["Name"], "Holding");
    let names: Vec<&Value> = found[0]["Contacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["LastName"])
        .collect();
    assert_eq!(names, ["Ada", "Grace"]);
    assert!(!found[0].to_string().contains("attributes"), "{}", found[0]);
    let alone = org
        .data(
            "lookupObject",
            by("Name", links),
            json!({ "Name": "Holding" }),
        )
        .await;
    assert_eq!(
        (&alone[0]["Owner__r"], &alone[0]["Contacts"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn a_polymorphic_parent_has_its_common_fields() {
    let org = Org::new().await;
    let parent = org.api.insert("Account", json!({ "Name": "Acme" }));
    org.api.insert(
        "Attachment",
        json!({ "Name": "a.txt", "ParentId": parent, "Body": "QQ==" }),
    );
    let fields =
        json!({ "sobject": "Attachment", "lookupField": "Name", "linkedObjects": "Parent" });
    let found = org
        .data("lookupObject", fields, json!({ "Name": "a.txt" }))
        .await;
    assert_eq!(found[0]["Parent"], json!({ "Id": parent, "Name": "Acme" }));
}

#[tokio::test]
async fn a_records_file_goes_to_object_storage() {
    let org = Org::new().await;
    let parent = org.api.insert("Account", json!({ "Name": "Acme" }));
    let file = json!({ "Name": "a.txt", "ParentId": parent, "ContentType": "text/plain", "Body": "aGVsbG8=" });
    org.api.insert("Attachment", file);
    let fields = json!({ "sobject": "Attachment", "lookupField": "Name", "passBinaryData": "on" });
    let emitted = org
        .run("lookupObject", fields, json!({ "Name": "a.txt" }))
        .await;
    let [Event::Data(message)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert_eq!(message["body"].get("Body"), None);
    let attachment = &message["attachments"]["a.txt"];
    assert_eq!(
        (&attachment["content-type"], org.stored(attachment)),
        (&json!("text/plain"), "hello".to_owned())
    );
}

#[tokio::test]
async fn an_empty_result_is_emitted_only_when_allowed() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "Acme" }));
    for (allowed, body, expected) in [
        (
            "allowCriteriaToBeOmitted",
            json!({ "Name": "" }),
            "no value for `Name`",
        ),
        (
            "allowZeroResults",
            json!({ "Name": "Nobody" }),
            "no Account has this value in Name",
        ),
    ] {
        assert_eq!(
            org.data(
                "lookupObject",
                by("Name", json!({ allowed: "on" })),
                body.clone()
            )
            .await,
            [json!({})]
        );
        let error = org.error("lookupObject", by("Name", json!({})), body).await;
        assert!(error.contains(expected), "{error}");
    }
    org.api.insert("Account", json!({ "Name": "Acme" }));
    let both = json!({ "allowCriteriaToBeOmitted": "on", "allowZeroResults": "on" });
    let error = org
        .error("lookupObject", by("Name", both), json!({ "Name": "Acme" }))
        .await;
    assert!(error.contains("more than one Account"), "{error}");
}

async fn companies() -> Org {
    let org = Org::new().await;
    for (name, employees, tags, founded) in [
        ("Acme", json!(10), "red;green", "2001-02-03"),
        ("Bolt", json!(200), "blue", "2010-01-01"),
        ("Cog's", json!(3000), "red;blue", "2020-12-31"),
        ("Drum", Value::Null, "green", "2024-05-05"),
    ] {
        let employees = json!({ "Name": name, "NumberOfEmployees": employees, "Tags__c": tags, "Founded__c": founded });
        org.api.insert("Account", employees);
    }
    org
}

async fn names(org: &Org, fields: Value, body: Value) -> Vec<String> {
    let mut all = json!({ "sobject": "Account", "outputMethod": "emitAll" });
    all.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    let found = org.data("lookupObjects", all, body).await.remove(0);
    let results = found["results"].as_array().unwrap();
    results
        .iter()
        .map(|record| record["Name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn every_search_condition_finds_its_records() {
    let org = companies().await;
    for (field, condition, value, found) in [
        ("Name", "=", json!("Cog's"), &["Cog's"][..]),
        ("Name", "!=", json!("Acme"), &["Bolt", "Cog's", "Drum"]),
        ("NumberOfEmployees", "<", json!("200"), &["Acme"]),
        ("NumberOfEmployees", "<=", json!(200), &["Acme", "Bolt"]),
        ("NumberOfEmployees", ">", json!(200), &["Cog's"]),
        ("Employees", ">=", json!("200"), &["Bolt", "Cog's"]),
        ("Founded__c", ">", json!("2010-01-01"), &["Cog's", "Drum"]),
        ("Name", "LIKE", json!("%o%"), &["Bolt", "Cog's"]),
        ("name", "in", json!("Acme, Cog's"), &["Acme", "Cog's"]),
        ("Name", "IN", json!(["Acme", "Drum"]), &["Acme", "Drum"]),
        (
            "Name",
            "NOT IN",
            json!(["Acme", "Cog's"]),
            &["Bolt", "Drum"],
        ),
        ("Tags__c", "INCLUDES", json!("red"), &["Acme", "Cog's"]),
        ("Tags__c", "EXCLUDES", json!(["red", "blue"]), &["Drum"]),
        ("NumberOfEmployees", "=", Value::Null, &["Drum"]),
    ] {
        let term = json!({ "fieldName": field, "condition": condition, "fieldValue": value });
        assert_eq!(
            names(&org, json!({}), json!({ "sTerm_1": term })).await,
            found,
            "{field} {condition} {value}"
        );
    }
}

#[tokio::test]
async fn and_binds_stronger_than_or_and_no_terms_match_all() {
    let org = companies().await;
    let is = |name: &str| json!({ "fieldName": "Name", "condition": "=", "fieldValue": name });
    let large = json!({ "fieldName": "NumberOfEmployees", "condition": ">", "fieldValue": 100 });
    let body = json!({
        "sTerm_1": is("Acme"), "link_1_2": "OR", "sTerm_2": is("Bolt"), "link_2_3": "and", "sTerm_3": large,
    });
    assert_eq!(
        names(&org, json!({ "termNumber": "3" }), body.clone()).await,
        ["Acme", "Bolt"]
    );
    assert_eq!(
        names(&org, json!({ "termNumber": 1 }), body).await,
        ["Acme"]
    );
    assert_eq!(
        names(&org, json!({ "termNumber": "0" }), json!({}))
            .await
            .len(),
        4
    );
}

#[tokio::test]
async fn lookup_objects_reads_pages_up_to_the_limit() {
    let org = companies().await;
    org.api.set_page_size(1);
    let none = json!({ "termNumber": "0" });
    assert_eq!(
        names(&org, none.clone(), json!({})).await,
        ["Acme", "Bolt", "Cog's", "Drum"]
    );
    assert_eq!(org.api.calls_matching("/query/01g").len(), 3);
    assert_eq!(
        names(&org, none.clone(), json!({ "limit": "2" })).await,
        ["Acme", "Bolt"]
    );
    assert_eq!(
        names(
            &org,
            json!({ "termNumber": "0", "maxFetch": "3" }),
            json!({})
        )
        .await
        .len(),
        3
    );
    let each =
        json!({ "sobject": "Account", "termNumber": "0", "outputMethod": "emitIndividually" });
    let records = org.data("lookupObjects", each, json!({ "limit": 3 })).await;
    assert_eq!(
        records
            .iter()
            .map(|record| &record["Name"])
            .collect::<Vec<_>>(),
        ["Acme", "Bolt", "Cog's"]
    );
}

#[tokio::test]
async fn a_page_beyond_the_largest_offset_is_emitted() {
    let org = Org::new().await;
    for n in 0..2010 {
        org.api.insert("Account", json!({ "Name": format!("{n}") }));
    }
    let page = json!({ "outputMethod": "emitPage", "termNumber": "0" });
    let first = names(&org, page.clone(), json!({ "pageSize": 5 })).await;
    assert_eq!(first, ["0", "1", "2", "3", "4"]);
    assert_eq!(
        names(
            &org,
            page.clone(),
            json!({ "pageSize": "5", "pageNumber": "1" })
        )
        .await[0],
        "5"
    );
    let last = names(
        &org,
        page.clone(),
        json!({ "pageSize": 5, "pageNumber": 401 }),
    )
    .await;
    assert_eq!(last, ["2005", "2006", "2007", "2008", "2009"]);
    assert!(
        names(&org, page, json!({ "pageSize": 5, "pageNumber": 402 }))
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn deleted_records_are_included_only_on_request() {
    let org = companies().await;
    let of_name =
        json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": "Name" });
    org.data("delete", of_name, json!({ "Name": "Acme" })).await;
    assert_eq!(
        names(&org, json!({ "termNumber": "0" }), json!({}))
            .await
            .len(),
        3
    );
    let all = json!({ "termNumber": "0", "includeDeleted": "on" });
    assert_eq!(names(&org, all, json!({})).await.len(), 4);
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
