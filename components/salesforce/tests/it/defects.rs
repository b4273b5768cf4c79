//! What the components before this one did, and this one must not do. Defects that show in a process alone stand in
//! `process`.

use crate::{calls::Call, rig::Org};
use futures_util::future::join_all;
use proptest::{prelude::*, test_runner::TestRunner};
use sailor::testing::{Event, Verdict};
use salesforce_standin::{Fault, Salesforce};
use serde_json::{Value, json};

const EXPIRED: Fault = Fault::Error(401, "INVALID_SESSION_ID", "Session expired or invalid");

fn by(field: &str) -> Value {
    json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": field })
}

#[tokio::test]
async fn a_refresh_keeps_the_refresh_token() {
    let org = Org::new().await;
    let tokens = org.provider.issue_expired();
    let harness = org.harness("rawRequest", json!({}), tokens.clone());
    let emitted = harness
        .run(json!({ "method": "GET", "path": "limits" }))
        .await
        .unwrap();
    let Event::UpdateKeys(keys) = &emitted.events[0] else {
        panic!("{emitted:?}")
    };
    assert_eq!(keys["oauth"]["refresh_token"], tokens["refresh_token"]);
    assert_ne!(keys["oauth"]["access_token"], tokens["access_token"]);
    // What is saved can be refreshed once more.
    org.provider.expire_access_tokens();
    let saved = keys["oauth"].as_object().unwrap().clone();
    let emitted = org
        .harness("newAccount", json!({}), saved)
        .run(json!({}))
        .await
        .unwrap();
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    assert_eq!(org.provider.refreshes(), 2);
}

#[tokio::test]
async fn after_a_refresh_requests_go_to_the_new_instance_url() {
    let org = Org::new().await;
    let tokens = org.provider.issue_expired();
    let moved = Salesforce::start(&org.provider).await.unwrap();
    let id = moved.insert("Account", json!({ "Name": "Acme" }));
    // An address of the old instance is one of the new instance now.
    for path in [
        "sobjects/Account/{id}",
        "{old}/services/data/v60.0/sobjects/Account/{id}",
    ] {
        let before = (org.api.calls().len(), moved.calls().len());
        let path = path.replace("{id}", &id).replace("{old}", &org.api.url());
        let harness = org.harness("rawRequest", json!({}), tokens.clone());
        let emitted = harness
            .run(json!({ "method": "GET", "path": path }))
            .await
            .unwrap();
        assert_eq!(emitted.data::<Value>()[0]["Name"], "Acme", "{emitted:?}");
        let calls = (&org.api.calls()[before.0..], &moved.calls()[before.1..]);
        assert_eq!(
            (
                calls.0.len(),
                calls.0[0].status,
                calls.1.len(),
                calls.1[0].status
            ),
            (1, Some(401), 1, Some(200))
        );
        let Event::UpdateKeys(keys) = &emitted.events[0] else {
            panic!("{emitted:?}")
        };
        assert_eq!(keys["oauth"]["instance_url"], moved.url());
    }
}

#[tokio::test]
async fn an_instance_url_that_is_no_safe_address_is_not_followed() {
    let org = Org::new().await;
    for wrong in [
        json!("http://salesforce.example"),
        json!("ftp://127.0.0.1/"),
        json!("nowhere"),
        json!(5),
        Value::Null,
    ] {
        let mut tokens = org.provider.issue();
        tokens.insert("instance_url".into(), wrong.clone());
        let emitted = org
            .harness("newAccount", json!({}), tokens)
            .run(json!({}))
            .await
            .unwrap();
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{wrong}: {emitted:?}")
        };
        assert!(
            text.contains("instance_url") && text.contains("connect"),
            "{wrong}: {text}"
        );
    }
    assert!(org.api.calls().is_empty());
}

#[tokio::test]
async fn a_204_is_a_success() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Old" }));
    let changed = org
        .data("upsert", by("Id"), json!({ "Id": id, "Name": "New" }))
        .await;
    assert_eq!(changed[0]["success"], true);
    let raw = json!({ "method": "PATCH", "path": format!("sobjects/Account/{id}"), "body": { "Name": "Newer" } });
    assert_eq!(org.data("rawRequest", json!({}), raw).await, [json!({})]);
    assert_eq!(
        org.data("delete", by("Id"), json!({ "Id": id })).await[0]["response"]["success"],
        true
    );
    let statuses: Vec<Option<u16>> = org.api.calls().iter().map(|call| call.status).collect();
    assert_eq!(statuses, [Some(204); 3]);
}

#[tokio::test]
async fn credentials_that_are_not_there_do_not_end_in_a_panic() {
    let org = Org::new().await;
    for tokens in [
        json!({ "oauth": null }),
        json!({ "oauth": {} }),
        json!({ "oauth": "x" }),
        json!({ "oauth": { "access_token": "" } }),
    ] {
        let emitted = org.run("newAccount", tokens.clone(), json!({})).await;
        let [Event::Error(text)] = &emitted.events[..] else {
            panic!("{tokens}: {emitted:?}")
        };
        assert!(text.contains("connect"), "{tokens}: {text}");
    }
    assert!(org.api.calls().is_empty());
}

#[tokio::test]
async fn create_account_does_not_keep_the_new_id_to_itself() {
    let org = Org::new().await;
    let created = org
        .data("createAccount", json!({}), json!({ "Name": "Acme" }))
        .await;
    assert_eq!(created[0]["id"], org.api.records("Account")[0]["Id"]);
}

