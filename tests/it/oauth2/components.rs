//! Salesforce: instances, and tokens without a known lifetime.

use super::rig::{Rig, text};
use emulator::provider::{Knobs, Provider};
use sailor::oauth2::OAuth2;
use serde_json::{Value, json};

/// A component with the Salesforce profile, against the emulator's preset.
async fn salesforce() -> Rig {
    let mut rig = Rig::stale(Knobs::preset("salesforce").unwrap()).await;
    rig.definition = OAuth2::new().profile("salesforce");
    rig
}

/// The same machine under another name, which counts as another host.
fn other_host(provider: &Provider) -> String {
    format!("localhost:{}", provider.addr().port())
}

/// token-failures: T47.
#[tokio::test]
async fn a_refresh_follows_a_new_instance_url() {
    let rig = salesforce().await;
    let (login, instance) = (rig.provider.addr().to_string(), other_host(&rig.provider));
    rig.provider.knobs(|knobs| {
        knobs.extra.insert(
            "instance_url".into(),
            format!("http://{instance}/api").into(),
        );
    });
    let replica = rig.replica();
    let query = [("q", "SELECT Id FROM Account WHERE Name = 'A+B & C'")];
    let send = || {
        replica
            .client()
            .post("/echo/services/data/v60.0/query")
            .query(&query)
            .json(&json!({ "a": 1 }))
            .send_json()
    };
    let response: Value = send().await.unwrap();
    let requests = rig.provider.api_calls();
    let hosts = requests
        .iter()
        .map(|call| call.headers["host"].to_str().unwrap())
        .collect::<Vec<_>>();
    assert_eq!(
        (rig.statuses(), hosts),
        (vec![401, 200], vec![login.as_str(), &instance])
    );
    assert_eq!(
        (&response["host"], &response["body"]),
        (&json!(instance), &json!(r#"{"a":1}"#))
    );
    assert_eq!(
        (&requests[0].path, &requests[0].query),
        (&requests[1].path, &requests[1].query)
    );
    assert_eq!(requests[1].path, "/api/echo/services/data/v60.0/query");
    let call = rig.provider.token_calls().remove(0);
    assert_eq!(
        (
            call.request.headers["host"].to_str().unwrap(),
            call.form["format"].as_str()
        ),
        (login.as_str(), "json")
    );

    // The next refresh goes to the login host as well, not to the instance.
    rig.provider.expire_access_tokens();
    let none: Value = replica
        .client()
        .delete("/items/1")
        .send_json()
        .await
        .unwrap();
    assert_eq!((none, rig.statuses().pop()), (Value::Null, Some(204)));
    assert_eq!(
        rig.provider.token_calls()[1].request.headers["host"]
            .to_str()
            .unwrap(),
        login
    );
}

/// token-failures: T19.
#[tokio::test]
async fn tokens_expire_often_without_a_new_refresh_token() {
    let rig = salesforce().await;
    let original = text(&rig.account.oauth(), "refresh_token");
    let replica = rig.replica();
    for _ in 0..2 {
        replica.get().await.unwrap();
        rig.provider.expire_access_tokens();
    }
    // And in the next process, which starts with the saved tokens.
    rig.replica().get().await.unwrap();
    assert_eq!(rig.statuses(), [401, 200, 401, 200, 401, 200]);
    assert_eq!(rig.spent(), vec![original.clone(); 3]);
    assert_eq!(text(&rig.account.oauth(), "refresh_token"), original);
}
