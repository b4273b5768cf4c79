//! What users of the broker see of its traffic: messages, events and queue depths.

use amq_protocol::protocol::BasicProperties;
use bytes::Bytes;
use std::{fmt, net::SocketAddr, sync::Arc};

/// One message as it lies in a queue.
#[derive(Clone, PartialEq)]
pub struct Message {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: String,
    /// The routing key it was published with.
    pub routing_key: String,
    /// Content properties, with the header table.
    pub properties: BasicProperties,
    /// The content.
    pub body: Bytes,
    /// Somebody has had it before and gave it back, or went away without settling it.
    pub redelivered: bool,
}

/// Shows where the message goes and how large it is, never what is in it.
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

/// How full a queue is. All zero for a queue that does not exist.
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
    /// The word that the `x-death` header has for it.
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
        /// The `connection_name` that the client gave itself, else empty.
        name: String,
        /// The client's end of the socket.
        peer: SocketAddr,
    },
    /// A client that was connected is gone, however it went.
    Disconnected {
        /// The broker's number of the connection.
        connection: u64,
        /// The `connection_name` that the client gave itself, else empty.
        name: String,
    },
    /// A message arrived and was put into these queues; none when nothing is bound.
    Published {
        /// The message.
        message: Arc<Message>,
        /// Names of the queues that took it.
        queues: Vec<String>,
    },
    /// A mandatory message went back to its publisher, because no queue took it.
    Returned {
        /// The message.
        message: Arc<Message>,
    },
    /// The publisher was told with a nack that the message is not taken.
    Refused {
        /// The message.
        message: Arc<Message>,
    },
    /// A message went to a consumer, or was fetched.
    Delivered {
        /// The queue it lay in.
        queue: String,
        /// The consumer; none when it was fetched with `basic.get`.
        consumer_tag: Option<String>,
        /// The number by which the client settles it.
        delivery_tag: u64,
        /// The message.
        message: Arc<Message>,
    },
    /// A consumer acknowledged a message.
    Acked {
        /// The queue it lay in.
        queue: String,
        /// The message.
        message: Arc<Message>,
    },
    /// A consumer rejected a message.
    Rejected {
        /// The queue it lay in.
        queue: String,
        /// Whether it went back into the queue.
        requeue: bool,
        /// The message.
        message: Arc<Message>,
    },
    /// A message went back into its queue, because its channel or connection ended or asked for recovery.
    Requeued {
        /// The queue it lies in again.
        queue: String,
        /// The message.
        message: Arc<Message>,
    },
    /// A message's time to live ran out.
    Expired {
        /// The queue it lay in.
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
        /// The message as it is published there, with its `x-death` header.
        message: Arc<Message>,
    },
    /// A message was thrown away: rejected, expired or over a limit, with no dead-letter exchange to take it.
    Dropped {
        /// The queue it lay in.
        queue: String,
        /// Why.
        reason: DeathReason,
        /// The message.
        message: Arc<Message>,
    },
}
