//! The queues that the contestants work on.

use crate::sample;
use anyhow::Context as _;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer,
    ExchangeKind,
    options::{
        BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use std::time::Duration;

/// The exchange that everything is published to.
pub const EXCHANGE: &str = "bench:ex";
/// The queue that contestants consume.
pub const INPUT: &str = "bench:in";
/// The queue that receives the data of the contestants.
pub const OUTPUT: &str = "bench:out";
/// The queue for error events.
pub const ERRORS: &str = "bench:err";

/// The routing key of [`INPUT`].
pub const INPUT_KEY: &str = "in";
/// The routing key of [`OUTPUT`].
pub const OUTPUT_KEY: &str = "data";
/// The routing key of [`ERRORS`].
pub const ERROR_KEY: &str = "error";
/// The routing key of the queue for snapshots.
pub const SNAPSHOT_KEY: &str = "snapshot";
/// The routing key of the queue for rebounds.
pub const REBOUND_KEY: &str = "rebound";

const QUEUES: [(&str, &str); 5] = [
    (INPUT, INPUT_KEY),
    (OUTPUT, OUTPUT_KEY),
    (ERRORS, ERROR_KEY),
    ("bench:snap", SNAPSHOT_KEY),
    ("bench:rebound", REBOUND_KEY),
];

/// How many messages may be unconfirmed at the same time while a queue is filled.
const UNCONFIRMED: usize = 500;

/// About how many bytes may be unconfirmed.
const UNCONFIRMED_BYTES: usize = 16 << 20;

/// The interval between checks of a queue.
pub(crate) const POLL: Duration = Duration::from_millis(5);

const DURABLE: QueueDeclareOptions = QueueDeclareOptions {
    passive: false,
    durable: true,
    exclusive: false,
    auto_delete: false,
    nowait: false,
};

/// Connects to the broker at `uri`.
///
/// # Errors
/// When it does not respond, or refuses.
pub async fn connect(uri: &str) -> anyhow::Result<Connection> {
    let connected = Connection::connect(uri, ConnectionProperties::default()).await;
    connected.context("connecting to the broker")
}

/// The exchange and the queues, over a channel of their own.
pub struct Queues {
    channel: Channel,
}

/// The number of messages and of consumers of a queue.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// Messages that are ready for a consumer.
    pub messages: usize,
    /// Consumers of the queue.
    pub consumers: usize,
}

