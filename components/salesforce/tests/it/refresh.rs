//! Refreshes of the token, and what the credentials must have.

use crate::rig::Org;
use futures_util::future::join_all;
use sailor::testing::{Event, Verdict};
use salesforce_standin::{Fault, Salesforce};
use serde_json::{Value, json};

const EXPIRED: Fault = Fault::Error(401, "INVALID_SESSION_ID", "Session expired or invalid");

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
    // The saved tokens can be refreshed again.
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
    // A URL of the old instance now leads to the new instance.
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
async fn an_unsafe_instance_url_is_not_used() {
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
async fn missing_credentials_ask_to_connect_the_account() {
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
    // Once more with the client's secret in the other place.
    assert_eq!((org.provider.refreshes(), org.api.calls().len()), (2, 1));
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
async fn two_credentials_in_one_process_are_not_mixed() {
    let mut orgs = join_all((0..3).map(|_| Org::new())).await;
    for (n, org) in orgs.iter().enumerate() {
        org.api
            .insert("Account", json!({ "Name": format!("of {n}") }));
    }
    // One component serves all of them, as one process can serve several steps.
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
