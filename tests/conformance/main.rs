//! Compares our sailor with the Node sailor. Each scenario of `scenarios.json` starts the component `scripted`; what it
//! publishes, settles and calls and how it ends must be what was recorded of the Node sailor (`recorded.json`), or what
//! is wanted instead (`wanted.rs`).
//!
//! Each scenario is a test of its own on each broker, such as `conformance::emulator::rebound`. Those on RabbitMQ need its
//! address in `SAILOR_TEST_AMQP_URI`, which `scripts/test` sets. Without it they are ignored, and fail where `CI` is set.

mod clear_text;
mod compare;
mod observe;
mod queues;
mod record;
mod scenario;
mod wanted;

use emulator::broker::{Broker as EmulatedBroker, BrokerConfig};
use libtest_mimic::{Arguments, Failed, Trial};
use record::Record;
use scenario::Scenario;
use std::{collections::BTreeMap, env, process::ExitCode, sync::Arc};

const ADDRESS: &str = "SAILOR_TEST_AMQP_URI";

#[derive(Clone, Copy, PartialEq)]
enum Broker {
    Emulator,
    RabbitMq,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let scenarios: Vec<Scenario> =
        serde_json::from_str(include_str!("scenarios.json")).expect("scenarios.json");
    let scenarios: Vec<Arc<Scenario>> = scenarios.into_iter().map(Arc::new).collect();
    let recorded: BTreeMap<String, Record> =
        serde_json::from_str(include_str!("recorded.json")).expect("recorded.json");
    let is_missing = env::var_os(ADDRESS).is_none();
    if is_missing && !arguments.list {
        eprintln!(
            "Scenarios on RabbitMQ need its address in {ADDRESS}; `scripts/test` starts one."
        );
    }

    let mut tests = vec![every_scenario_has_one_recording(&scenarios, &recorded)];
    for broker in [Broker::Emulator, Broker::RabbitMq] {
        let cannot_run = broker == Broker::RabbitMq && is_missing;
        let tests_of_broker = scenarios.iter().map(|scenario| {
            let peer = recorded.get(&scenario.name).cloned();
            test(broker, scenario.clone(), peer)
                .with_ignored_flag(cannot_run && env::var_os("CI").is_none())
        });
        tests.extend(tests_of_broker);
    }
    libtest_mimic::run(&arguments, tests).exit_code()
}

fn every_scenario_has_one_recording(
    scenarios: &[Arc<Scenario>],
    recorded: &BTreeMap<String, Record>,
) -> Trial {
    let mut names: Vec<String> = scenarios.iter().map(|one| one.name.clone()).collect();
    names.sort();
    let recordings: Vec<String> = recorded.keys().cloned().collect();
    Trial::test("conformance::every_scenario_has_one_recording", move || {
        assert_eq!(names, recordings);
        assert!(names.len() > 50, "only {} scenarios", names.len());
        Ok(())
    })
}

/// The test of one scenario. `peer` is the record of the Node sailor.
fn test(broker: Broker, scenario: Arc<Scenario>, peer: Option<Record>) -> Trial {
    let folder = match broker {
        Broker::Emulator => "emulator",
        Broker::RabbitMq => "rabbitmq",
    };
    let name = format!("conformance::{folder}::{}", identifier(&scenario.name));
    Trial::test(name, move || {
        let peer = peer.ok_or("there is no recording")?.normalised();
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(on_broker(broker, &scenario, &peer))
    })
}

/// The words of a scenario's name, as a test's name has them.
fn identifier(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("_").to_lowercase()
}

async fn on_broker(broker: Broker, scenario: &Scenario, peer: &Record) -> Result<(), Failed> {
    match broker {
        Broker::Emulator => {
            let broker = EmulatedBroker::start(BrokerConfig::default()).await?;
            matches_recording(scenario, peer, &broker.uri()).await
        }
        Broker::RabbitMq => {
            let uri = env::var(ADDRESS).map_err(|_| {
                format!("NOT RUN: {ADDRESS} is not set, and every test must run where CI is set")
            })?;
            matches_recording(scenario, peer, &uri).await
        }
    }
}

/// Runs the scenario. An error says where it differs from what is wanted.
async fn matches_recording(scenario: &Scenario, peer: &Record, broker: &str) -> Result<(), Failed> {
    let wanted = wanted::instead(&scenario.name);
    let goal = wanted
        .as_ref()
        .map_or_else(|| peer.clone(), |wanted| wanted.goal(peer));
    let (ours, output) = observe::run(scenario, &goal, broker)
        .await
        .map_err(|error| format!("{error:#}"))?;
    let differences = match &wanted {
        Some(wanted) => wanted.differences(&goal, &ours),
        None => compare::differences(peer, &ours, scenario.is_parallel()),
    };
    if differences.is_empty() {
        Ok(())
    } else {
        let differences = differences.join("\n    ");
        Err(format!("it differs:\n    {differences}\noutput of the component:\n{output}").into())
    }
}