impl Queues {
    /// Opens a channel for the queues.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn open(connection: &Connection) -> anyhow::Result<Self> {
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self { channel })
    }

    /// Creates the exchange and the queues that do not exist.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn declare(&self) -> anyhow::Result<()> {
        let none = FieldTable::default;
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let kind = ExchangeKind::Direct;
        self.channel
            .exchange_declare(EXCHANGE.into(), kind, durable, none())
            .await?;
        for (queue, key) in QUEUES {
            self.channel
                .queue_declare(queue.into(), DURABLE, none())
                .await?;
            let bind = QueueBindOptions::default();
            self.channel
                .queue_bind(queue.into(), EXCHANGE.into(), key.into(), bind, none())
                .await?;
        }
        Ok(())
    }

    /// Creates queues that no key is bound to.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn declare_queues(&self, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            self.channel
                .queue_declare(name.as_str().into(), DURABLE, FieldTable::default())
                .await?;
        }
        Ok(())
    }

    /// Deletes queues.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn delete_queues(&self, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            self.channel
                .queue_delete(name.as_str().into(), QueueDeleteOptions::default())
                .await?;
        }
        Ok(())
    }

    /// Drops all ready messages.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn purge(&self) -> anyhow::Result<()> {
        self.declare().await?;
        for (queue, _) in QUEUES {
            self.channel
                .queue_purge(queue.into(), QueuePurgeOptions::default())
                .await?;
        }
        Ok(())
    }

    /// Replaces the queues with new ones. Unlike a purge, this also drops messages that a killed process had not
    /// acknowledged.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn renew(&self) -> anyhow::Result<()> {
        for (queue, _) in QUEUES {
            self.channel
                .queue_delete(queue.into(), QueueDeleteOptions::default())
                .await?;
        }
        self.declare().await
    }

    /// Puts `messages` encrypted messages with bodies of about `bytes` bytes into [`INPUT`].
    ///
    /// # Errors
    /// When the broker does not take one.
    pub async fn prefill(
        &self,
        messages: usize,
        bytes: usize,
        protocol: i64,
    ) -> anyhow::Result<()> {
        let cipher = sample::cipher();
        let payload = |number| sample::message(&cipher, number, bytes, protocol);
        self.fill_with(messages, protocol, payload).await
    }

    /// Puts so many messages into [`INPUT`]. `payload` returns the encrypted message with this number.
    ///
    /// # Errors
    /// When the broker does not take one.
    pub async fn fill_with<P: AsRef<[u8]>>(
        &self,
        messages: usize,
        protocol: i64,
        payload: impl Fn(usize) -> P,
    ) -> anyhow::Result<()> {
        let (mut confirms, mut bytes) = (Vec::new(), 0);
        for number in 0..messages {
            let payload = payload(number);
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_headers(table(number, protocol));
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let (exchange, key) = (EXCHANGE.into(), INPUT_KEY.into());
            let publish =
                self.channel
                    .basic_publish(exchange, key, options, payload.as_ref(), properties);
            confirms.push(publish.await?);
            bytes += payload.as_ref().len();
            let full = confirms.len() >= UNCONFIRMED || bytes >= UNCONFIRMED_BYTES;
            if full || number + 1 == messages {
                for confirm in confirms.drain(..) {
                    taken(&confirm.await?)?;
                }
                bytes = 0;
            }
        }
        Ok(())
    }

    /// Drops the ready messages of [`INPUT`] once it has no consumer. They include the messages that a killed process has
    /// not acknowledged.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn drain_input(&self) -> anyhow::Result<()> {
        while self.fill(INPUT).await?.consumers > 0 {
            tokio::time::sleep(POLL).await;
        }
        self.channel
            .queue_purge(INPUT.into(), QueuePurgeOptions::default())
            .await?;
        Ok(())
    }

    /// Closes the channel.
    ///
    /// # Errors
    /// When the broker does not respond.
    pub async fn close(self) -> anyhow::Result<()> {
        Ok(self.channel.close(200, "done".into()).await?)
    }

    /// The number of messages and of consumers of `queue`.
    ///
    /// # Errors
    /// Returns an error if the queue does not exist. The broker then closes the channel.
    pub async fn fill(&self, queue: &str) -> anyhow::Result<Fill> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..DURABLE
        };
        let state = self
            .channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await;
        let state = state.with_context(|| format!("asking the broker for queue {queue}"))?;
        Ok(Fill {
            messages: state.message_count() as usize,
            consumers: state.consumer_count() as usize,
        })
    }

    /// Consumes `queue`. Messages are acknowledged as the broker sends them.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn consume(&self, queue: &str) -> anyhow::Result<Consumer> {
        let options = BasicConsumeOptions {
            no_ack: true,
            ..Default::default()
        };
        let none = FieldTable::default();
        Ok(self
            .channel
            .basic_consume(queue.into(), "".into(), options, none)
            .await?)
    }
}

/// Checks that the broker has taken a message and had a queue for it.
///
/// # Errors
/// Returns an error if the broker has not taken the message, or had no queue for it.
pub fn taken(confirmation: &Confirmation) -> anyhow::Result<()> {
    anyhow::ensure!(
        matches!(confirmation, Confirmation::Ack(None)),
        "the broker did not take a message, or had no queue for it"
    );
    Ok(())
}

fn table(number: usize, protocol: i64) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in sample::headers(number, protocol) {
        let value = match value {
            Value::Number(number) => AMQPValue::LongLongInt(number.as_i64().unwrap_or_default()),
            Value::String(text) => AMQPValue::LongString(text.into()),
            _ => continue,
        };
        table.insert(name.into(), value);
    }
    table
}
