//! The broker as clients see it. Tests that do not use the broker's own handle run against RabbitMQ too, when
//! `SAILOR_TEST_AMQP_URI` is set: both must behave alike.

mod clients;
mod delivery;
mod faults;
mod handshake;
mod publishing;
mod queues;
mod refusals;
mod wire;

use emulator::broker::{Broker, BrokerConfig};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    message::Delivery,
    options::*,
    types::{AMQPValue, FieldTable},
};
use std::{future::Future, time::Duration};

const LIMIT: Duration = Duration::from_secs(30);

/// A broker to test, and names that no other test uses.
struct Rig {
    uri: String,
    prefix: String,
}

impl Rig {
    fn new(uri: String) -> Self {
        Self {
            uri,
            prefix: format!("t-{}", uuid::Uuid::new_v4().simple()),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.uri, ConnectionProperties::default())
            .await
            .expect("connects");
        let channel = connection.create_channel().await.expect("opens a channel");
        (connection, channel)
    }

    /// A channel with confirms.
    async fn publisher(&self) -> (Connection, Channel) {
        let (connection, channel) = self.channel().await;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("switches confirms on");
        (connection, channel)
    }
}

/// Runs a behaviour on the emulator, and on RabbitMQ where there is one.
async fn on_brokers<F: Future<Output = ()>>(behaviour: impl Fn(Rig) -> F) {
    let broker = start().await;
    tokio::time::timeout(LIMIT, behaviour(Rig::new(broker.uri())))
        .await
        .expect("the emulator responds in time");
    broker.shutdown().await;
    let rabbitmq = std::env::var("SAILOR_TEST_AMQP_URI");
    assert!(
        rabbitmq.is_ok() || std::env::var_os("CI").is_none(),
        "SAILOR_TEST_AMQP_URI is not set, and with CI set this test must run on RabbitMQ"
    );
    if let Ok(uri) = rabbitmq {
        tokio::time::timeout(LIMIT, behaviour(Rig::new(uri)))
            .await
            .expect("RabbitMQ responds in time");
    }
}

async fn start() -> Broker {
    Broker::start(BrokerConfig::default())
        .await
        .expect("the broker starts")
}

/// Declares a queue that is deleted with its connection.
async fn queue(channel: &Channel, name: &str, arguments: &[(&str, AMQPValue)]) -> u32 {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    channel
        .queue_declare(name.into(), options, table(arguments))
        .await
        .expect("declares a queue")
        .message_count()
}

/// Declares an exchange that is deleted with its last binding.
async fn exchange(channel: &Channel, name: &str, kind: lapin::ExchangeKind) {
    let options = ExchangeDeclareOptions {
        auto_delete: true,
        ..Default::default()
    };
    channel
        .exchange_declare(name.into(), kind, options, FieldTable::default())
        .await
        .expect("declares an exchange");
}

async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) {
    let none = FieldTable::default();
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            none,
        )
        .await
        .expect("binds");
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) -> Confirmation {
    let options = BasicPublishOptions {
        mandatory: true,
        ..Default::default()
    };
    let confirm = channel
        .basic_publish(exchange.into(), key.into(), options, body, properties)
        .await
        .expect("publishes");
    confirm.await.expect("is confirmed")
}

/// Publishes one message per text.
async fn fill(channel: &Channel, queue: &str, bodies: &[&str]) {
    for body in bodies {
        publish(
            channel,
            "",
            queue,
            BasicProperties::default(),
            body.as_bytes(),
        )
        .await;
    }
}

async fn consume(
    channel: &Channel,
    queue: &str,
    tag: &str,
    options: BasicConsumeOptions,
) -> Consumer {
    channel
        .basic_consume(queue.into(), tag.into(), options, FieldTable::default())
        .await
        .expect("consumes")
}

async fn next(consumer: &mut Consumer) -> Delivery {
    futures_util::StreamExt::next(consumer)
        .await
        .expect("the consumer is still there")
        .expect("the channel is still open")
}

/// Fetches and acknowledges all waiting messages: `(body, redelivered)` each.
async fn drain(channel: &Channel, queue: &str) -> Vec<(String, bool)> {
    let mut found = Vec::new();
    while let Some(message) = channel
        .basic_get(queue.into(), BasicGetOptions { no_ack: true })
        .await
        .expect("fetches")
    {
        found.push((text(&message.data), message.redelivered));
    }
    found
}

/// Fetches one message, waiting for it to arrive: dead-lettering takes a moment in RabbitMQ.
async fn fetch(channel: &Channel, queue: &str) -> Delivery {
    loop {
        if let Some(message) = channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .expect("fetches")
        {
            return message.delivery;
        }
        tokio::task::yield_now().await;
    }
}

fn table(entries: &[(&str, AMQPValue)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert((*name).into(), value.clone());
    }
    table
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
