//! Held against the Node sailor: each scenario of `tests/conformance` is run with the example `scripted` as a process
//! of its own, and what it published, settled, called and how it ended must be what was recorded of the peer, or what
//! is wanted instead (`wanted.rs`). Once on the emulator's broker, once on RabbitMQ.

mod compare;
mod observe;
mod record;
mod scenario;
mod wanted;

use emulator::broker::{Broker, BrokerConfig};
use futures_util::{StreamExt, stream};
use record::Record;
use scenario::Scenario;
use std::collections::BTreeMap;

/// How many components run at once.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_matches_the_recording_on_the_emulator() {
    let broker = Broker::start(BrokerConfig::default()).await.unwrap();
    run_all(&broker.uri()).await;
}

/// Needs a RabbitMQ in `SAILOR_TEST_AMQP_URI`; `scripts/test` always provides one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_matches_the_recording_on_rabbitmq() {
    match std::env::var("SAILOR_TEST_AMQP_URI") {
        Ok(uri) => run_all(&uri).await,
        Err(_) => eprintln!(
            "NOT RUN: set SAILOR_TEST_AMQP_URI to the address of a RabbitMQ, or use scripts/test"
        ),
    }
}

async fn run_all(broker: &str) {
    observe::scripted().unwrap();
    let scenarios: Vec<Scenario> =
        serde_json::from_str(include_str!("../conformance/scenarios.json")).unwrap();
    let recorded: BTreeMap<String, Record> =
        serde_json::from_str(include_str!("../conformance/recorded.json")).unwrap();
    let (count, peers) = (scenarios.len(), recorded.len());
    assert!(
        count == peers && count > 50,
        "there are {count} scenarios, but recordings of {peers}"
    );

    let mut failures: Vec<String> = stream::iter(scenarios)
        .map(|scenario| {
            let peer = recorded[&scenario.name].clone().normalised();
            async move { hold(&scenario, &peer, broker).await }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    failures.sort();
    assert!(
        failures.is_empty(),
        "{} of {count} scenarios differ:\n\n{}",
        failures.len(),
        failures.join("\n\n")
    );
}

/// Runs one scenario. Some: where it differs.
async fn hold(scenario: &Scenario, peer: &Record, broker: &str) -> Option<String> {
    let wanted = wanted::instead(&scenario.name);
    let goal = wanted
        .as_ref()
        .map_or_else(|| peer.clone(), |wanted| wanted.goal(peer));
    let (ours, output) = match observe::run(scenario, &goal, broker).await {
        Ok(observed) => observed,
        Err(error) => {
            return Some(format!(
                "- {}\n    could not be run: {error:#}",
                scenario.name
            ));
        }
    };
    let differences = match &wanted {
        Some(wanted) => wanted.differences(&goal, &ours),
        None => compare::differences(peer, &ours, scenario.is_parallel()),
    };
    (!differences.is_empty()).then(|| {
        format!(
            "- {}\n    {}\n    its output: {}",
            scenario.name,
            differences.join("\n    "),
            output.replace('\n', "\n      ")
        )
    })
}
