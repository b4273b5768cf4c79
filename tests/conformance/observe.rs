//! Runs a component in a scenario and writes down what it does.

use super::{
    clear_text,
    queues::{POLL, Queues},
    record::{Call, Record},
    scenario::Scenario,
};
use anyhow::{Context, Result};
use emulator::platform::{Fault, Platform, PlatformConfig, Step};
use lapin::{Connection, ConnectionProperties};
use sailor::protocol::{Cipher, Encoding};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};
use test_rig::{Process, command};

/// Stops waiting when nothing has happened for this long.
const NO_PROGRESS: Duration = Duration::from_secs(10);

/// The record of the component in `scenario`, and its output. `goal` is the record to wait for.
pub(super) async fn run(
    scenario: &Scenario,
    goal: &Record,
    broker: &str,
) -> Result<(Record, String)> {
    let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols")?;
    let platform = platform(scenario, &cipher).await?;
    let connection = Connection::connect(broker, ConnectionProperties::default())
        .await
        .context("broker")?;
    let queues = Queues::declare(connection.create_channel().await?).await?;
    let mut inputs = Vec::new();
    for message in &scenario.messages {
        let payload = message.payload(&cipher);
        queues.send(&payload, message.headers()).await?;
        inputs.push(payload);
    }

    let mut component = start(scenario, broker, &queues, &platform);
    let exited_by_itself = ends_by_itself(&mut component, goal, &queues, &platform).await?;
    if !exited_by_itself {
        // It finishes everything that was delivered to it, so that the record shows unexpected events too.
        component.signal("TERM");
    }
    let ended = component.end().await;
    queues.wait_until_unread().await?;
    let published = queues.take_published().await?;
    let record = Record {
        published: published
            .iter()
            .map(|message| clear_text::published(message, &cipher, &inputs))
            .collect(),
        dead_lettered: queues.depth(&queues.dead).await?.0,
        left_in_queue: queues.depth(&queues.input).await?.0,
        exited_by_itself,
        exit_ok: ended.status == 0,
        api: calls(&platform, scenario, &cipher),
    };
    queues.delete().await?;
    connection.close(200, "done".into()).await?;
    Ok((record.normalised(), ended.output()))
}

fn start(scenario: &Scenario, broker: &str, queues: &Queues, platform: &Platform) -> Process {
    let environment = scenario.environment(
        broker,
        &queues.input,
        &queues.exchange,
        &platform.url(),
        &platform.result_url("exec1"),
    );
    let mut command = command(env!("CARGO_BIN_EXE_scripted"));
    command.envs(environment);
    match &scenario.service {
        Some(method) => command.args(["service", method]),
        None => command.arg("run"),
    };
    Process::start(command)
}

/// Waits until the goal is reached, nothing more happens, or the component has ended. Returns true if it has ended.
async fn ends_by_itself(
    component: &mut Process,
    goal: &Record,
    queues: &Queues,
    platform: &Platform,
) -> Result<bool> {
    let (mut last, mut since) = (None, Instant::now());
    while component.try_wait().is_none() {
        let published = queues.depth(&queues.output).await?.0;
        let dead = queues.depth(&queues.dead).await?.0;
        let waiting = queues.depth(&queues.input).await?.0;
        let calls = platform.calls().len();
        let reached = published as usize >= goal.published.len()
            && dead >= goal.dead_lettered
            && waiting <= goal.left_in_queue
            && calls >= goal.api.len()
            && !goal.exited_by_itself;
        if reached {
            return Ok(false);
        }
        let now = Some((published, dead, waiting, calls));
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > NO_PROGRESS {
            return Ok(false);
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(true)
}

async fn platform(scenario: &Scenario, cipher: &Cipher) -> Result<Platform> {
    let config = PlatformConfig {
        port: 0,
        username: "u".into(),
        key: "k".into(),
        storage_token: "jwt-token".into(),
    };
    let platform = Platform::start(config).await?;
    let step = scenario.step.clone();
    let step = step.unwrap_or_else(
        || json!({"config": {"_account": "acc1", "apiKey": "secret"}, "snapshot": {"last": 1}}),
    );
    platform.set_step(
        "flow1",
        Step {
            id: "step_1".into(),
            ..serde_json::from_value(step)?
        },
    );
    platform.set_account("acc1", Map::new());
    platform.set_startup_data("flow1", scenario.hooks_data.clone());
    for (id, object) in &scenario.objects {
        platform.set_object(
            id,
            cipher.encrypt(object.to_string().into_bytes(), Encoding::Raw),
        );
    }
    for (pattern, statuses) in &scenario.api_fail {
        platform.inject_faults(
            pattern,
            statuses.iter().map(|status| Fault::Status(*status)),
        );
    }
    Ok(platform)
}

/// The requests to the platform, in the terms of the recordings.
fn calls(platform: &Platform, scenario: &Scenario, cipher: &Cipher) -> Vec<Call> {
    let ids = platform.object_ids();
    let mut uploads = ids
        .iter()
        .filter(|id| !scenario.objects.contains_key(*id))
        .map(|id| {
            let bytes = platform.object(id).unwrap_or_default();
            let plain = cipher.decrypt(&bytes, Encoding::Raw).unwrap_or_default();
            serde_json::from_slice(&plain).unwrap_or_else(|_| json!("<undecodable>"))
        });
    let in_terms_of_recordings = |call: emulator::platform::RecordedCall| {
        // The recordings were made with an address for results that needs no credentials.
        let is_result = call.path == "/result/exec1";
        Call {
            object: if call.line() == "POST /objects" {
                uploads.next().unwrap_or_default()
            } else {
                Value::Null
            },
            auth: if is_result {
                String::new()
            } else {
                call.credentials().unwrap_or_default()
            },
            path: if is_result {
                "/result".into()
            } else {
                call.path_and_query()
            },
            body: call.json().unwrap_or_default(),
            method: call.method,
            status: call.status,
        }
    };
    platform
        .calls()
        .into_iter()
        .map(in_terms_of_recordings)
        .collect()
}
