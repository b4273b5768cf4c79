//! How variables become settings. This file has the table of variables that the tests change.

mod defaults_and_errors;
mod one_time_calls;
mod optional;
mod values;
mod variables;

use super::*;
use std::collections::HashMap;

/// Reads the variables of a step that processes messages, after `changes`. `None` removes a variable.
fn read(changes: &[(&str, Option<&str>)]) -> Result<Settings, SettingsError> {
    let mut variables: HashMap<String, String> = [
        ("FLOW_ID", "flow1"),
        ("EXEC_ID", "exec1"),
        ("STEP_ID", "step_1"),
        ("CONTAINER_ID", "cont1"),
        ("WORKSPACE_ID", "ws1"),
        ("USER_ID", "user1"),
        ("COMP_ID", "comp1"),
        ("FUNCTION", "list"),
        ("API_URI", "http://localhost:9000//"),
        ("API_USERNAME", "u"),
        ("API_KEY", "top-secret-key"),
        ("AMQP_URI", "amqp://guest:top-secret-guest@localhost"),
        ("LISTEN_MESSAGES_ON", "queue"),
        ("PUBLISH_MESSAGES_TO", "exchange"),
        ("DATA_ROUTING_KEY", "data"),
        ("ERROR_ROUTING_KEY", "error"),
        ("REBOUND_ROUTING_KEY", "rebound"),
        ("SNAPSHOT_ROUTING_KEY", "snapshot"),
        ("MESSAGE_CRYPTO_PASSWORD", "top-secret-password"),
        ("MESSAGE_CRYPTO_IV", "iv=any16_symbols"),
    ]
    .iter()
    .map(|(name, value)| (format!("ELASTICIO_{name}"), (*value).to_owned()))
    .collect();
    for (name, value) in changes {
        match value {
            Some(value) => variables.insert((*name).to_owned(), (*value).to_owned()),
            None => variables.remove(*name),
        };
    }
    Settings::read(|name| variables.get(name).cloned())
}

fn run(settings: Settings) -> RunSettings {
    match settings.mode {
        Mode::Run(run) => *run,
        Mode::ShutdownHook => panic!("expected run mode"),
    }
}
