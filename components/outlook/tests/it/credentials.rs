//! Tokens and secrets: which are used, and when they are refreshed and saved.

use crate::rig::{Rig, error, process::Step, with};
use emulator::{
    EventKind,
    platform::Fault as PlatformFault,
    provider::{Knobs, Provider},
};
use graph_standin::Fault;
use serde_json::{Value, json};
use std::{collections::BTreeSet, time::Duration};

#[tokio::test]
async fn two_credentials_in_one_process_are_not_mixed() {
    let rig = Rig::new().await;
    let (first, second) = (rig.provider.issue(), rig.provider.issue());
    for tokens in [&first, &second, &first] {
        let before = rig.graph.calls_matching(".").len();
        rig.connected("checkAvailability", json!({}), json!(tokens))
            .run(json!({}))
            .await
            .unwrap();
        let calls = rig.graph.calls_matching(".").split_off(before);
        assert!(!calls.is_empty());
        assert!(
            calls
                .iter()
                .all(|call| call.token.as_deref() == tokens["access_token"].as_str())
        );
    }
}

#[tokio::test]
async fn a_permanent_401_costs_one_refresh() {
    for fault in [
        Fault::Unauthorized,
        Fault::Error(401, "InvalidAuthenticationToken", "Access token is empty."),
    ] {
        let rig = Rig::new().await;
        rig.graph.inject_faults(".", vec![fault; 10]);
        let emitted = rig.run("getContacts", json!({}), json!({})).await;
        assert!(
            error(&emitted).contains("InvalidAuthenticationToken"),
            "{emitted:?}"
        );
        assert_eq!(
            (
                rig.provider.refreshes(),
                rig.graph.calls_matching(".").len()
            ),
            (1, 2)
        );
    }
}

#[tokio::test]
async fn a_403_costs_no_refresh() {
    let rig = Rig::new().await;
    rig.graph.inject_faults(
        ".",
        [Fault::Error(403, "ErrorAccessDenied", "Access is denied.")],
    );
    let emitted = rig.run("getContacts", json!({}), json!({})).await;
    assert!(error(&emitted).contains("ErrorAccessDenied"), "{emitted:?}");
    assert_eq!(
        (
            rig.provider.refreshes(),
            rig.graph.calls_matching(".").len()
        ),
        (0, 1)
    );
}

#[tokio::test]
async fn a_reconnected_account_is_used_by_the_process() {
    let step = Step::new("checkAvailability", json!({}), Provider::issue).await;
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    let old = step.stored_tokens()["access_token"].clone();
    step.emulator.provider().revoke_all();
    let new = step.emulator.provider().issue();
    step.connect(new.clone());
    step.send(json!({}));
    step.settled().await;
    step.stop(component).await;
    let tokens: Vec<Value> = step
        .graph
        .calls_matching(".")
        .into_iter()
        .map(|call| json!(call.token))
        .collect();
    assert_eq!(tokens, [old.clone(), old, new["access_token"].clone()]);
    assert_eq!(
        (step.emulator.provider().refreshes(), step.errors()),
        (0, vec![])
    );
}

#[tokio::test]
async fn an_unreadable_secret_is_named_in_the_error() {
    let removed = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    removed.run(json!({})).await;
    let message = removed.errors().remove(0);
    assert!(
        message.contains("its secret was removed") && message.contains("404"),
        "{message}"
    );
    assert!(removed.graph.calls_matching(".").is_empty());
}

#[tokio::test]
async fn an_unreadable_secret_rebounds_the_message() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    step.emulator.platform().set_secret(
        "emulated-workspace",
        "secret-1",
        provider.issue().into(),
        vec![],
    );
    step.emulator
        .platform()
        .inject_faults("GET .*/secrets/", [const { PlatformFault::Status(500) }; 3]);
    let component = step.start();
    step.send(json!({}));
    let rebounds = step.events(EventKind::Rebound, 1).await;
    step.stop(component).await;
    let reason = rebounds[0].headers["reboundReason"].to_string();
    assert!(
        reason.contains("secret") && reason.contains("500"),
        "{reason}"
    );
    assert_eq!(
        (step.errors(), step.graph.calls_matching(".").len()),
        (vec![], 0)
    );
}

#[tokio::test]
async fn a_permanent_401_refreshes_a_secret_once() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    let fresh: Vec<Value> = (0..6).map(|_| provider.issue().into()).collect();
    step.emulator.platform().set_secret(
        "emulated-workspace",
        "secret-1",
        provider.issue().into(),
        fresh,
    );
    step.graph
        .inject_faults(".", [const { Fault::Unauthorized }; 10]);
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    step.stop(component).await;
    assert!(
        step.errors()[0].contains("InvalidAuthenticationToken"),
        "{:?}",
        step.errors()
    );
    assert_eq!(
        (
            step.platform_calls("/secrets/secret-1/refresh"),
            step.graph.calls_matching(".").len()
        ),
        (1, 2)
    );
}

