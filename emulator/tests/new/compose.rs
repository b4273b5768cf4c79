//! The flow of `deploy/compose.yaml`, with the component's processes on this machine, the emulator's broker in the place of
//! RabbitMQ, and a server that responds as `platform.conf` says.

use super::deploy::{Environment, compose_steps, definitions, platform_conf, scheduled};
use axum::{
    Router,
    http::{Method, StatusCode, Uri},
};
use emulator::broker::{Broker, BrokerConfig, ExchangeKind, QueueOptions};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use test_support::Background;
use tokio::time::timeout;

/// How long the flow may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

type Calls = Arc<Mutex<Vec<String>>>;

/// Runs the flow once with the component's binary.
pub(crate) fn flow(binary: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        timeout(PATIENCE, run(binary))
            .await
            .expect("the flow takes too long");
    });
}

async fn run(binary: &Path) {
    let steps = compose_steps();
    let broker = broker(&steps[0]).await;
    let calls = Calls::default();
    let platform = platform(calls.clone()).await;
    let mut processes: Vec<Background> = steps
        .iter()
        .map(|step| Background::start(&mut process(binary, step, &broker, &platform)))
        .collect();

    let (key, payload) = scheduled();
    let exchange = &steps[0]["ELASTICIO_PUBLISH_MESSAGES_TO"];
    assert!(broker.publish(exchange, &key, Default::default(), payload.into_bytes()));
    for step in &steps {
        broker.settled(&step["ELASTICIO_LISTEN_MESSAGES_ON"]).await;
    }
    let created = calls
        .lock()
        .unwrap()
        .iter()
        .filter(|call| *call == "POST /api/items")
        .count();
    assert_eq!(created, 2, "{:?}", calls.lock().unwrap());
    assert_eq!(broker.depth("flow:errors").ready, 0);
    assert_eq!(broker.depth("flow:snapshots").ready, 1);
    for process in &mut processes {
        assert!(process.interrupt().success());
    }
}

/// A broker with the user of the compose file and what definitions.json declares.
async fn broker(step: &Environment) -> Broker {
    let uri = &step["ELASTICIO_AMQP_URI"];
    let login = uri
        .strip_prefix("amqp://")
        .and_then(|rest| rest.split_once('@'))
        .unwrap()
        .0;
    let (user, password) = login.split_once(':').unwrap();
    let config = BrokerConfig {
        user: user.to_owned(),
        password: password.to_owned(),
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).await.unwrap();
    let definitions = definitions();
    let list = |name: &str| definitions[name].as_array().unwrap().clone();
    for exchange in list("exchanges") {
        let kind = ExchangeKind::from_name(exchange["type"].as_str().unwrap()).unwrap();
        broker.declare_exchange(exchange["name"].as_str().unwrap(), kind);
    }
    for queue in list("queues") {
        broker.declare_queue(
            queue["name"].as_str().unwrap(),
            options(&queue["arguments"]),
        );
    }
    for binding in list("bindings") {
        let text = |member: &str| binding[member].as_str().unwrap();
        broker.bind_queue(text("destination"), text("source"), text("routing_key"));
    }
    broker
}

fn options(arguments: &Value) -> QueueOptions {
    let text = |name: &str| arguments[name].as_str().map(str::to_owned);
    QueueOptions {
        dead_letter_exchange: text("x-dead-letter-exchange"),
        dead_letter_routing_key: text("x-dead-letter-routing-key"),
        message_ttl: arguments["x-message-ttl"]
            .as_u64()
            .map(Duration::from_millis),
        max_length: arguments["x-max-length"]
            .as_u64()
            .map(|max| max.try_into().unwrap()),
        ..QueueOptions::default()
    }
}

/// Starts the server, and returns its address.
async fn platform(calls: Calls) -> String {
    let responses: BTreeMap<String, String> = platform_conf();
    let respond = move |method: Method, uri: Uri| {
        calls
            .lock()
            .unwrap()
            .push(format!("{method} {}", uri.path()));
        let response = responses.get(uri.path()).cloned();
        async move { response.ok_or(StatusCode::NOT_FOUND) }
    };
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let base = address.clone();
    let router = Router::new().fallback(async move |method: Method, uri: Uri| {
        // The hosts of the compose file are this machine here.
        respond(method, uri)
            .await
            .map(|body| body.replace("http://platform", &base))
    });
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

fn process(binary: &Path, step: &Environment, broker: &Broker, platform: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, value) in step {
        command.env(name, value.replace("http://platform", platform));
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    command.env("ELASTICIO_AMQP_URI", broker.uri());
    command.env("ELASTICIO_HEALTH_PORT", port.to_string());
    command
}
