//! What client and broker say to each other.

use bytes::Bytes;
use lapin::{
    BasicProperties, Error,
    options::BasicRejectOptions,
    types::{AMQPValue, FieldTable, ShortString},
};
use tokio::sync::oneshot;

/// What a client sends on one of its channels.
pub(super) struct Frame {
    pub(super) channel: u16,
    pub(super) request: Request,
    /// Is told when the frame has left the client. It can still be lost.
    pub(super) written: Option<oneshot::Sender<()>>,
}

pub(super) enum Request {
    OpenChannel,
    CloseChannel,
    CloseConnection,
    Qos(u16),
    Consume {
        queue: String,
        tag: String,
    },
    Cancel(String),
    ConfirmSelect,
    Publish(Box<Publish>),
    Settle(u64, Settlement),
    DeclareQueue {
        name: String,
        limits: QueueLimits,
    },
    DeleteQueue(String),
    DeclareExchange(String),
    Bind(Binding),
    Unbind(Binding),
    /// Takes a message out of a queue, without settlement.
    Get(String),
}

#[derive(Clone)]
pub(super) struct Publish {
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) mandatory: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

/// What a client decides about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settlement {
    Ack,
    Reject,
    Requeue,
}

impl Settlement {
    pub(super) fn of(options: BasicRejectOptions) -> Self {
        if options.requeue {
            Self::Requeue
        } else {
            Self::Reject
        }
    }
}

/// The queue gets what the exchange receives under this key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binding {
    pub(super) exchange: String,
    pub(super) key: String,
    pub(super) queue: String,
}

/// The arguments of a queue, as far as they are simulated.
#[derive(Clone, Default)]
pub(super) struct QueueLimits {
    /// A full queue refuses publishes.
    pub(super) max_length: Option<usize>,
    /// The queue that gets messages when their expiration is over, or when they are rejected.
    pub(super) dead_letters_to: Option<String>,
}

/// What the broker sends on a channel.
pub(super) enum Event {
    /// The answer to the oldest request of this channel that has none.
    Answer(Answer),
    Deliver {
        tag: String,
        delivery: Delivered,
    },
    Return(Publish),
    Confirm {
        number: u64,
        /// All earlier publishes of the channel are confirmed too.
        multiple: bool,
        ack: bool,
    },
    CancelConsumer(String),
    CloseChannel(Error),
}

pub(super) enum Answer {
    Done,
    Message(Option<Box<Delivered>>),
}

pub(in crate::broker::amqp) struct Delivered {
    pub(super) number: u64,
    pub(super) redelivered: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Binding {
    pub(super) fn new(exchange: &ShortString, key: &ShortString, queue: &ShortString) -> Self {
        let [exchange, key, queue] = [exchange, key, queue].map(ToString::to_string);
        Self {
            exchange,
            key,
            queue,
        }
    }
}

impl From<&FieldTable> for QueueLimits {
    fn from(arguments: &FieldTable) -> Self {
        let arguments = arguments.inner();
        let max_length = match arguments.get("x-max-length") {
            Some(AMQPValue::LongInt(limit)) => usize::try_from(*limit).ok(),
            _ => None,
        };
        // Dead letters go through the default exchange.
        let dead_letters_to = match arguments.get("x-dead-letter-routing-key") {
            Some(AMQPValue::LongString(queue)) => Some(queue.to_string()),
            _ => None,
        };
        Self {
            max_length,
            dead_letters_to,
        }
    }
}
