//! Every function and every call with an expired token, a busy API, and a transient error.

use crate::{
    calls::{Call, calls},
    rig::Org,
};
use sailor::testing::{Event, Verdict};
use salesforce_standin::Fault;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Every function with fields and a body that work.
fn every(org: &Org) -> Vec<(&'static str, Value, Value)> {
    let account = |search: &str, field: &str| json!({ "sobject": "Account", "typeOfSearch": search, "lookupField": field });
    let query = json!({ "query": "SELECT Id, Name FROM Account" });
    let csv = org.file("rows", "Name\nNew\n");
    let term = json!({ "fieldName": "Name", "condition": "=", "fieldValue": "Acme" });
    vec![
        (
            "getUpdatedObjectsPolling",
            json!({ "sobject": "Account" }),
            json!({}),
        ),
        (
            "queryTrigger",
            json!({ "query": query["query"], "outputMethod": "emitAll" }),
            json!({}),
        ),
        ("queryObjects", query.clone(), json!({})),
        ("newAccount", json!({}), json!({})),
        (
            "lookupObject",
            account("allFields", "Name"),
            json!({ "Name": "Acme" }),
        ),
        (
            "lookupObjects",
            json!({ "sobject": "Account", "outputMethod": "emitAll" }),
            json!({ "sTerm_1": term }),
        ),
        ("query", json!({ "allowResultAsSet": "on" }), query.clone()),
        (
            "rawRequest",
            json!({}),
            json!({ "method": "GET", "path": "limits" }),
        ),
        (
            "create",
            json!({ "sobject": "Account" }),
            json!({ "Name": "New" }),
        ),
        ("createAccount", json!({}), json!({ "Name": "New" })),
        (
            "upsert",
            account("allFields", "LegacyId__c"),
            json!({ "LegacyId__c": "7", "Name": "New" }),
        ),
        (
            "bulk_cud",
            json!({ "operation": "insert", "sobject": "Account" }),
            json!({ "attachmentUrl": csv }),
        ),
        ("bulk_q", json!({}), query),
        (
            "delete",
            account("uniqueFields", "ErpId__c"),
            json!({ "ErpId__c": "42" }),
        ),
    ]
}

async fn org() -> Org {
    let org = Org::new().await;
    org.api
        .insert("Account", json!({ "Name": "Acme", "ErpId__c": "42" }));
    org.api.pass(1);
    org
}

#[test]
fn the_tables_cover_every_function_and_call() {
    let descriptor: Value = serde_json::from_str(include_str!("../../component.json")).unwrap();
    let functions =
        ["triggers", "actions"].map(|kind| descriptor[kind].as_object().unwrap().clone());
    let functions: Vec<(String, Value)> = functions.into_iter().flatten().collect();
    let of_functions = |is_it: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
        functions
            .iter()
            .filter(|(_, function)| is_it(function))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let table = runtime.block_on(async { every(&Org::new().await) });
    assert_eq!(
        table
            .iter()
            .map(|(name, ..)| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        of_functions(&|_| true)
    );

    let asked: Vec<Call> = calls().into_iter().map(|(call, _)| call).collect();
    let described = asked.iter().filter_map(|call| match call {
        Call::Metadata(function) => Some((*function).to_owned()),
        _ => None,
    });
    assert_eq!(
        described.collect::<BTreeSet<_>>(),
        of_functions(&|function| function["dynamicMetadata"] == true)
    );
    let models = functions
        .iter()
        .filter_map(|(_, function)| function["fields"].as_object());
    let models = models
        .flat_map(|fields| fields.values())
        .filter_map(|field| field["model"].as_str());
    let tested = asked.iter().filter_map(|call| match call {
        Call::Model(_, model) => Some(*model),
        _ => None,
    });
    assert_eq!(
        tested.collect::<BTreeSet<_>>(),
        models.collect::<BTreeSet<_>>()
    );
}

#[tokio::test]
async fn each_function_refreshes_an_expired_token_once() {
    let org = org().await;
    for (refreshes, (function, fields, body)) in every(&org).into_iter().enumerate() {
        let calls = org.api.calls().len();
        let emitted = org
            .harness(function, fields, org.provider.issue_expired())
            .run(body)
            .await
            .unwrap();
        assert_eq!(
            emitted.verdict,
            Verdict::Acknowledged,
            "{function}: {emitted:?}"
        );
        let Event::UpdateKeys(keys) = &emitted.events[0] else {
            panic!("{function}: {emitted:?}")
        };
        assert!(keys["oauth"]["refresh_token"].is_string(), "{function}");
        assert_eq!(org.provider.refreshes(), refreshes + 1, "{function}");
        assert_eq!(emitted.data::<Value>().len(), 1, "{function}: {emitted:?}");
        let calls = &org.api.calls()[calls..];
        assert_eq!(
            (calls[0].status, calls[0].line()),
            (Some(401), calls[1].line()),
            "{function}"
        );
        assert!(
            calls[1..].iter().all(|call| call.status != Some(401)),
            "{function}: {calls:?}"
        );
    }
    // Created by create, createAccount, upsert and bulk_cud, once each; Acme is deleted at the end.
    assert_eq!(org.api.records("Account").len(), 4);
}

#[tokio::test]
async fn each_one_time_call_refreshes_an_expired_token_once() {
    let org = org().await;
    for (refreshes, (call, fields)) in calls().into_iter().enumerate() {
        let result = call
            .make(&org, fields.clone(), org.provider.issue_expired())
            .await;
        let result = result.unwrap_or_else(|error| panic!("{call:?}: {error:#}"));
        assert_eq!(org.provider.refreshes(), refreshes + 1, "{call:?}");
        assert_eq!(
            result,
            call.make(&org, fields, org.provider.issue()).await.unwrap(),
            "{call:?}"
        );
    }
}

#[tokio::test]
async fn a_short_429_is_waited_for() {
    let org = org().await;
    for (function, fields, body) in every(&org) {
        let before = org.api.calls().len();
        org.api.inject_faults(".*", [Fault::Throttled(0)]);
        org.data(function, fields, body).await;
        let calls = &org.api.calls()[before..];
        assert_eq!(
            (calls[0].status, calls[0].line()),
            (Some(429), calls[1].line()),
            "{function}"
        );
    }
    for (call, fields) in calls() {
        org.api.inject_faults(".*", [Fault::Throttled(0)]);
        let result = call.make(&org, fields, org.provider.issue()).await;
        result.unwrap_or_else(|error| panic!("{call:?}: {error:#}"));
    }
}

#[tokio::test]
async fn a_long_429_rebounds_each_function_without_effects() {
    let org = org().await;
    for (function, fields, body) in every(&org) {
        org.api
            .inject_faults(".*", [const { Fault::Throttled(0) }; 4]);
        let emitted = org.run(function, fields, body).await;
        let is_rebound =
            matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains("429"));
        assert!(is_rebound, "{function}: {emitted:?}");
    }
    assert_eq!(org.api.records("Account").len(), 1);
}