#[tokio::test]
async fn a_second_401_costs_no_further_refresh() {
    let org = Org::new().await;
    for function in ["rawRequest", "create", "newAccount"] {
        let (calls, refreshes) = (org.api.calls().len(), org.provider.refreshes());
        org.api.inject_faults(".*", [EXPIRED; 2]);
        let fields = json!({ "sobject": "Account" });
        let error = org
            .error(
                function,
                fields,
                json!({ "method": "GET", "path": "limits", "Name": "x" }),
            )
            .await;
        assert!(error.contains("401"), "{function}: {error}");
        assert_eq!(
            (
                org.api.calls().len() - calls,
                org.provider.refreshes() - refreshes
            ),
            (2, 1),
            "{function}"
        );
    }
    assert!(org.api.records("Account").is_empty());
}

#[tokio::test]
async fn a_refused_refresh_is_not_repeated() {
    let org = Org::new().await;
    let tokens = org.provider.issue_expired();
    org.provider
        .script_token((0..10).map(|_| Fault::oauth_error("invalid_client")));
    let emitted = org
        .harness("newAccount", json!({}), tokens)
        .run(json!({}))
        .await
        .unwrap();
    let [Event::Error(text)] = &emitted.events[..] else {
        panic!("{emitted:?}")
    };
    assert!(text.contains("invalid_client"), "{text}");
    assert_eq!((org.provider.refreshes(), org.api.calls().len()), (1, 1));
}

/// Every way that a value takes into a query.
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

#[tokio::test]
async fn a_raw_request_refreshes_an_expired_token() {
    let org = Org::new().await;
    let raw = json!({ "method": "POST", "path": "sobjects/Account", "body": { "Name": "Acme" } });
    let emitted = org
        .harness("rawRequest", json!({}), org.provider.issue_expired())
        .run(raw)
        .await
        .unwrap();
    assert_eq!(emitted.verdict, Verdict::Acknowledged, "{emitted:?}");
    assert_eq!(
        (org.provider.refreshes(), org.api.records("Account").len()),
        (1, 1)
    );
}

#[tokio::test]
async fn delete_does_not_take_an_error_for_nothing_to_delete() {
    let org = Org::new().await;
    let id = org.api.insert("Account", json!({ "Name": "Acme" }));
    for (status, code) in [
        (400, "DELETE_FAILED"),
        (400, "MALFORMED_ID"),
        (403, "INSUFFICIENT_ACCESS_OR_READONLY"),
        (404, "ENTITY_IS_LOCKED"),
        (500, "UNKNOWN_EXCEPTION"),
    ] {
        // A server's error is asked again some times.
        let times = if status == 500 { 4 } else { 1 };
        org.api
            .inject_faults("DELETE", vec![Fault::Error(status, code, "no"); times]);
        let emitted = org.run("delete", by("Id"), json!({ "Id": id })).await;
        let told = match &emitted.events[..] {
            [Event::Error(text)] => text.contains(code),
            [Event::Rebound(reason)] => status == 500 && reason.contains("500"),
            _ => false,
        };
        assert!(told, "{code}: {emitted:?}");
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
async fn what_one_object_is_like_is_not_kept_for_another() {
    let org = Org::new().await;
    org.api.insert("Account", json!({ "Name": "Acme" }));
    org.api.insert("Contact", json!({ "LastName": "Ada" }));
    let find = |object: &'static str, field: &'static str, value: &'static str| {
        org.run(
            "lookupObject",
            json!({ "sobject": object, "lookupField": field }),
            json!({ field: value }),
        )
    };
    for _ in 0..2 {
        let (account, contact) = tokio::join!(
            find("Account", "Name", "Acme"),
            find("Contact", "LastName", "Ada")
        );
        assert_eq!(account.data::<Value>()[0]["Name"], "Acme");
        assert_eq!(contact.data::<Value>()[0]["LastName"], "Ada");
        for (object, own) in [("Account", "Name"), ("Contact", "LastName")] {
            let call = Call::Metadata("create");
            let metadata = call
                .make(&org, json!({ "sobject": object }), org.provider.issue())
                .await
                .unwrap();
            assert_eq!(
                metadata["in"]["properties"][own]["required"], true,
                "{object}"
            );
        }
    }
    assert_eq!(org.api.calls_matching("describe").len(), 8);
}

#[tokio::test]
async fn one_credentials_tokens_are_not_used_for_another() {
    let mut orgs = join_all((0..3).map(|_| Org::new())).await;
    for (n, org) in orgs.iter().enumerate() {
        org.api
            .insert("Account", json!({ "Name": format!("of {n}") }));
    }
    // One component works for all of them, as one process does for several steps.
    let component = orgs[0].component.clone();
    orgs.iter_mut()
        .for_each(|org| org.component = component.clone());
    for expired in [true, false] {
        let runs = orgs.iter().map(|org| {
            let tokens = if expired {
                org.provider.issue_expired()
            } else {
                org.provider.issue()
            };
            org.harness("newAccount", json!({}), tokens).run(json!({}))
        });
        for (n, emitted) in join_all(runs).await.into_iter().enumerate() {
            let emitted = emitted.unwrap();
            assert_eq!(
                emitted.data::<Value>()[0]["records"][0]["Name"],
                format!("of {n}"),
                "{emitted:?}"
            );
        }
    }
    for org in &orgs {
        let statuses: Vec<Option<u16>> = org.api.calls().iter().map(|call| call.status).collect();
        assert_eq!(statuses, [Some(401), Some(200), Some(200)]);
        assert_eq!(org.provider.refreshes(), 1);
    }
}

#[tokio::test]
async fn what_creates_is_not_sent_a_second_time_after_an_error() {
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
            ("upsert", by("ErpId__c"), new()),
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
