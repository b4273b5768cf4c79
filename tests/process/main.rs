//! The scripted component as a process on the emulator: messages, signals, failures, and faults of broker and platform.

mod bodies;
mod connections;
mod deduplication;
mod delivery;
mod doctor;
mod equal_messages;
mod health;
mod inspect;
mod json;
mod log;
mod log_codes;
mod memory;
mod memory_limit;
mod monitoring;
mod monitoring_files;
mod proxies;
mod refused_publishes;
mod routing_keys;
mod secrets;
mod start_up;
mod stopping;
mod terminal;
mod tls;
mod traces;
mod unreadable_headers;

use emulator::{EmulatorConfig, Event, EventKind, platform::Step};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use test_rig::{Ended, Process, Rig, Running, bodies, soon};

const SCRIPTED: &str = env!("CARGO_BIN_EXE_scripted");

/// A step with a next step. The scripted component processes up to this many messages at the same time.
async fn scripted(prefetch: u16) -> Rig {
    scripted_with(EmulatorConfig {
        prefetch,
        ..EmulatorConfig::default()
    })
    .await
}

/// A step of the scripted component, with another step after it.
async fn scripted_with(config: EmulatorConfig) -> Rig {
    last_step(EmulatorConfig {
        next_step: true,
        ..config
    })
    .await
}

/// A step of the scripted component. By default it is the last step of the flow.
async fn last_step(config: EmulatorConfig) -> Rig {
    let step = Step {
        function: "script".into(),
        ..config.step
    };
    Rig::new(SCRIPTED, EmulatorConfig { step, ..config }).await
}

/// Runs a command of the component, such as `doctor`, with the step's variables.
async fn run_command(rig: &Rig, arguments: &[&str]) -> Ended {
    let mut command = rig.command();
    command.args(arguments);
    Process::run(command).await
}

/// The JSON object that a command with `--json` prints.
#[track_caller]
fn printed(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
}

/// How often each `n` was emitted. Repeats of a publish do not count.
fn emitted(rig: &Rig) -> BTreeMap<u64, usize> {
    let mut count = BTreeMap::new();
    for event in rig.so_far(EventKind::Data) {
        if event.headers.get("retry").is_none() {
            let n = event.body["body"]["n"].as_u64().unwrap();
            *count.entry(n).or_default() += 1;
        }
    }
    count
}

/// How many messages were acknowledged, and how many rejected, so far.
fn acked_and_rejected(rig: &Rig) -> (usize, usize) {
    (
        rig.so_far(EventKind::Acked).len(),
        rig.so_far(EventKind::Rejected).len(),
    )
}
