//! The seam between the engine and whatever carries the platform's messages.
//!
//! The engine asks for deliveries, publishes events and settles deliveries; routing keys, properties, retries,
//! reconnects and rebound arithmetic are the adapter's. `amqp` is the one adapter there is; the platform's next
//! protocol is to fit as a second one.

use crate::protocol::{Headers, MAX_LOGGED_ID, truncated};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::sync::{Notify, mpsc, oneshot};

/// One message as it came in. `O` is what the adapter needs to settle it.
pub(crate) struct Delivery<O> {
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// Somebody has had this message before: this process on an earlier connection, or another one.
    pub(crate) redelivered: bool,
    pub(crate) generation: Arc<Generation>,
    pub(crate) origin: O,
}

impl<O> fmt::Debug for Delivery<O> {
    /// Nothing of the contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Delivery({} bytes, generation {})",
            self.body.len(),
            self.generation.number
        )
    }
}

/// Deliveries that can be settled for as long as the next generation has not begun.
///
/// That a settlement was sent does not mean that the broker has it. So the adapter asks the broker something on the way
/// that settlements take, again and again: an answer proves that everything sent before the question has arrived.
#[derive(Debug)]
pub(crate) struct Generation {
    /// Counts up.
    pub(crate) number: u32,
    /// How often the broker itself has been away so far: it may have forgotten even what it is known to have had.
    pub(crate) outages: u32,
    asked: AtomicU32,
    answered: AtomicU32,
    sent: Notify,
}

impl Generation {
    pub(crate) fn new(number: u32, outages: u32) -> Self {
        Self {
            number,
            outages,
            asked: AtomicU32::new(0),
            answered: AtomicU32::new(0),
            sent: Notify::new(),
        }
    }

    /// For the engine: a settlement was sent, and whether it has arrived will be asked. Returns what [`Self::has`] takes.
    pub(crate) fn sent(&self) -> u32 {
        // Before the notice: it brings about a question that is later than this number.
        let asked = self.asked.load(SeqCst);
        self.sent.notify_one();
        asked
    }

    /// Whether the broker is known to have a settlement. Only a question that began after it was sent proves that.
    pub(crate) fn has(&self, sent: u32) -> bool {
        sent < self.answered.load(SeqCst)
    }

    /// For the adapter: waits until there is something to ask about, and begins a question. From here on it may go out.
    pub(crate) async fn question(&self) -> u32 {
        self.sent.notified().await;
        self.asked.fetch_add(1, SeqCst) + 1
    }

    /// The broker has answered a question.
    pub(crate) fn answered(&self, question: u32) {
        self.answered.fetch_max(question, SeqCst);
    }
}

/// What becomes of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Acknowledged,
    /// Rejected without requeue: the queue's dead-letter policy decides.
    Rejected,
}

/// Whether a verdict reached the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettleOutcome {
    Sent,
    /// Nothing was sent, since the delivery's generation is over: the broker will deliver the message again.
    NotSent,
    /// The generation ended, or the broker fell silent, while it was sent: it may have arrived.
    Unknown,
}

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The next step.
    Data,
    /// A routing key of the module's own choice.
    Custom(String),
    Error,
    Snapshot,
    UpdateKeys,
    /// Who waits for an answer: the incoming `reply_to`.
    Reply(String),
}

/// An event on its way out: encrypted, with its complete header table. It cannot be printed: snapshots are not
/// encrypted.
#[derive(Clone)]
pub(crate) struct Publication {
    pub(crate) route: Route,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Why an event did not go out. Tries and waits are over when this is returned.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "Failed on publishing {} message to MQ: {cause}",
    truncated(message_id, MAX_LOGGED_ID)
)]
pub(crate) struct PublishError {
    pub(crate) message_id: String,
    pub(crate) cause: String,
    pub(crate) fault: PublishErrorKind,
}

/// What kind of thing keeps an event from going out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishErrorKind {
    /// No queue is bound to its routing key.
    Unbound,
    /// Its headers do not fit in one frame.
    HeadersTooLarge,
    /// The broker takes no such message: it is too large, or malformed.
    Rejected,
    /// The transport is closed: the process stops.
    Closed,
    /// Anything else, such as the end of its tries.
    Other,
}

