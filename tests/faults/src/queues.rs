//! The step's exchange and queues, and the messages that are put into them.

use crate::broker::OWN_CONNECTION;
use anyhow::Context as _;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use sailor::protocol::Encoding;
use sailor_bench::{broker::taken, sample};
use serde_json::{Value, json};

/// The exchange that the step publishes to.
pub const EXCHANGE: &str = "faults:exchange";
/// The queue that the step consumes.
pub const INPUT: &str = "faults:in";
/// The queue for data.
pub const OUTPUT: &str = "faults:out";
/// The queue for error events.
pub const ERRORS: &str = "faults:errors";
/// The queue for snapshots.
pub const SNAPSHOTS: &str = "faults:snapshots";
/// The queue where rebounds wait until they expire. They go back to the input queue, as on the platform.
pub const REBOUNDS: &str = "faults:rebounds";

/// Copies of the rebounds, for this program.
pub const COPIES: &str = "faults:rebound-copies";

/// The routing key of each queue.
const QUEUES: [(&str, &str); 6] = [
    (INPUT, "input"),
    (OUTPUT, "data"),
    (ERRORS, "error"),
    (SNAPSHOTS, "snapshot"),
    (REBOUNDS, "rebound"),
    (COPIES, "rebound"),
];

/// The protocol version of every message.
pub const PROTOCOL: i64 = 2;
/// How many messages may be unconfirmed while a queue is filled.
const UNCONFIRMED: usize = 500;

/// Arguments of a queue that is declared.
pub type Arguments = Vec<(&'static str, AMQPValue)>;

/// The queue type `quorum` in an argument.
pub fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(value))
}

/// A channel of this program, and how it declares queues.
pub struct Queues {
    // The channel ends with it.
    _connection: Connection,
    channel: Channel,
    /// Of every queue, such as its type.
    common: Arguments,
}

/// Connects this program to the first of these ports that accepts it.
///
/// # Errors
/// When none does.
pub async fn connect(ports: &[u16]) -> anyhow::Result<Connection> {
    let mut last = None;
    for port in ports {
        let uri = format!("amqp://guest:guest@127.0.0.1:{port}");
        let properties =
            ConnectionProperties::default().with_connection_name(OWN_CONNECTION.into());
        match Connection::connect(&uri, properties).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("there is no node")?).context("connecting to RabbitMQ")
}

