//! What holds for every function alike: an expired token, a busy API, trouble that passes.

use crate::rig::Org;
use emulator::standins::salesforce::Fault;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};

/// Every function with what it can work with: its fields, and a message's body.
fn every(org: &Org) -> Vec<(&'static str, Value, Value)> {
    let account =
        |search: &str, field: &str| json!({ "sobject": "Account", "typeOfSearch": search, "lookupField": field });
    let query = json!({ "query": "SELECT Id, Name FROM Account" });
    let csv = org.file("rows", "Name\nNew\n");
    let term = json!({ "fieldName": "Name", "condition": "=", "fieldValue": "Acme" });
    vec![
        ("getUpdatedObjectsPolling", json!({ "sobject": "Account" }), json!({})),
        ("queryTrigger", query.clone(), json!({})),
        ("queryObjects", query.clone(), json!({})),
        ("newAccount", json!({}), json!({})),
        ("create", json!({ "sobject": "Account" }), json!({ "Name": "New" })),
        ("createAccount", json!({}), json!({ "Name": "New" })),
        ("upsert", account("externalIds", "LegacyId__c"), json!({ "LegacyId__c": "7", "Name": "New" })),
        ("lookupObject", account("allFields", "Name"), json!({ "Name": "Acme" })),
        ("lookupObjects", json!({ "sobject": "Account", "outputMethod": "emitAll" }), json!({ "sTerm_1": term })),
        ("query", json!({}), query.clone()),
        ("rawRequest", json!({}), json!({ "method": "GET", "path": "limits" })),
        ("bulk_cud", json!({ "operation": "insert", "sobject": "Account" }), json!({ "attachmentUrl": csv })),
        ("bulk_q", json!({}), query),
        ("delete", account("uniqueFields", "ErpId__c"), json!({ "ErpId__c": "42" })),
    ]
}

async fn org() -> Org {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "Acme", "ErpId__c": "42" }));
    org.api.pass(1);
    org
}

#[tokio::test]
async fn given_the_table_then_no_function_is_missing_in_it() {
    let org = org().await;
    let mut names: Vec<&str> = every(&org).into_iter().map(|(name, ..)| name).collect();
    let descriptor = org.component.descriptor();
    let mut declared: Vec<&str> =
        descriptor.triggers.keys().chain(descriptor.actions.keys()).map(String::as_str).collect();
    (names.sort_unstable(), declared.sort_unstable());
    assert_eq!(names, declared);
}

#[tokio::test]
async fn given_an_expired_token_then_each_function_refreshes_once_saves_it_and_does_its_work_once() {
    let org = org().await;
    for (refreshes, (function, fields, body)) in every(&org).into_iter().enumerate() {
        let emitted = org.harness(function, fields, org.provider.issue_expired()).run(body).await.unwrap();
        assert_eq!(emitted.verdict, Verdict::Acknowledged, "{function}: {emitted:?}");
        let Event::UpdateKeys(keys) = &emitted.events[0] else { panic!("{function}: {emitted:?}") };
        assert!(keys["oauth"]["refresh_token"].is_string() && keys["prodEnv"] == "login", "{function}");
        assert_eq!(org.provider.refreshes(), refreshes + 1, "{function}");
        assert_eq!(emitted.data::<Value>().len(), 1, "{function}: {emitted:?}");
    }
    // Created by create, createAccount, upsert and bulk_cud, once each; Acme is deleted at last.
    assert_eq!(org.api.records("Account").len(), 4);
}

#[tokio::test]
async fn given_a_429_then_each_function_waits_and_goes_on() {
    let org = org().await;
    for (function, fields, body) in every(&org) {
        let before = org.api.calls().len();
        org.api.fail(".*", [Fault::Busy(0)]);
        org.data(function, fields, body).await;
        let calls = &org.api.calls()[before..];
        assert_eq!((calls[0].status, calls[0].line()), (Some(429), calls[1].line()), "{function}");
    }
}

#[tokio::test]
async fn given_a_429_for_longer_then_each_functions_message_comes_again_later() {
    let org = org().await;
    for (function, fields, body) in every(&org) {
        org.api.fail(".*", [const { Fault::Busy(0) }; 4]);
        let emitted = org.run(function, fields, body).await;
        assert!(
            matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains("429")),
            "{function}: {emitted:?}"
        );
    }
}

#[tokio::test]
async fn given_a_limit_of_the_day_or_a_locked_record_then_the_message_comes_again_later() {
    let org = org().await;
    for (status, code) in [(403, "REQUEST_LIMIT_EXCEEDED"), (400, "UNABLE_TO_LOCK_ROW")] {
        org.api.fail("POST", [Fault::Refused(status, code, "not now")]);
        let emitted = org.run("create", json!({ "sobject": "Account" }), json!({ "Name": "New" })).await;
        assert!(matches!(&emitted.events[..], [Event::Rebound(reason)] if reason.contains(code)), "{emitted:?}");
    }
}

#[test]
fn given_the_types_then_the_metadata_is_what_they_say() {
    let component = crate::component::component().unwrap();
    let differences = component.schema_differences(env!("CARGO_MANIFEST_DIR").as_ref());
    assert_eq!(differences, [""; 0], "mend with: cargo run -p salesforce -- schema --write");
}