/// The rebound limit is reached.
#[derive(Debug, thiserror::Error)]
#[error("Rebound limit exceeded")]
pub(crate) struct ReboundLimitExceeded;

/// The transport is down for good: nothing that waiting would mend.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TransportError(pub(crate) String);

/// Resolves when the broker has taken the event, or will not. Dropping it changes nothing about the event.
#[derive(Debug)]
pub(crate) struct Receipt(pub(crate) oneshot::Receiver<Result<(), PublishError>>);

impl Future for Receipt {
    type Output = Result<(), PublishError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| {
            result.unwrap_or_else(|_| {
                let cause = "the connection was closed on shutdown".into();
                Err(PublishError {
                    message_id: String::new(),
                    cause,
                    fault: PublishErrorKind::Closed,
                })
            })
        })
    }
}

/// Deliveries in the order of the queue; an error is the last thing that comes.
pub(crate) type Deliveries<O> = mpsc::UnboundedReceiver<Result<Delivery<O>, TransportError>>;

/// Carries messages in and events out.
pub(crate) trait Transport: Send + Sync + 'static {
    /// What is needed to settle or rebound a delivery.
    type Origin: Send + Sync + 'static;

    /// Starts deliveries, at most prefetch of them unsettled at once. Connection losses are mended inside, without
    /// end; only what waiting cannot mend comes out as an error. Called once.
    fn consume(
        &self,
    ) -> impl Future<Output = Result<Deliveries<Self::Origin>, TransportError>> + Send;

    /// Queues an event. Events go out in the order of these calls; one that has to be retried goes out later.
    fn publish(&self, publication: Publication) -> Receipt;

    /// Queues the message itself to come again later, with its own bytes and headers (wire-contract: Rebounds, wire-contract: Rebound expiration).
    fn rebound(
        &self,
        origin: &Self::Origin,
        body: Bytes,
        reason: &str,
    ) -> Result<Receipt, ReboundLimitExceeded>;

    /// Tells the broker what became of a delivery.
    fn settle(
        &self,
        origin: &Self::Origin,
        verdict: Verdict,
    ) -> impl Future<Output = SettleOutcome> + Send;

    /// No new deliveries from here on; those that are out can still be settled. Waits for the broker's answer for a
    /// bounded time.
    fn stop_consuming(&self) -> impl Future<Output = ()> + Send;

    /// Closes everything in bounded time. What is unsettled goes back to the queue, what is unpublished fails.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_error_truncates_a_long_id() {
        let error = |id: &str| PublishError {
            message_id: id.to_owned(),
            cause: "x".into(),
            fault: PublishErrorKind::Other,
        };
        assert_eq!(
            error("m1").to_string(),
            "Failed on publishing m1 message to MQ: x"
        );
        for id in ["i".repeat(130_000), "ü".repeat(70_000)] {
            let text = error(&id).to_string();
            assert!(
                text.len() < 1100 && text.ends_with("… message to MQ: x"),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn only_a_later_roundtrip_confirms_a_settlement() {
        let generation = Generation::new(1, 0);
        let first = generation.sent();
        let question = generation.question().await;
        let second = generation.sent();
        assert!(!generation.has(first), "asked is not answered");
        generation.answered(question);
        assert!(generation.has(first) && !generation.has(second));
        let question = generation.question().await;
        generation.answered(question);
        assert!(generation.has(second));
    }

    #[tokio::test]
    async fn no_roundtrip_starts_before_a_settlement() {
        let generation = Generation::new(1, 0);
        assert!(futures_util::FutureExt::now_or_never(generation.question()).is_none());
        for _ in 0..3 {
            generation.sent();
        }
        assert!(futures_util::FutureExt::now_or_never(generation.question()).is_some());
        assert!(
            futures_util::FutureExt::now_or_never(generation.question()).is_none(),
            "one question is for all"
        );
    }
}
