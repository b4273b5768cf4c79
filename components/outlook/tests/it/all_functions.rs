//! What holds for each action and trigger: it works on its sample, with an expired token and after a 429, and names an
//! invalid input.

use crate::{
    functions::FUNCTIONS,
    rig::{Rig, error, with},
};
use futures_util::future::join_all;
use graph_standin::Fault;
use outlook::component;
use sailor::testing::{Event, Verdict};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.graph.add_samples();
    rig
}

#[test]
fn the_table_covers_every_action_and_trigger() {
    let descriptor: Value = serde_json::from_str(include_str!("../../component.json")).unwrap();
    let names = |kind: &str| {
        descriptor[kind]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    let all: BTreeSet<String> = names("actions")
        .into_iter()
        .chain(names("triggers"))
        .collect();
    assert_eq!(
        all,
        FUNCTIONS
            .iter()
            .map(|function| function.name.to_owned())
            .collect()
    );
    assert!(component().is_ok());
}

#[tokio::test]
async fn each_function_works_with_its_sample_without_a_refresh() {
    for function in FUNCTIONS {
        let rig = rig().await;
        let emitted = rig
            .run(function.name, function.config(&rig), function.body(&rig))
            .await;
        function.assert_works(&emitted);
        assert_eq!(rig.provider.refreshes(), 0, "{}", function.name);
        assert!(
            rig.graph
                .calls_matching(".")
                .iter()
                .all(|call| call.status.is_some_and(|status| status < 300))
        );
    }
}

#[tokio::test]
async fn each_function_refreshes_an_expired_token_once() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        let expired = json!(rig.provider.issue_expired());
        let emitted = rig
            .connected(name, function.config(&rig), expired)
            .run(function.body(&rig))
            .await
            .unwrap();
        function.assert_works(&emitted);
        assert_eq!(rig.provider.refreshes(), 1, "{name}");
        let saved = emitted.events.iter().filter_map(|event| match event {
            Event::UpdateKeys(keys) => Some(&keys["oauth"]),
            _ => None,
        });
        let [saved] = saved.collect::<Vec<_>>()[..] else {
            panic!("{name}: {emitted:?}")
        };
        assert!(
            rig.provider
                .is_valid(saved["access_token"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            rig.provider
                .is_spendable(saved["refresh_token"].as_str().unwrap()),
            "{name}"
        );
        assert!(
            saved["id_token"].is_string(),
            "{name}: the whole response is kept"
        );
        let calls = rig.graph.calls_matching(".");
        let refused: Vec<bool> = calls.iter().map(|call| call.status == Some(401)).collect();
        assert_eq!(
            refused.iter().filter(|refused| **refused).count(),
            1,
            "{name}: {calls:?}"
        );
        assert!(
            refused[0] && calls[0].line() == calls[1].line() && calls[0].body == calls[1].body,
            "{name}"
        );
    }
}

#[tokio::test]
async fn each_function_waits_for_a_short_429() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        rig.graph
            .inject_faults(".", [Fault::Throttled(0), Fault::Throttled(0)]);
        let emitted = rig
            .run(name, function.config(&rig), function.body(&rig))
            .await;
        function.assert_works(&emitted);
        let throttled = rig
            .graph
            .calls_matching(".")
            .iter()
            .filter(|call| call.status == Some(429))
            .count();
        assert_eq!((throttled, rig.provider.refreshes()), (2, 0), "{name}");
    }
}

#[tokio::test]
async fn each_function_rebounds_on_a_long_429() {
    for function in FUNCTIONS {
        for faults in [vec![Fault::Throttled(0); 4], vec![Fault::Throttled(120)]] {
            let (rig, name) = (rig().await, function.name);
            let tries = faults.len();
            rig.graph.inject_faults(".", faults);
            let emitted = rig
                .run(name, function.config(&rig), function.body(&rig))
                .await;
            let [Event::Rebound(reason)] = &emitted.events[..] else {
                panic!("{name}: {emitted:?}")
            };
            assert!(
                reason.contains("429") && reason.contains("TooManyRequests"),
                "{name}: {reason}"
            );
            assert_eq!(rig.graph.calls_matching(".").len(), tries, "{name}");
        }
    }
}

#[tokio::test]
async fn each_function_names_the_invalid_field_and_sends_nothing() {
    for function in FUNCTIONS {
        for (fields, body, expected) in function.wrong {
            let (rig, name) = (rig().await, function.name);
            let fields = with(function.config(&rig), serde_json::from_str(fields).unwrap());
            let body = with(function.body(&rig), serde_json::from_str(body).unwrap());
            let emitted = rig.run(name, fields, body).await;
            assert_eq!(emitted.verdict, Verdict::Rejected, "{name}: {expected:?}");
            let error = error(&emitted);
            assert!(
                expected.iter().all(|expected| error.contains(expected)),
                "{name}: {expected:?} in {error}"
            );
            assert!(
                rig.graph.calls_matching(".").is_empty(),
                "{name}: {expected:?}"
            );
        }
    }
}

#[tokio::test]
async fn each_function_says_when_the_user_must_connect_again() {
    // At the same time: each waits while it checks several times whether the account has other tokens.
    join_all(FUNCTIONS.iter().map(async |function| {
        let (rig, name) = (rig().await, function.name);
        let tokens = json!(rig.provider.issue_expired());
        rig.provider.revoke_all();
        let emitted = rig
            .connected(name, function.config(&rig), tokens)
            .run(function.body(&rig))
            .await
            .unwrap();
        assert!(
            error(&emitted).contains("connect the account again"),
            "{name}: {emitted:?}"
        );
    }))
    .await;
}

#[tokio::test]
async fn each_function_reports_graphs_message() {
    for function in FUNCTIONS {
        let (rig, name) = (rig().await, function.name);
        rig.graph.inject_faults(
            ".",
            [Fault::Error(
                403,
                "ErrorAccessDenied",
                "Access is denied. Check credentials.",
            )],
        );
        let emitted = rig
            .run(name, function.config(&rig), function.body(&rig))
            .await;
        let error = error(&emitted);
        assert!(
            error.contains("ErrorAccessDenied") && error.contains("Check credentials"),
            "{name}: {error}"
        );
        assert_eq!(
            (
                rig.graph.calls_matching(".").len(),
                rig.provider.refreshes()
            ),
            (1, 0),
            "{name}"
        );
    }
}
