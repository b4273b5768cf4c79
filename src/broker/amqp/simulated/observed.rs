//! What a simulation is told about everything that happens between its clients and the broker.

use super::{frames::Settlement, rules::ChannelId};
use crate::protocol::Headers;
use bytes::Bytes;

/// What became of a publish at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every bound queue has taken it.
    Taken,
    /// No queue is bound.
    Returned,
    /// A bound queue is full.
    Nacked,
    /// The broker has closed the channel because of it.
    Refused,
}

/// Something that has happened. Messages have numbers that no client sees.
pub(crate) enum Observed {
    /// At the broker: a message has come into a queue, from this connection.
    Enqueued {
        queue: String,
        number: u64,
        from: Option<u64>,
        headers: Headers,
        body: Bytes,
    },
    /// At the broker: a message is on its way to a client.
    Delivered {
        channel: ChannelId,
        delivery: u64,
        number: u64,
        redelivered: bool,
    },
    /// At the broker: a verdict has arrived.
    Settled {
        connection: u64,
        number: u64,
        settlement: Settlement,
    },
    /// At the broker: a verdict has arrived on a delivery that is settled or unknown.
    SettledTwice { connection: u64 },
    /// At the broker: a message is back in its queue.
    Requeued { number: u64 },
    /// At the broker: a publish has arrived. The number counts the publishes of its channel.
    Published {
        channel: ChannelId,
        number: u64,
        key: String,
        headers: Headers,
        body: Bytes,
        outcome: Outcome,
    },
    /// At the client: a delivery has arrived. The number counts the deliveries of its channel.
    Received { channel: ChannelId, delivery: u64 },
    /// At the client: a verdict is sent.
    SettlementSent { channel: ChannelId, delivery: u64 },
    /// At the client: a publish is confirmed.
    Confirmed {
        channel: ChannelId,
        number: u64,
        ack: bool,
    },
    /// At the client: a return has arrived.
    ReturnReceived {
        channel: ChannelId,
        key: String,
        body: Bytes,
    },
    /// The client has learned that its connection is lost.
    Lost { connection: u64 },
    /// A client has connected.
    Connected {
        connection: u64,
        user: String,
        name: String,
    },
    /// No more frames pass.
    Cut { connection: u64 },
}