#[tokio::test]
async fn without_a_secret_no_secret_is_refreshed() {
    let step = Step::new("checkAvailability", json!({}), Provider::issue_expired).await;
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    assert_eq!(
        (
            step.platform_calls("secret"),
            step.emulator.provider().refreshes()
        ),
        (0, 1)
    );
    step.stop(component).await;
}

#[tokio::test]
async fn without_secret_and_refresh_token_nothing_is_refreshed() {
    let tokens = |provider: &Provider| {
        with(
            json!(provider.issue_expired()),
            json!({ "refresh_token": null }),
        )
    };
    let step = Step::new("checkAvailability", json!({}), tokens).await;
    step.run(json!({})).await;
    assert!(
        step.errors()[0].contains("connect the account again"),
        "{:?}",
        step.errors()
    );
    assert_eq!(
        (
            step.platform_calls("secret"),
            step.platform_calls("undefined")
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn a_platform_secret_is_refreshed_by_the_platform() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    let (stale, fresh) = (provider.issue_expired().into(), provider.issue().into());
    step.emulator
        .platform()
        .set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    step.run(json!({})).await;
    assert_eq!(step.data(), [json!({ "available": true })]);
    assert_eq!(
        (
            step.platform_calls("/secrets/secret-1/refresh"),
            provider.refreshes()
        ),
        (1, 0)
    );
    assert!(step.bodies(EventKind::UpdateKeys).is_empty());
}

#[tokio::test]
async fn every_access_refreshes_before_each_request() {
    // The strictest provider: each refresh token is valid once, and a second use revokes them all.
    let knobs = Knobs {
        kill_family_on_reuse: true,
        grace: Duration::ZERO,
        ..Knobs::preset("microsoft").unwrap()
    };
    let fields = json!({ "originalMailFolders": "inbox", "destinationFolder": "sample-archive" });
    let step = Step::with_knobs(knobs, "moveMail", fields, Provider::issue).await;
    let step = step.variable("ELASTICIO_OAUTH_MODE", "every-access");
    step.graph.add_samples();
    let component = step.start();
    for id in ["sample-mail-1", "sample-mail-2"] {
        step.send(json!({ "messageId": id }));
    }
    step.events(EventKind::Data, 2).await;
    step.settled().await;
    step.stop(component).await;
    let tokens: BTreeSet<_> = step
        .graph
        .calls_matching(".")
        .into_iter()
        .map(|call| call.token)
        .collect();
    assert_eq!(
        (
            step.graph.calls_matching(".").len(),
            tokens.len(),
            step.emulator.provider().refreshes()
        ),
        (4, 4, 4)
    );
    assert!(step.has_spendable_token());
    assert_eq!(step.errors(), [""; 0]);
}

#[tokio::test]
async fn select_models_save_refreshed_tokens() {
    let step = Step::new("readMail", json!({}), Provider::issue_expired).await;
    step.graph.add_samples();
    for (model, id, name) in [
        ("getFolders", "sample-archive", "Archive"),
        ("getCalendars", "sample-calendar", "Team"),
    ] {
        let variables = [
            ("ELASTICIO_ACTION_OR_TRIGGER", "readMail"),
            ("ELASTICIO_GET_MODEL_METHOD", model),
        ];
        let (success, choices) = step.service("selectModel", &variables).await;
        assert!(success && choices[id] == name, "{choices}");
    }
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(step.has_spendable_token());
}

#[tokio::test]
async fn a_network_error_is_no_verification_result() {
    let step = Step::new("readMail", json!({}), Provider::issue_expired).await;
    assert_eq!(
        step.service("verifyCredentials", &[]).await,
        (true, json!({ "verified": true }))
    );
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(step.has_spendable_token());
    let away = [("GRAPH_BASE_URL", "http://127.0.0.1:1/v1.0")];
    let (success, error) = step.service("verifyCredentials", &away).await;
    assert!(!success, "{error}");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("could not be checked now"),
        "{error}"
    );
    step.emulator.provider().revoke_all();
    let (_, revoked) = step.service("verifyCredentials", &[]).await;
    assert_eq!(revoked["verified"], json!(false), "{revoked}");
    assert!(
        revoked["reason"]
            .as_str()
            .unwrap()
            .contains("connect the account again"),
        "{revoked}"
    );
}
