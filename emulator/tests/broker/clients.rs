//! Other people's clients, from their own languages: pika and amqplib. They run where they are installed, which the
//! environment says: `EMULATOR_TEST_PYTHON` names a Python with pika, `EMULATOR_TEST_NODE_PATH` a folder of node modules
//! with amqplib. `scripts/test` sets both.

use crate::{Rig, on_brokers};
use std::{path::Path, process::Output};
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
    let Ok(python) = std::env::var("EMULATOR_TEST_PYTHON") else {
        return eprintln!("not run: EMULATOR_TEST_PYTHON names no Python with pika");
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
    let Ok(modules) = std::env::var("EMULATOR_TEST_NODE_PATH") else {
        return eprintln!("not run: EMULATOR_TEST_NODE_PATH names no folder with amqplib");
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
