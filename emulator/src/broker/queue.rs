//! One queue: its messages in order, its limits, its consumers. No sockets here.

use super::{
    error::{AmqpError, Outcome},
    message::Message,
};
use amq_protocol::types::{AMQPValue, FieldTable};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// What a full queue does with a new message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// It drops the oldest messages.
    #[default]
    DropHead,
    /// It refuses the new message; a publisher with confirms gets a nack.
    RejectPublish,
}

/// The arguments of a queue's declaration; each field is the argument `x-…` with its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueOptions {
    /// Where rejected, expired and dropped messages go.
    pub dead_letter_exchange: Option<String>,
    /// Their new routing key; without it they keep theirs.
    pub dead_letter_routing_key: Option<String>,
    /// How long a message may wait; on the wire in milliseconds.
    pub message_ttl: Option<Duration>,
    /// How many messages may wait.
    pub max_length: Option<usize>,
    /// How many bytes of content may wait.
    pub max_length_bytes: Option<usize>,
    /// What happens when the queue is full.
    pub overflow: Overflow,
}

/// Arguments that RabbitMQ supports and this broker does not. They are refused, not ignored.
const NOT_SUPPORTED: [&str; 5] = [
    "x-expires",
    "x-max-priority",
    "x-single-active-consumer",
    "x-delivery-limit",
    "x-queue-leader-locator",
];

/// The arguments of a declaration.
struct Arguments<'a> {
    table: &'a FieldTable,
    context: &'a str,
}

impl Arguments<'_> {
    fn check_supported(&self) -> Outcome {
        let context = self.context;
        let refused = |name: &&str| self.table.contains_key(name);
        if let Some(name) = NOT_SUPPORTED.into_iter().find(refused) {
            return Err(AmqpError::not_implemented(format!(
                "argument '{name}' of {context}: this broker has no such feature"
            )));
        }
        match self.text("x-queue-type")?.as_deref() {
            None | Some("classic") => Ok(()),
            Some(kind) => Err(AmqpError::not_implemented(format!(
                "x-queue-type '{kind}' of {context}: only classic queues exist"
            ))),
        }
    }

    fn number(&self, name: &str) -> Outcome<Option<u64>> {
        let Some(value) = self.table.inner().get(name) else {
            return Ok(None);
        };
        let Some(number) = integer(value) else {
            return Err(self.invalid(name, "{unacceptable_type,expected an integer}"));
        };
        u64::try_from(number)
            .map(Some)
            .map_err(|_| self.invalid(name, &format!("{{value_negative,{number}}}")))
    }

    fn text(&self, name: &str) -> Outcome<Option<String>> {
        match self.table.inner().get(name) {
            None => Ok(None),
            Some(AMQPValue::LongString(text)) => Ok(Some(text.to_string())),
            Some(_) => Err(self.invalid(name, "{unacceptable_type,expected a long string}")),
        }
    }

    fn invalid(&self, name: &str, why: &str) -> AmqpError {
        let context = self.context;
        AmqpError::precondition(format!("invalid arg '{name}' for {context}: {why}"))
    }
}

impl QueueOptions {
    /// Reads the arguments of a declaration; `context` ends the text of an error.
    pub(super) fn from_arguments(table: &FieldTable, context: &str) -> Outcome<Self> {
        let arguments = Arguments { table, context };
        arguments.check_supported()?;
        let dead_letter_exchange = arguments.text("x-dead-letter-exchange")?;
        let dead_letter_routing_key = arguments.text("x-dead-letter-routing-key")?;
        if dead_letter_routing_key.is_some() && dead_letter_exchange.is_none() {
            let name = "x-dead-letter-routing-key";
            return Err(arguments.invalid(name, "routing_key_but_no_dlx_defined"));
        }
        let overflow = match arguments.text("x-overflow")?.as_deref() {
            None | Some("drop-head") => Overflow::DropHead,
            Some("reject-publish") => Overflow::RejectPublish,
            Some(other) => {
                let why = format!("unknown overflow {other}");
                return Err(arguments.invalid("x-overflow", &why));
            }
        };
        let ttl = arguments.number("x-message-ttl")?;
        let max_length = arguments.number("x-max-length")?;
        let max_length_bytes = arguments.number("x-max-length-bytes")?;
        Ok(Self {
            dead_letter_exchange,
            dead_letter_routing_key,
            message_ttl: ttl.map(Duration::from_millis),
            max_length: max_length.map(|n| n as usize),
            max_length_bytes: max_length_bytes.map(|n| n as usize),
            overflow,
        })
    }

