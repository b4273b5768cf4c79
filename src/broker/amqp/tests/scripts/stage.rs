//! The broker that a script runs on, and what the script has seen.

use super::super::super::{
    client::{
        Channel, Connection, Consumer, Delivery as ClientDelivery, PublisherConfirm,
        connect as open,
    },
    error::describe,
};
use crate::broker::amqp::tests::soon;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Confirmation, ExchangeKind,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions,
        BasicRejectOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use std::time::Duration;
use tokio::{runtime::Handle, time::sleep};

/// One broker, with a queue and an exchange that only this script uses.
pub(super) struct Stage {
    uri: lapin::uri::AMQPUri,
    is_lasting: bool,
    pub(super) queue: String,
    pub(super) exchange: String,
    pub(super) control: Channel,
    pub(super) connections: Vec<Connection>,
    /// What the broker has done.
    pub(super) trace: Vec<String>,
}

impl Stage {
    /// `is_lasting` means that the broker outlives the test.
    pub(super) async fn new(
        uri: &lapin::uri::AMQPUri,
        arguments: FieldTable,
        is_lasting: bool,
    ) -> Self {
        let name = uuid::Uuid::new_v4();
        let connection = connect(uri).await;
        let control = connection.create_channel().await.unwrap();
        control
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        let stage = Self {
            uri: uri.clone(),
            is_lasting,
            queue: format!("in-{name}"),
            exchange: format!("x-{name}"),
            control,
            connections: vec![connection],
            trace: Vec::new(),
        };
        stage.declare(&stage.queue, arguments).await;
        let auto_delete = ExchangeDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        let (name, kind) = (stage.exchange.as_str().into(), ExchangeKind::Direct);
        let declared =
            stage
                .control
                .exchange_declare(name, kind, auto_delete, FieldTable::default());
        declared.await.unwrap();
        stage
    }

    pub(super) async fn declare(&self, queue: &str, mut arguments: FieldTable) {
        if self.is_lasting {
            // Leaves nothing behind.
            arguments.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        }
        let options = QueueDeclareOptions::default();
        let declared = self.control.queue_declare(queue.into(), options, arguments);
        declared.await.unwrap();
    }

    /// A channel on a connection of its own; its number among the connections.
    pub(super) async fn channel(&mut self) -> (usize, Channel) {
        let connection = connect(&self.uri).await;
        let channel = connection.create_channel().await.unwrap();
        self.connections.push(connection);
        (self.connections.len() - 1, channel)
    }

    pub(super) async fn close(&self, connection: usize) {
        let closing = self.connections[connection].close(200, "OK".into());
        closing.await.unwrap();
    }

    /// Puts messages into the queue.
    pub(super) async fn put(&self, bodies: &[&str]) {
        for body in bodies {
            let confirm = publish(&self.control, "", &self.queue, body).await.unwrap();
            assert!(confirm.await.unwrap().is_ack());
        }
    }

    pub(super) async fn bind(&self, key: &str) {
        let (queue, exchange) = (self.queue.as_str().into(), self.exchange.as_str().into());
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let bound = self
            .control
            .queue_bind(queue, exchange, key.into(), options, none);
        bound.await.unwrap();
    }

    /// Publishes to the exchange, and notes what the broker says.
    pub(super) async fn publish(&mut self, key: &str, body: &str) {
        let confirm = publish(&self.control, &self.exchange, key, body).await;
        let text = match soon("the confirm", confirm.unwrap()).await {
            Ok(confirmation) => described(confirmation),
            Err(error) => describe(&error).replace(&self.exchange, "x"),
        };
        self.note(format!("{body} to {key}: {text}"));
    }

    /// Takes the next delivery and notes it.
    pub(super) async fn next(&mut self, who: &str, consumer: &mut Consumer) -> ClientDelivery {
        let next = soon("a delivery", consumer.next()).await;
        let delivery = next.expect("deliveries go on").unwrap();
        self.note(format!(
            "{who} gets {}",
            text(&delivery.data, delivery.redelivered)
        ));
        delivery
    }

    /// Notes what is in the queue, from first to last.
    pub(super) async fn take_all(&mut self) {
        loop {
            let taken = self.control.take(self.queue.as_str().into()).await.unwrap();
            let Some((body, _, redelivered)) = taken else {
                return self.note("nothing is left".into());
            };
            self.note(format!("{} is in the queue", text(&body, redelivered)));
        }
    }

    /// Waits until a message of an ended connection is back in the queue.
    pub(super) async fn take_when_there(&mut self) {
        let control = self.control.clone();
        let queue = self.queue.clone();
        let taking = async {
            loop {
                if let Some(taken) = control.take(queue.as_str().into()).await.unwrap() {
                    return taken;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        let (body, properties, redelivered) = soon("a message", taking).await;
        let expires = properties.expiration().is_some();
        self.note(format!(
            "{} arrives, expires: {expires}",
            text(&body, redelivered)
        ));
    }

    pub(super) fn note(&mut self, text: String) {
        self.trace.push(text);
    }
}

pub(super) fn text(body: &[u8], redelivered: bool) -> String {
    let again = if redelivered { " again" } else { "" };
    format!("{}{again}", String::from_utf8_lossy(body))
}

fn described(confirmation: Confirmation) -> String {
    let word = if confirmation.is_ack() { "ack" } else { "nack" };
    match confirmation.take_message() {
        Some(returned) => format!("{word}, {} is returned", text(&returned.data, false)),
        None => word.to_owned(),
    }
}

async fn connect(uri: &lapin::uri::AMQPUri) -> Connection {
    let connecting = open(
        uri.clone(),
        "script".into(),
        Handle::current(),
        Default::default(),
    );
    connecting.await.expect("the broker responds")
}

pub(super) async fn publish(
    channel: &Channel,
    exchange: &str,
    key: &str,
    body: &str,
) -> lapin::Result<PublisherConfirm> {
    let mandatory = BasicPublishOptions {
        mandatory: true,
        immediate: false,
    };
    let properties = BasicProperties::default();
    channel
        .basic_publish(
            exchange.into(),
            key.into(),
            mandatory,
            body.as_bytes(),
            properties,
        )
        .await
}

pub(super) async fn consume(
    channel: &Channel,
    queue: &str,
    prefetch: u16,
) -> lapin::Result<Consumer> {
    let each = BasicQosOptions { global: false };
    channel.basic_qos(prefetch, each).await?;
    let options = BasicConsumeOptions::default();
    channel
        .basic_consume(queue.into(), "".into(), options, FieldTable::default())
        .await
}

pub(super) async fn ack(delivery: &ClientDelivery) {
    assert!(
        delivery
            .acker
            .ack(BasicAckOptions::default())
            .await
            .unwrap()
    );
}

pub(super) async fn reject(delivery: &ClientDelivery, requeue: bool) {
    let options = BasicRejectOptions { requeue };
    assert!(delivery.acker.reject(options).await.unwrap());
}
