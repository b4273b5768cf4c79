//! Users' queries, as an action and as triggers, and values in queries.

use crate::rig::Org;
use proptest::{prelude::*, test_runner::TestRunner};
use sailor::testing::Event;
use salesforce_standin::Fault;
use serde_json::{Value, json};

const QUERY: &str = "SELECT Id, Name FROM Account ORDER BY Id";

async fn of_three() -> Org {
    let org = Org::new().await;
    for name in ["One", "Two", "Three"] {
        org.api
            .insert("Account", json!({ "Name": name, "AnnualRevenue": 5 }));
    }
    org.api.set_page_size(2);
    org
}

fn names(records: &[Value]) -> Vec<&str> {
    records
        .iter()
        .map(|record| record["Name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn query_emits_each_record_or_all_as_one() {
    let org = of_three().await;
    let each = org
        .data("query", json!({}), json!({ "query": QUERY }))
        .await;
    assert_eq!(names(&each), ["One", "Two", "Three"]);
    assert_eq!(each[0].get("attributes"), None);
    let set = org
        .data(
            "query",
            json!({ "allowResultAsSet": "on" }),
            json!({ "query": QUERY }),
        )
        .await;
    assert_eq!(
        (set.len(), names(set[0]["result"].as_array().unwrap())),
        (1, vec!["One", "Two", "Three"])
    );
    assert_eq!(
        org.data(
            "query",
            json!({ "maxFetch": "2" }),
            json!({ "query": QUERY })
        )
        .await
        .len(),
        2
    );
    let none = json!({ "query": "SELECT Id FROM Contact" });
    assert!(org.data("query", json!({}), none.clone()).await.is_empty());
    assert_eq!(
        org.data("query", json!({ "allowResultAsSet": "on" }), none)
            .await,
        [json!({ "result": [] })]
    );
}

#[tokio::test]
async fn a_count_is_emitted_as_a_number() {
    let org = of_three().await;
    org.api.insert(
        "Account",
        json!({ "Name": "Four", "Industry": "Energy", "AnnualRevenue": 7 }),
    );
    for (query, expected) in [
        ("SELECT COUNT() FROM Account", json!({ "totalSize": 4 })),
        ("select count( ) from Contact", json!({ "totalSize": 0 })),
        ("SELECT COUNT(Id) FROM Account", json!({ "expr0": 4 })),
        (
            "SELECT COUNT(Id) n, MAX(AnnualRevenue) most FROM Account",
            json!({ "n": 4, "most": 7 }),
        ),
    ] {
        let found = org
            .data("query", json!({}), json!({ "query": query }))
            .await;
        assert_eq!(found, std::slice::from_ref(&expected), "{query}");
        let fields = json!({ "query": query });
        let found = org.data("queryTrigger", fields, json!({})).await;
        assert_eq!(found, std::slice::from_ref(&expected), "{query}");
        let set = json!({ "allowResultAsSet": "on" });
        let found = org.data("query", set, json!({ "query": query })).await;
        assert_eq!(found, [json!({ "result": [expected] })], "{query}");
        let all = json!({ "query": query, "outputMethod": "emitAll" });
        let found = org.data("queryTrigger", all, json!({})).await;
        assert_eq!(found, [json!({ "records": [expected] })], "{query}");
    }
    let fields = json!({ "query": "SELECT COUNT() FROM Account" });
    let found = org.data("queryObjects", fields, json!({})).await;
    assert_eq!(
        found,
        [json!({ "totalSize": 4, "done": true, "records": [] })]
    );
}

#[tokio::test]
async fn groups_are_emitted_as_records() {
    let org = of_three().await;
    org.api
        .insert("Account", json!({ "Name": "Four", "Industry": "Energy" }));
    let query = "SELECT Industry, COUNT(Id) n FROM Account GROUP BY Industry";
    let found = org
        .data("query", json!({}), json!({ "query": query }))
        .await;
    assert_eq!(
        found,
        [
            json!({ "Industry": null, "n": 3 }),
            json!({ "Industry": "Energy", "n": 1 })
        ]
    );
}

#[tokio::test]
async fn a_page_that_repeats_ends_the_query() {
    let page = |next: &str, names: &[&str]| {
        let records: Vec<Value> = names.iter().map(|name| json!({ "Name": name })).collect();
        let next = format!("/services/data/v60.0/query/{next}");
        let page =
            json!({ "totalSize": 3, "done": false, "records": records, "nextRecordsUrl": next });
        Fault::Json(200, page)
    };
    let org = Org::new().await;
    let query = json!({ "query": QUERY });
    // The last page names itself.
    org.api.inject_faults(
        "/query",
        [page("01gA", &["One", "Two"]), page("01gA", &["Three"])],
    );
    let found = org.data("query", json!({}), query.clone()).await;
    assert_eq!(names(&found), ["One", "Two", "Three"]);
    // A page names itself, and records are missing.
    org.api
        .inject_faults("/query", [page("01gA", &["One"]), page("01gA", &["Two"])]);
    let error = org.error("query", json!({}), query.clone()).await;
    assert!(error.contains("2 of 3 records"), "{error}");
    // Two pages name each other.
    org.api.inject_faults(
        "/query",
        [
            page("01gA", &["One"]),
            page("01gB", &[]),
            page("01gA", &["Two"]),
        ],
    );
    let error = org.error("query", json!({}), query).await;
    assert!(error.contains("2 of 3 records"), "{error}");
}

#[tokio::test]
async fn the_batch_size_is_limited_to_salesforces_range() {
    let org = Org::new().await;
    for n in 0..250 {
        org.api.insert("Account", json!({ "Name": format!("{n}") }));
    }
    for (size, pages) in [("200", 2), ("50", 2), ("9999", 1)] {
        let before = org.api.calls_matching("/query").len();
        let found = org
            .data(
                "query",
                json!({ "batchSize": size }),
                json!({ "query": QUERY }),
            )
            .await;
        assert_eq!(
            (found.len(), org.api.calls_matching("/query").len() - before),
            (250, pages),
            "{size}"
        );
    }
}

#[tokio::test]
async fn deleted_records_are_included_only_on_request() {
    let org = of_three().await;
    let id = org.api.records("Account")[0]["Id"].clone();
    let by_id =
        json!({ "sobject": "Account", "typeOfSearch": "uniqueFields", "lookupField": "Id" });
    org.data("delete", by_id, json!({ "Id": id })).await;
    assert_eq!(
        org.data("query", json!({}), json!({ "query": QUERY }))
            .await
            .len(),
        2
    );
    assert_eq!(
        org.data(
            "query",
            json!({ "includeDeleted": "on" }),
            json!({ "query": QUERY })
        )
        .await
        .len(),
        3
    );
}

#[tokio::test]
async fn a_rebound_between_pages_repeats_no_record() {
    let org = of_three().await;
    org.api
        .inject_faults("/query/01g", [const { Fault::Throttled(0) }; 4]);
    let emitted = org.run("query", json!({}), json!({ "query": QUERY })).await;
    assert!(
        matches!(&emitted.events[..], [Event::Rebound(_)]),
        "{emitted:?}"
    );
    assert_eq!(
        org.data("query", json!({}), json!({ "query": QUERY }))
            .await
            .len(),
        3
    );
}

#[tokio::test]
async fn a_refresh_between_pages_loses_and_repeats_nothing() {
    for (function, fields) in [
        ("query", json!({})),
        ("queryTrigger", json!({ "query": QUERY })),
    ] {
        let org = of_three().await;
        org.api.inject_faults(
            "/query/01g",
            [Fault::Error(
                401,
                "INVALID_SESSION_ID",
                "Session expired or invalid",
            )],
        );
        let records = org.data(function, fields, json!({ "query": QUERY })).await;
        assert_eq!(
            (names(&records), org.provider.refreshes()),
            (vec!["One", "Two", "Three"], 1),
            "{function}"
        );
    }
}

#[tokio::test]
async fn a_failed_page_fails_the_query() {
    let org = of_three().await;
    org.api.inject_faults(
        "/query/01g",
        [Fault::Error(
            400,
            "INVALID_QUERY_LOCATOR",
            "invalid query locator",
        )],
    );
    let emitted = org.run("query", json!({}), json!({ "query": QUERY })).await;
    let is_error = matches!(&emitted.events[..], [Event::Error(text)] if text.contains("INVALID_QUERY_LOCATOR"));
    assert!(is_error, "{emitted:?}");
}

#[tokio::test]
async fn query_trigger_emits_records_or_an_empty_object() {
    let org = of_three().await;
    let of = |query: &str, more: Value| {
        let mut fields = json!({ "query": query });
        fields
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        fields
    };
    assert_eq!(
        names(
            &org.data("queryTrigger", of(QUERY, json!({})), json!({}))
                .await
        ),
        ["One", "Two", "Three"]
    );
    let all = org
        .data(
            "queryTrigger",
            of(QUERY, json!({ "outputMethod": "emitAll" })),
            json!({}),
        )
        .await;
    assert_eq!(
        (
            all.len(),
            names(all[0]["records"].as_array().unwrap()).len()
        ),
        (1, 3)
    );
    let none = "SELECT Id FROM Contact";
    assert_eq!(
        org.data("queryTrigger", of(none, json!({})), json!({}))
            .await,
        [json!({})]
    );
    let all = json!({ "outputMethod": "emitAll" });
    assert_eq!(
        org.data("queryTrigger", of(none, all), json!({})).await,
        [json!({ "records": [] })]
    );
    for method in ["emitIndividually", "emitAll"] {
        let quiet = json!({ "outputMethod": method, "dontEmitOnEmptyResults": "on" });
        assert!(
            org.data("queryTrigger", of(none, quiet), json!({}))
                .await
                .is_empty(),
            "{method}"
        );
    }
}

#[tokio::test]
async fn query_objects_emits_all_pages_as_one_message() {
    let org = of_three().await;
    let found = org
        .data("queryObjects", json!({ "query": QUERY }), json!({}))
        .await;
    assert_eq!(
        (found.len(), &found[0]["totalSize"], &found[0]["done"]),
        (1, &json!(3), &json!(true))
    );
    assert_eq!(
        names(found[0]["records"].as_array().unwrap()),
        ["One", "Two", "Three"]
    );
}

#[tokio::test]
async fn new_account_emits_id_name_and_revenue() {
    let org = of_three().await;
    let found = org.data("newAccount", json!({}), json!({})).await;
    let records = found[0]["records"].as_array().unwrap();
    assert_eq!(
        (found.len(), names(records)),
        (1, vec!["One", "Two", "Three"])
    );
    assert_eq!(records[0]["AnnualRevenue"], 5);
    assert!(records[0]["Id"].is_string());
}

fn by(field: &str) -> Value {
    json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": field })
}

/// The results of every function that puts a value into a query.
async fn reached(org: &Org, value: &str) -> Vec<(&'static str, Vec<Value>)> {
    let term = |condition: &str, value: Value| json!({ "sTerm_1": { "fieldName": "Name", "condition": condition, "fieldValue": value } });
    let all = json!({ "sobject": "Account", "outputMethod": "emitIndividually" });
    let zero = json!({ "sobject": "Account", "lookupField": "Name", "allowZeroResults": "on" });
    vec![
        (
            "lookupObject",
            org.data("lookupObject", zero, json!({ "Name": value }))
                .await,
        ),
        (
            "=",
            org.data("lookupObjects", all.clone(), term("=", json!(value)))
                .await,
        ),
        (
            "IN",
            org.data("lookupObjects", all.clone(), term("IN", json!([value])))
                .await,
        ),
        (
            "upsert",
            org.data(
                "upsert",
                by("Name"),
                json!({ "Name": value, "Website": "found" }),
            )
            .await,
        ),
    ]
}

#[test]
fn a_value_cannot_change_the_query() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let org = runtime.block_on(Org::new());
    let decoy = org.api.insert("Account", json!({ "Name": "decoy" }));
    let hostile = prop_oneof![
        r#"['"\\%_)( =a-z\n\t-]{1,14}"#,
        Just("x' OR Name != '".to_owned()),
        Just(r"\' OR Name != \'".to_owned()),
        Just("x') OR (Name LIKE '%".to_owned()),
        "[^\u{0}]{1,10}",
    ];
    let hostile = hostile.prop_filter("no value for a name", |value| {
        value.trim() == value
            && !value.is_empty()
            && !value.eq_ignore_ascii_case("decoy")
            && value.len() <= 255
    });
    let config = ProptestConfig {
        cases: 48,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let outcome = TestRunner::new(config).run(&hostile, |value| {
        runtime.block_on(async {
            let id = org.api.insert("Account", json!({ "Name": value }));
            for (way, found) in reached(&org, &value).await {
                prop_assert_eq!(found.len(), 1, "{} {:?}", way, &value);
                let found = found[0].get("Id").or(found[0].get("id"));
                prop_assert_eq!(found, Some(&json!(id)), "{} {:?}", way, &value);
            }
            org.data("delete", by("Name"), json!({ "Name": value }))
                .await;
            prop_assert_eq!(org.api.record("Account", &id), None);
            let left = org.api.record("Account", &decoy).unwrap();
            prop_assert_eq!(
                (&left["Name"], &left["Website"]),
                (&json!("decoy"), &Value::Null)
            );
            Ok(())
        })
    });
    outcome.unwrap();
}

#[tokio::test]
async fn a_snapshot_cannot_change_the_query() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "older" }));
    org.api.pass(1);
    let poll = |snapshot: Value| {
        let fields = json!({ "sobject": "Account" });
        org.harness("getUpdatedObjectsPolling", fields, org.provider.issue())
            .snapshot(snapshot)
            .run(json!({}))
    };
    let id = "x') OR (Name != '";
    let emitted =
        poll(json!({ "lastModificationTime": "2024-06-01T12:00:00.000Z", "lastSeenId": id }))
            .await
            .unwrap();
    assert!(emitted.events.is_empty(), "{emitted:?}");
    let emitted = poll(json!({ "lastModificationTime": "2024-06-01T12:00:00Z OR Name != null" }))
        .await
        .unwrap();
    assert!(
        matches!(&emitted.events[..], [Event::Error(text)] if text.contains("snapshot")),
        "{emitted:?}"
    );
}