    /// The arguments that a client would declare the same queue with.
    pub(super) fn to_arguments(&self) -> FieldTable {
        let number = |n: u128| AMQPValue::LongLongInt(i64::try_from(n).unwrap_or(i64::MAX));
        let text = |text: &String| AMQPValue::LongString(text.as_str().into());
        let mut table = FieldTable::default();
        let mut set = |name: &str, value: Option<AMQPValue>| {
            if let Some(value) = value {
                table.insert(name.into(), value);
            }
        };
        set(
            "x-dead-letter-exchange",
            self.dead_letter_exchange.as_ref().map(text),
        );
        set(
            "x-dead-letter-routing-key",
            self.dead_letter_routing_key.as_ref().map(text),
        );
        set(
            "x-message-ttl",
            self.message_ttl.map(|ttl| number(ttl.as_millis())),
        );
        set("x-max-length", self.max_length.map(|n| number(n as u128)));
        set(
            "x-max-length-bytes",
            self.max_length_bytes.map(|n| number(n as u128)),
        );
        let reject = self.overflow == Overflow::RejectPublish;
        set(
            "x-overflow",
            reject.then(|| AMQPValue::LongString("reject-publish".into())),
        );
        table
    }
}

/// Any of the integer types of a field table.
pub(super) fn integer(value: &AMQPValue) -> Option<i64> {
    match *value {
        AMQPValue::ShortShortInt(n) => Some(n.into()),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => Some(n.into()),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => Some(n.into()),
        AMQPValue::LongUInt(n) => Some(n.into()),
        AMQPValue::LongLongInt(n) => Some(n),
        _ => None,
    }
}

/// A message and its place in the queue.
#[derive(Clone, Debug)]
pub(super) struct QueuedMessage {
    /// The position in the queue; each new message gets the next number. A requeued message keeps its position.
    pub(super) position: u64,
    pub(super) message: Arc<Message>,
    pub(super) expires: Option<Instant>,
}

/// A consumer. It counts its own unsettled messages; its channel counts those of all its consumers.
#[derive(Clone, Debug)]
pub(super) struct Consumer {
    pub(super) connection: u64,
    pub(super) channel: u16,
    pub(super) tag: Arc<str>,
    pub(super) no_ack: bool,
    pub(super) exclusive: bool,
    /// 0 = no limit.
    pub(super) prefetch: usize,
    pub(super) unacked: usize,
}

#[derive(Debug)]
pub(super) struct Queue {
    /// Distinguishes a queue from a later one with the same name.
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    /// The connection of an exclusive queue, which is deleted with it.
    pub(super) owner: Option<u64>,
    pub(super) options: QueueOptions,
    /// In the order of their turns.
    pub(super) consumers: VecDeque<Consumer>,
    pub(super) unacked: usize,
    ready: BTreeMap<u64, QueuedMessage>,
    ready_bytes: usize,
    next_position: u64,
}

impl Queue {
    pub(super) fn new(id: u64, name: &str, options: QueueOptions) -> Self {
        Self {
            id,
            name: name.into(),
            durable: true,
            auto_delete: false,
            owner: None,
            options,
            consumers: VecDeque::new(),
            unacked: 0,
            ready: BTreeMap::new(),
            ready_bytes: 0,
            next_position: 0,
        }
    }

    /// Puts a new message at the end.
    pub(super) fn push(&mut self, message: Arc<Message>, ttl: Option<Duration>) {
        let ttl = ttl.into_iter().chain(self.options.message_ttl).min();
        let expires = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        let position = self.next_position;
        self.next_position += 1;
        self.insert(QueuedMessage {
            position,
            message,
            expires,
        });
    }

    /// Puts a message back where it was, marked as redelivered.
    pub(super) fn requeue(&mut self, mut entry: QueuedMessage) {
        if !entry.message.redelivered {
            Arc::make_mut(&mut entry.message).redelivered = true;
        }
        self.insert(entry);
    }

    pub(super) fn pop(&mut self) -> Option<QueuedMessage> {
        let (_, entry) = self.ready.pop_first()?;
        self.ready_bytes -= entry.message.body.len();
        Some(entry)
    }

    /// Removes the first message when it has expired. Those behind it wait, as in RabbitMQ.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<QueuedMessage> {
        self.next_expiry()
            .filter(|expires| *expires <= now)
            .and_then(|_| self.pop())
    }

    /// Removes the first message when the queue is over its limits.
    pub(super) fn pop_excess(&mut self) -> Option<QueuedMessage> {
        let over = self
            .options
            .max_length
            .is_some_and(|max| self.ready.len() > max)
            || self
                .options
                .max_length_bytes
                .is_some_and(|max| self.ready_bytes > max);
        if over { self.pop() } else { None }
    }

    /// Whether a message of this size must be refused.
    pub(super) fn refuses(&self, bytes: usize) -> bool {
        self.options.overflow == Overflow::RejectPublish
            && (self
                .options
                .max_length
                .is_some_and(|max| self.ready.len() + 1 > max)
                || self
                    .options
                    .max_length_bytes
                    .is_some_and(|max| self.ready_bytes + bytes > max))
    }

    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.ready
            .first_key_value()
            .and_then(|(_, entry)| entry.expires)
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether nothing waits and nothing is unsettled.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.is_empty() && self.unacked == 0
    }

    /// Removes all waiting messages.
    pub(super) fn drain(&mut self) -> Vec<QueuedMessage> {
        self.ready_bytes = 0;
        std::mem::take(&mut self.ready).into_values().collect()
    }

    fn insert(&mut self, entry: QueuedMessage) {
        self.ready_bytes += entry.message.body.len();
        self.ready.insert(entry.position, entry);
    }
}