impl Queues {
    /// Opens a channel. Every queue is declared with these arguments.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn open(ports: &[u16], common: Arguments) -> anyhow::Result<Self> {
        let connection = connect(ports).await?;
        let channel = connection.create_channel().await?;
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await?;
        Ok(Self {
            _connection: connection,
            channel,
            common,
        })
    }

    /// Replaces exchange and queues by new ones. The queues named in `more` get these arguments too.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn renew(&self, more: &[(&str, Arguments)]) -> anyhow::Result<()> {
        let durable = ExchangeDeclareOptions {
            durable: true,
            ..Default::default()
        };
        let none = FieldTable::default();
        self.channel
            .exchange_declare(EXCHANGE.into(), ExchangeKind::Direct, durable, none)
            .await?;
        for (queue, _) in QUEUES {
            self.delete(queue).await?;
            let more = more.iter().filter(|(name, _)| *name == queue);
            let more = more.flat_map(|(_, arguments)| arguments.clone()).collect();
            self.declare(queue, more).await?;
        }
        Ok(())
    }

    /// Declares and binds one of the queues.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn declare(&self, queue: &str, more: Arguments) -> anyhow::Result<()> {
        let mut arguments: Vec<_> = self.common.iter().cloned().chain(more).collect();
        if queue == REBOUNDS {
            arguments.push(("x-dead-letter-exchange", text(EXCHANGE)));
            arguments.push(("x-dead-letter-routing-key", text("input")));
        }
        let mut table = FieldTable::default();
        for (name, value) in arguments {
            table.insert(name.into(), value);
        }
        let options = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        self.channel
            .queue_declare(queue.into(), options, table)
            .await?;
        let key = QUEUES
            .iter()
            .find(|(name, _)| *name == queue)
            .map_or(queue, |(_, key)| key);
        let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
        Ok(self
            .channel
            .queue_bind(queue.into(), EXCHANGE.into(), key.into(), bind, none)
            .await?)
    }

    /// Deletes a queue. Returns how many messages were ready in it.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn delete(&self, queue: &str) -> anyhow::Result<usize> {
        let options = QueueDeleteOptions::default();
        Ok(self.channel.queue_delete(queue.into(), options).await? as usize)
    }

    /// How many messages are ready in a queue, and how many consumers it has.
    ///
    /// # Errors
    /// When there is no such queue.
    pub async fn fill(&self, queue: &str) -> anyhow::Result<(usize, usize)> {
        let passive = QueueDeclareOptions {
            passive: true,
            durable: true,
            ..Default::default()
        };
        let state = self
            .channel
            .queue_declare(queue.into(), passive, FieldTable::default())
            .await?;
        Ok((
            state.message_count() as usize,
            state.consumer_count() as usize,
        ))
    }

    /// Puts messages into the input queue, and waits until the broker has them on disk.
    ///
    /// # Errors
    /// When the broker does not take one.
    pub async fn publish(&self, messages: impl IntoIterator<Item = Order>) -> anyhow::Result<()> {
        let cipher = sample::cipher();
        let mut confirms = Vec::new();
        for order in messages {
            let payload = order.message().to_string().into_bytes();
            let payload = cipher.encrypt(payload, Encoding::of(PROTOCOL));
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_delivery_mode(2)
                .with_headers(order.headers());
            let mandatory = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let publish = self.channel.basic_publish(
                EXCHANGE.into(),
                "input".into(),
                mandatory,
                &payload,
                properties,
            );
            confirms.push(publish.await?);
            if confirms.len() == UNCONFIRMED {
                for confirm in confirms.drain(..) {
                    taken(&confirm.await?)?;
                }
            }
        }
        for confirm in confirms {
            taken(&confirm.await?)?;
        }
        Ok(())
    }
}

/// One message for the step.
pub struct Order {
    /// Its number: the end of its `messageId` and `threadId`.
    pub number: u64,
    /// What the component is told to do.
    pub body: Value,
    /// The id of its body in object storage, if it is there.
    pub object: Option<String>,
}

impl Order {
    /// A message whose script the component `scripted` carries out.
    pub fn script(number: u64, script: &Value) -> Self {
        let body = json!({ "number": number, "script": script });
        Self {
            number,
            body,
            object: None,
        }
    }

    fn message(&self) -> Value {
        match &self.object {
            None => json!({ "headers": {}, "body": self.body }),
            Some(id) => json!({ "headers": { "x-ipaas-object-storage-id": id }, "body": {} }),
        }
    }

    fn headers(&self) -> FieldTable {
        let mut table = FieldTable::default();
        let number = usize::try_from(self.number).unwrap_or(usize::MAX);
        for (name, value) in sample::headers(number, PROTOCOL) {
            let value = match value {
                Value::Number(number) => {
                    AMQPValue::LongInt(number.as_i64().unwrap_or_default() as i32)
                }
                Value::String(text) => AMQPValue::LongString(text.into()),
                _ => continue,
            };
            table.insert(name.into(), value);
        }
        table
    }
}

/// The text of a header.
pub fn header_text(headers: &FieldTable, name: &str) -> Option<String> {
    match headers.inner().get(&ShortString::from(name))? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// A header's number, of whatever width.
pub fn header_number(headers: &FieldTable, name: &str) -> Option<i64> {
    Some(match headers.inner().get(&ShortString::from(name))? {
        AMQPValue::ShortShortInt(number) => (*number).into(),
        AMQPValue::ShortInt(number) => (*number).into(),
        AMQPValue::LongInt(number) => (*number).into(),
        AMQPValue::LongLongInt(number) => *number,
        AMQPValue::Double(number) => *number as i64,
        _ => return None,
    })
}
