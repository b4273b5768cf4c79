//! The flow of `deploy/compose.yaml`, with the component's processes on this machine, and a server that responds as `platform.conf`
//! says: on the emulator's broker, and on RabbitMQ where `scripts/test` has given it `definitions.json`.

use super::deploy::{Environment, compose_steps, definitions, platform_conf, scheduled};
use axum::{
    Router,
    http::{Method, StatusCode, Uri},
};
use emulator::broker::{Broker, BrokerConfig, ExchangeKind, QueueOptions};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicPublishOptions, QueueDeclareOptions, QueuePurgeOptions},
    types::FieldTable,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::Command,
    time::Duration,
};
use test_support::Background;
use tokio::{sync::watch, time::timeout};

/// How long the flow may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the flow with the component's binary, once on each broker.
pub(crate) fn flow(binary: &Path) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let steps = compose_steps();
        let login = login(&steps[0]);
        let emulated = broker(login).await;
        let uris = [Some(emulated.uri()), rabbitmq(login).await];
        for uri in uris.into_iter().flatten() {
            timeout(PATIENCE, run(binary, &steps, &uri))
                .await
                .expect("the flow takes too long");
        }
    });
}

/// The user and the password of the compose file.
fn login(step: &Environment) -> &str {
    let uri = step["ELASTICIO_AMQP_URI"].strip_prefix("amqp://");
    uri.and_then(|rest| rest.split_once('@')).unwrap().0
}

/// RabbitMQ with this user, which `definitions.json` makes; none where it is missing.
async fn rabbitmq(login: &str) -> Option<String> {
    let missing = match std::env::var("SAILOR_TEST_AMQP_URI") {
        Err(_) => "SAILOR_TEST_AMQP_URI is not set".to_owned(),
        Ok(uri) => {
            let (_, place) = uri.split_once('@').unwrap();
            let uri = format!("amqp://{login}@{place}");
            let connected = Connection::connect(&uri, ConnectionProperties::default()).await;
            match connected {
                Ok(_) => return Some(uri),
                Err(error) => format!("it has no definitions.json, see scripts/test ({error})"),
            }
        }
    };
    assert!(std::env::var_os("CI").is_none(), "RabbitMQ: {missing}");
    eprintln!("not run on RabbitMQ: {missing}");
    None
}

async fn run(binary: &Path, steps: &[Environment], broker: &str) {
    let connection = Connection::connect(broker, ConnectionProperties::default());
    let connection = connection.await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    for queue in definitions()["queues"].as_array().unwrap() {
        let name = queue["name"].as_str().unwrap();
        let purged = channel.queue_purge(name.into(), QueuePurgeOptions::default());
        // What an earlier run has left.
        purged.await.unwrap();
    }
    let (calls, mut seen) = watch::channel(Vec::new());
    let platform = platform(calls).await;
    let mut processes: Vec<Background> = steps
        .iter()
        .map(|step| Background::start(&mut process(binary, step, broker, &platform)))
        .collect();

    let (key, payload) = scheduled();
    let published = channel.basic_publish(
        steps[0]["ELASTICIO_PUBLISH_MESSAGES_TO"].as_str().into(),
        key.as_str().into(),
        BasicPublishOptions::default(),
        payload.as_bytes(),
        BasicProperties::default(),
    );
    published.await.unwrap().await.unwrap();
    let created = |calls: &Vec<String>| {
        let calls = calls.iter();
        calls.filter(|call| *call == "POST /api/items").count()
    };
    let two = seen.wait_for(|calls| created(calls) >= 2).await;
    drop(two.expect("the platform has stopped"));
    // Each process finishes what it has begun.
    for process in &mut processes {
        assert!(process.interrupt().success());
    }
    let calls = seen.borrow().clone();
    assert_eq!(created(&calls), 2, "{calls:?}");
    assert_eq!(messages(&channel, "flow:errors").await, 0);
    assert_eq!(messages(&channel, "flow:snapshots").await, 1);
    for step in steps {
        let queue = &step["ELASTICIO_LISTEN_MESSAGES_ON"];
        assert_eq!(messages(&channel, queue).await, 0, "{queue}");
    }
}

/// How many messages a queue has.
async fn messages(channel: &Channel, queue: &str) -> u32 {
    let options = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
    declared.await.unwrap().message_count()
}

/// The emulator's broker with this user and what `definitions.json` declares.
async fn broker(login: &str) -> Broker {
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
async fn platform(calls: watch::Sender<Vec<String>>) -> String {
    let responses: BTreeMap<String, String> = platform_conf();
    let respond = move |method: Method, uri: Uri| {
        calls.send_modify(|calls| calls.push(format!("{method} {}", uri.path())));
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

fn process(binary: &Path, step: &Environment, broker: &str, platform: &str) -> Command {
    let mut command = Command::new(binary);
    for (name, value) in step {
        command.env(name, value.replace("http://platform", platform));
    }
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    command.env("ELASTICIO_AMQP_URI", broker);
    command.env("ELASTICIO_HEALTH_PORT", port.to_string());
    command
}