#[tokio::test]
async fn a_long_429_fails_each_one_time_call() {
    let org = org().await;
    for (call, fields) in calls() {
        org.api
            .inject_faults(".*", [const { Fault::Throttled(0) }; 4]);
        let error = call
            .make(&org, fields, org.provider.issue())
            .await
            .expect_err(&format!("{call:?}"));
        assert!(format!("{error:#}").contains("429"), "{call:?}: {error:#}");
    }
}

#[tokio::test]
async fn a_reached_limit_or_locked_record_rebounds_each_function() {
    let org = org().await;
    for (status, code) in [(403, "REQUEST_LIMIT_EXCEEDED"), (400, "UNABLE_TO_LOCK_ROW")] {
        for (function, fields, body) in every(&org) {
            org.api
                .inject_faults(".*", [Fault::Error(status, code, "not now")]);
            let emitted = org.run(function, fields, body).await;
            let is_rebound =
                matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains(code));
            assert!(is_rebound, "{function}, {code}: {emitted:?}");
        }
    }
    assert_eq!(org.api.records("Account").len(), 1);
}

#[tokio::test]
async fn an_outage_retries_queries_and_rebounds_changes() {
    let org = org().await;
    let outage = || [Fault::Error(503, "SERVER_UNAVAILABLE", "down")];
    org.api.inject_faults("GET", outage());
    assert_eq!(
        org.data(
            "query",
            json!({}),
            json!({ "query": "SELECT Id FROM Account" })
        )
        .await
        .len(),
        1
    );
    org.api.inject_faults("POST", outage());
    let emitted = org
        .run(
            "create",
            json!({ "sobject": "Account" }),
            json!({ "Name": "New" }),
        )
        .await;
    let is_rebound = matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains("SERVER_UNAVAILABLE"));
    assert!(is_rebound, "{emitted:?}");
    assert_eq!(org.api.calls_matching("POST").len(), 1);
}

#[tokio::test]
async fn a_reached_limit_fails_each_one_time_call() {
    let org = org().await;
    for (call, fields) in calls() {
        org.api.inject_faults(
            ".*",
            [Fault::Error(
                403,
                "REQUEST_LIMIT_EXCEEDED",
                "TotalRequests Limit exceeded.",
            )],
        );
        let error = call
            .make(&org, fields, org.provider.issue())
            .await
            .expect_err(&format!("{call:?}"));
        assert!(
            format!("{error:#}").contains("TotalRequests Limit exceeded"),
            "{call:?}: {error:#}"
        );
    }
}

#[test]
fn the_metadata_matches_the_types() {
    let component = salesforce::component().unwrap();
    let differences = component.schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(
        differences, [""; 0],
        "mend with: cargo run -p salesforce -- schema --write"
    );
}

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
