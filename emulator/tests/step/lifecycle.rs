//! Start, environment and end of the emulator.

use crate::rig;
use emulator::{
    Emulator, EmulatorConfig, EventKind,
    broker::BrokerConfig,
    platform::{PlatformConfig, Step},
};
use serde_json::json;
use std::{collections::HashMap, time::Duration};
use tokio::time::timeout;

#[tokio::test]
async fn the_environment_has_every_required_variable() {
    let emulator = Emulator::start(EmulatorConfig {
        step: Step {
            function: "f".into(),
            ..Step::default()
        },
        ..Default::default()
    });
    let env: HashMap<String, String> = emulator.await.unwrap().env().into_iter().collect();
    for name in [
        "FLOW_ID",
        "EXEC_ID",
        "STEP_ID",
        "CONTAINER_ID",
        "WORKSPACE_ID",
        "USER_ID",
        "COMP_ID",
        "FUNCTION",
        "API_URI",
        "API_USERNAME",
        "API_KEY",
        "AMQP_URI",
        "LISTEN_MESSAGES_ON",
        "PUBLISH_MESSAGES_TO",
        "DATA_ROUTING_KEY",
        "ERROR_ROUTING_KEY",
        "REBOUND_ROUTING_KEY",
        "SNAPSHOT_ROUTING_KEY",
        "MESSAGE_CRYPTO_IV",
        "MESSAGE_CRYPTO_PASSWORD",
        "FLOW_TYPE",
        "FLOW_WEBHOOK_URI",
        "OBJECT_STORAGE_URI",
        "OBJECT_STORAGE_TOKEN",
        "REBOUND_INITIAL_EXPIRATION",
    ] {
        assert!(!env[&format!("ELASTICIO_{name}")].is_empty(), "{name}");
    }
}

#[tokio::test]
async fn events_end_when_the_emulator_stops() {
    let rig = rig().await;
    rig.send("echo");
    rig.find(EventKind::Acked).await;
    let mut events = rig.emulator.events();
    rig.emulator.shutdown().await;
    let all = async { while events.next().await.is_some() {} };
    timeout(Duration::from_secs(10), all).await.expect("ends");
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_error() {
    let first = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let (broker, platform) = (first.broker().addr().port(), first.platform().addr().port());
    for (broker, platform, port) in [(broker, 0, broker), (0, platform, platform)] {
        let config = EmulatorConfig {
            broker: BrokerConfig {
                port: broker,
                ..BrokerConfig::default()
            },
            platform: PlatformConfig {
                port: platform,
                ..PlatformConfig::default()
            },
            ..EmulatorConfig::default()
        };
        let error = Emulator::start(config).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("cannot listen on port {port} of 127.0.0.1")),
            "{error}"
        );
    }
}

#[test]
fn debug_output_contains_no_secrets() {
    let step = Step {
        config: json!({"password": "hidden"}),
        ..Step::default()
    };
    let config = EmulatorConfig {
        step,
        crypto_password: "hidden".into(),
        ..EmulatorConfig::default()
    };
    assert!(!format!("{config:?}").contains("hidden"));
}
