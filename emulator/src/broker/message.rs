//! Messages, events and queue depths, as users of the broker see them.

use amq_protocol::protocol::BasicProperties;
use bytes::Bytes;
use std::{fmt, net::SocketAddr, sync::Arc};

/// One message in a queue.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// The properties of the message, with the header table.
    pub properties: BasicProperties,
    /// The content.
    pub body: Bytes,
    /// It was delivered before and requeued.
    pub redelivered: bool,
}

/// Shows where the message goes and its size, but not its contents.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("exchange", &self.exchange)
            .field("routing_key", &self.routing_key)
            .field("bytes", &self.body.len())
            .field("redelivered", &self.redelivered)
            .finish_non_exhaustive()
    }
}

/// How many messages and consumers a queue has. All zero for a queue that does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages waiting for a consumer.
    pub ready: usize,
    /// Messages delivered and not settled yet.
    pub unacked: usize,
    /// Consumers subscribed.
    pub consumers: usize,
}

/// Why a message left its queue for the dead-letter exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeathReason {
    /// A consumer rejected it without requeue.
    Rejected,
    /// Its time to live ran out.
    Expired,
    /// The queue was over its length limit.
    MaxLength,
}

impl DeathReason {
    /// The reason in the `x-death` header.
    pub fn as_str(self) -> &'static str {
        match self {
            DeathReason::Rejected => "rejected",
            DeathReason::Expired => "expired",
            DeathReason::MaxLength => "maxlen",
        }
    }
}

/// Something that happened in the broker, see [`Broker::watch`](super::Broker::watch).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A client has finished its handshake.
    Connected {
        /// The broker's number of the connection.
        connection: u64,
        /// The client's `connection_name`; empty when it has none.
        name: String,
        /// The client's end of the socket.
        peer: SocketAddr,
    },
    /// The connection of a client has ended.
    Disconnected {
        /// The broker's number of the connection.
        connection: u64,
        /// The client's `connection_name`; empty when it has none.
        name: String,
    },
    /// A message was published and put into these queues; none when nothing is bound.
    Published {
        /// The message.
        message: Arc<Message>,
        /// Names of the queues that took it.
        queues: Vec<String>,
    },
    /// A mandatory message was returned to its publisher, because no queue is bound.
    Returned {
        /// The message.
        message: Arc<Message>,
    },
    /// A message was refused; the publisher got a nack.
    Refused {
        /// The message.
        message: Arc<Message>,
    },
    /// A message was delivered to a consumer, or fetched.
    Delivered {
        /// The queue.
        queue: String,
        /// The consumer; none when it was fetched with `basic.get`.
        consumer_tag: Option<String>,
        /// The delivery tag.
        delivery_tag: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A consumer acknowledged a message.
    Acked {
        /// The queue.
        queue: String,
        /// The message.
        message: Arc<Message>,
    },
    /// A consumer rejected a message.
    Rejected {
        /// The queue.
        queue: String,
        /// Whether it was requeued.
        requeue: bool,
        /// The message.
        message: Arc<Message>,
    },
    /// A message was requeued, because its channel or connection ended or asked for it.
    Requeued {
        /// The queue.
        queue: String,
        /// The message.
        message: Arc<Message>,
    },
    /// A message's time to live ran out.
    Expired {
        /// The queue.
        queue: String,
        /// The message.
        message: Arc<Message>,
    },
    /// A message left its queue for the dead-letter exchange.
    DeadLettered {
        /// The queue it left.
        queue: String,
        /// Why.
        reason: DeathReason,
        /// The dead-letter exchange.
        exchange: String,
        /// The message as it was published there, with its `x-death` header.
        message: Arc<Message>,
    },
    /// A message was dropped: it was rejected, expired or over a limit, and there is no dead-letter exchange.
    Dropped {
        /// The queue.
        queue: String,
        /// Why.
        reason: DeathReason,
        /// The message.
        message: Arc<Message>,
    },
}
