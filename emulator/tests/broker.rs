//! What the broker does, seen by lapin. Whatever is not about the broker's own handle is checked against a real
//! RabbitMQ as well when `SAILOR_TEST_AMQP_URI` names one: both have to behave alike.

use emulator::broker::{Broker, BrokerConfig};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::*,
    types::{AMQPValue, FieldTable},
};
use std::{future::Future, time::Duration};

type Result<T = ()> = std::result::Result<T, lapin::Error>;

/// A broker to test, and names that no other test uses.
struct Rig {
    uri: String,
    prefix: String,
}

impl Rig {
    fn new(uri: String) -> Self {
        Self { uri, prefix: format!("t-{}", uuid::Uuid::new_v4().simple()) }
    }

    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    async fn connect(&self) -> Connection {
        Connection::connect(&self.uri, ConnectionProperties::default()).await.expect("connects")
    }

    async fn channel(&self) -> (Connection, Channel) {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.expect("opens a channel");
        (connection, channel)
    }
}

/// Runs a behaviour on the emulator, and on RabbitMQ where there is one.
async fn on_brokers<F: Future<Output = ()>>(behaviour: impl Fn(Rig) -> F) {
    let broker = Broker::start(BrokerConfig::default()).await.expect("starts");
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, behaviour(Rig::new(broker.uri()))).await.expect("the emulator answers in time");
    broker.shutdown().await;
    if let Ok(uri) = std::env::var("SAILOR_TEST_AMQP_URI") {
        tokio::time::timeout(limit, behaviour(Rig::new(uri))).await.expect("RabbitMQ answers in time");
    }
}

/// A queue that goes with its connection.
async fn queue(channel: &Channel, name: &str, arguments: &[(&str, AMQPValue)]) -> Result {
    let mut table = FieldTable::default();
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = QueueDeclareOptions { exclusive: true, ..Default::default() };
    channel.queue_declare(name.into(), options, table).await.map(drop)
}

async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    properties: BasicProperties,
    body: &[u8],
) -> Result<Confirmation> {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await?.await
}

#[tokio::test]
async fn given_a_binding_when_published_then_the_consumer_gets_the_message() {
    on_brokers(async |rig: Rig| {
        let (_connection, channel) = rig.channel().await;
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        let name = rig.name("q");
        queue(&channel, &name, &[]).await.unwrap();
        let mut consumer = channel
            .basic_consume(name.as_str().into(), "tag".into(), BasicConsumeOptions::default(), FieldTable::default())
            .await
            .unwrap();
        let confirmation = publish(&channel, "", &name, BasicProperties::default(), b"hello").await.unwrap();
        assert_eq!(confirmation, Confirmation::Ack(None));
        let delivery = consumer.next().await.unwrap().unwrap();
        assert_eq!((&delivery.data[..], delivery.redelivered), (&b"hello"[..], false));
        delivery.ack(BasicAckOptions::default()).await.unwrap();
    })
    .await;
}
