//! Clients in other languages: pika and amqplib. They run where they are installed: `EMULATOR_TEST_PYTHON` is a Python
//! with pika, `EMULATOR_TEST_NODE_PATH` a `node_modules` folder with amqplib. `scripts/test` sets both. In CI a missing
//! client is a failure.

use crate::{Rig, on_brokers};
use std::{path::Path, process::Output};
use test_support::installed;
use tokio::process::Command;

async fn run(mut command: Command, rig: &Rig) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .arg(&rig.uri)
        .arg(&rig.prefix)
        .kill_on_drop(true)
        .output()
        .await
        .expect("runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&stdout),
        String::from_utf8_lossy(&stderr)
    );
    assert!(
        status.success() && said.contains("all checks passed"),
        "{status}\n{said}"
    );
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(name)
}

#[tokio::test]
async fn pika_works_with_the_broker() {
    let Some(python) = installed("EMULATOR_TEST_PYTHON", "a Python with pika") else {
        return;
    };
    on_brokers(async |rig: Rig| {
        let mut command = Command::new(&python);
        command.arg(script("pika_client.py"));
        run(command, &rig).await;
    })
    .await;
}

#[tokio::test]
async fn amqplib_works_with_the_broker() {
    let Some(modules) = installed("EMULATOR_TEST_NODE_PATH", "amqplib for Node") else {
        return;
    };
    on_brokers(async |rig: Rig| {
        let mut command = Command::new("node");
        command
            .arg(script("amqplib_client.js"))
            .env("NODE_PATH", &modules);
        run(command, &rig).await;
    })
    .await;
}
