//! The interface between the engine and a broker.
//!
//! The engine asks for deliveries, publishes events and settles deliveries. The adapter handles routing keys,
//! properties, retries, reconnects and rebound delays. [`amqp`](super::amqp) is the adapter for RabbitMQ, and `memory`
//! is the adapter for the engine's tests and for counting its instructions.

use super::message_memory::MessageMemory;
use crate::{
    codes::{self, Code},
    monitoring::trace,
    protocol::{Headers, MAX_LOGGED_ID, truncated},
};
use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::Span;

/// One message as the broker delivered it. `H` is the adapter's handle to settle it.
pub(crate) struct Delivery<H> {
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
    /// The size of a body, in bytes, that does not fit in memory even alone. It was not read, and `body` is empty.
    pub(crate) withheld: Option<usize>,
    /// The broker has delivered this message before: to this process on an earlier connection, or to another process.
    pub(crate) redelivered: bool,
    pub(crate) generation: Arc<Generation>,
    pub(crate) handle: H,
}

impl<H> Delivery<H> {
    /// Returns the same delivery with a handle that can be shared.
    pub(crate) fn shared(self) -> Delivery<Arc<H>> {
        Delivery {
            headers: self.headers,
            body: self.body,
            withheld: self.withheld,
            redelivered: self.redelivered,
            generation: self.generation,
            handle: Arc::new(self.handle),
        }
    }
}

impl<H> fmt::Debug for Delivery<H> {
    /// Prints nothing of the message's contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Delivery({} bytes, generation {})",
            self.body.len(),
            self.generation.number
        )
    }
}

/// All deliveries of one channel. They can be settled until the next generation begins.
///
/// A settlement that was sent has not necessarily arrived, and the broker does not confirm it. So the adapter makes
/// round trips on the channel that carries the settlements: the response to one proves that everything sent before it
/// has arrived.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The number of the generation; each new generation counts one up.
    pub(crate) number: u32,
    /// How often the broker has been unavailable so far. After an outage it may have forgotten settlements that had
    /// arrived.
    pub(crate) outages: u32,
    started: AtomicU32,
    completed: AtomicU32,
    pending: Notify,
}

impl Generation {
    pub(crate) fn new(number: u32, outages: u32) -> Self {
        Self {
            number,
            outages,
            started: AtomicU32::new(0),
            completed: AtomicU32::new(0),
            pending: Notify::new(),
        }
    }

    /// For the engine: notes that a settlement was sent. Returns the argument for [`has_received`](Self::has_received).
    pub(crate) fn settlement_sent(&self) -> u32 {
        // Read before the notification, which starts a round trip with a later number.
        let started = self.started.load(SeqCst);
        self.pending.notify_one();
        started
    }

    /// Returns whether the broker is known to have a settlement. Only a round trip that started after it proves that.
    pub(crate) fn has_received(&self, sent: u32) -> bool {
        sent < self.completed.load(SeqCst)
    }

    /// For the adapter: waits until a settlement needs proof, and returns the number of the round trip to start.
    pub(crate) async fn next_roundtrip(&self) -> u32 {
        self.pending.notified().await;
        self.started.fetch_add(1, SeqCst) + 1
    }

    /// For the adapter: the broker has responded to this round trip.
    pub(crate) fn roundtrip_done(&self, roundtrip: u32) {
        self.completed.fetch_max(roundtrip, SeqCst);
    }
}

/// What the engine decides about a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The message is processed, and the broker removes it.
    Acknowledged,
    /// The message failed, and an error event gives the reason. The queue's dead-letter policy applies.
    Rejected,
}

/// Whether a verdict is on its way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SettleOutcome {
    /// It is sent, unless the generation ends first. Only a round trip proves that it has arrived.
    Sent,
    /// Nothing was sent, because the delivery's generation is over. The broker will deliver the message again.
    NotSent,
}

/// Where an event goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The next step.
    Data,
    /// A routing key that the module chose.
    Custom(String),
    Error,
    Snapshot,
    UpdateKeys,
    /// The `reply_to` of the incoming message.
    Reply(String),
}

/// An event ready to be published: encrypted, with all its headers. It does not implement `Debug`, because snapshots
/// are not encrypted.
#[derive(Clone)]
pub(crate) struct Publication {
    pub(crate) route: Route,
    pub(crate) headers: Headers,
    pub(crate) body: Bytes,
}

/// Why an event was not published. It is returned after all attempts and waits.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "Failed on publishing {} message to MQ: {reason}",
    truncated(message_id, MAX_LOGGED_ID)
)]
pub(crate) struct PublishError {
    pub(crate) message_id: String,
    pub(crate) reason: String,
    pub(crate) kind: PublishErrorKind,
}

impl PublishError {
    fn closed() -> Self {
        Self {
            message_id: String::new(),
            reason: "the connection was closed on shutdown".into(),
            kind: PublishErrorKind::Closed,
        }
    }

    /// Returns the code of this error, for log lines and error events.
    pub(crate) fn code(&self) -> Code {
        match self.kind {
            PublishErrorKind::Unbound => codes::EVENT_UNBOUND,
            PublishErrorKind::HeadersTooLarge => codes::EVENT_HEADERS_TOO_LARGE,
            PublishErrorKind::Rejected => codes::EVENT_REJECTED,
            PublishErrorKind::Closed | PublishErrorKind::Other => codes::EVENT_NOT_PUBLISHED,
        }
    }

    /// Returns whether the message can never be published, on any broker connection.
    pub(crate) fn is_of_the_message(&self) -> bool {
        use PublishErrorKind::{HeadersTooLarge, Rejected};
        matches!(self.kind, HeadersTooLarge | Rejected)
    }
}

/// What prevented a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishErrorKind {
    /// No queue is bound to the routing key.
    Unbound,
    /// The headers do not fit in one frame.
    HeadersTooLarge,
    /// The broker rejects the message: it is too large, or malformed.
    Rejected,
    /// The transport is closed because the process stops.
    Closed,
    /// Any other reason, for example a failed last attempt.
    Other,
}

impl PublishErrorKind {
    /// The kind in traces.
    fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
            Self::Other => "_OTHER",
        }
    }
}

/// A message has been rebounded as often as the settings allow.
#[derive(Debug, thiserror::Error)]
#[error("Rebound limit exceeded")]
pub(crate) struct ReboundLimitExceeded;

/// The transport has failed permanently: waiting would not help.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TransportError(pub(crate) String);

/// What became of a publish: the broker has confirmed it, or it is certain that it will not be confirmed.
pub(crate) type PublishResult = Result<(), PublishError>;

/// Resolves when it is known what became of a publish.
///
/// Dropping it does not cancel the publish.
#[derive(Debug)]
pub(crate) struct Confirm(oneshot::Receiver<PublishResult>);

/// Tells what became of a publish, exactly once. If it is dropped before, it tells that the transport is closed.
pub(crate) struct ConfirmSender {
    receiver: Option<Receiver>,
    /// The publish in the trace of the message.
    span: Span,
}

enum Receiver {
    Confirm(oneshot::Sender<PublishResult>),
    Call(Box<dyn FnOnce(PublishResult) + Send + Sync>),
}

impl ConfirmSender {
    /// Calls `on_end`. That happens on the thread of the broker's connections, so it must not take long.
    pub(crate) fn calling(on_end: impl FnOnce(PublishResult) + Send + Sync + 'static) -> Self {
        Self::of(Receiver::Call(Box::new(on_end)))
    }

    fn of(receiver: Receiver) -> Self {
        Self {
            receiver: Some(receiver),
            span: Span::none(),
        }
    }

    /// The same as a part of a trace: the span ends with it.
    pub(crate) fn with_span(mut self, span: Span) -> Self {
        self.span = span;
        self
    }

    pub(crate) fn send(mut self, result: PublishResult) {
        self.tell(result);
    }

    /// Returns whether nobody waits for the result any more.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(&self.receiver, Some(Receiver::Confirm(sender)) if sender.is_closed())
    }

    fn tell(&mut self, result: PublishResult) {
        if let Err(error) = &result {
            trace::fail(&self.span, error.kind.name());
        }
        drop(std::mem::replace(&mut self.span, Span::none()));
        let receiver = self.receiver.take();
        // This wakes what the module waits with. A panic in it must not end the task of all publishes.
        let telling = AssertUnwindSafe(|| match receiver {
            Some(Receiver::Confirm(sender)) => drop(sender.send(result)),
            Some(Receiver::Call(on_end)) => on_end(result),
            None => {}
        });
        let _ = catch_unwind(telling);
    }
}

impl Drop for ConfirmSender {
    fn drop(&mut self) {
        if self.receiver.is_some() {
            self.tell(Err(PublishError::closed()));
        }
    }
}

impl Confirm {
    pub(crate) fn channel() -> (ConfirmSender, Self) {
        let (sender, receiver) = oneshot::channel();
        let sender = ConfirmSender::of(Receiver::Confirm(sender));
        (sender, Self(receiver))
    }

    /// A confirm that has resolved already.
    pub(crate) fn ready(result: PublishResult) -> Self {
        let (sender, confirm) = Self::channel();
        sender.send(result);
        confirm
    }
}

impl Future for Confirm {
    type Output = PublishResult;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = Pin::new(&mut self.0).poll(cx);
        result.map(|result| result.unwrap_or_else(|_| Err(PublishError::closed())))
    }
}

/// Deliveries in the order of the queue. An error is the last item.
pub(crate) type Deliveries<H> = mpsc::UnboundedReceiver<Result<Delivery<H>, TransportError>>;

/// Delivers messages and publishes events.
pub(crate) trait Transport: Send + Sync + 'static {
    /// What the adapter needs to settle or rebound a delivery.
    type Handle: Send + Sync + 'static;

    /// Starts deliveries, at most `prefetch` of them unsettled at once. The adapter reconnects without limit; only an
    /// error that waiting cannot fix ends the deliveries. Called once.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing is delivered, and the transport can only be closed.
    fn consume(
        &self,
    ) -> impl Future<Output = Result<Deliveries<Self::Handle>, TransportError>> + Send;

    /// Returns the memory that messages take.
    fn memory(&self) -> &Arc<MessageMemory>;

    /// Queues an event. Events are published in the order of these calls; a retried one is published later. `confirm` is
    /// told what became of it.
    fn publish_to(&self, publication: Publication, confirm: ConfirmSender);

    /// The same. The result resolves when it is known what became of the event.
    fn publish(&self, publication: Publication) -> Confirm {
        let (sender, confirm) = Confirm::channel();
        self.publish_to(publication, sender);
        confirm
    }

    /// Queues the message itself to be delivered again later, with its own bytes and headers (wire-contract: Rebounds,
    /// wire-contract: Rebound expiration).
    fn rebound_to(
        &self,
        handle: &Self::Handle,
        body: Bytes,
        reason: &str,
        confirm: impl FnOnce() -> ConfirmSender,
    ) -> Result<(), ReboundLimitExceeded>;

    /// The same. The result resolves when it is known what became of the message.
    #[cfg(test)]
    fn rebound(
        &self,
        handle: &Self::Handle,
        body: Bytes,
        reason: &str,
    ) -> Result<Confirm, ReboundLimitExceeded> {
        let (sender, confirm) = Confirm::channel();
        self.rebound_to(handle, body, reason, || sender)?;
        Ok(confirm)
    }

    /// Tells the broker the verdict on a delivery. Does not wait until it is written.
    fn settle(&self, handle: &Self::Handle, verdict: Verdict) -> SettleOutcome;

    /// Returns whether events can still be published. After an error that ended only the deliveries, running messages can
    /// be finished.
    fn can_publish(&self) -> bool;

    /// Stops new deliveries; earlier ones can still be settled. Waits a limited time for the broker's response.
    fn stop_consuming(&self) -> impl Future<Output = ()> + Send;

    /// Begins to close everything, and waits for nothing. Events that are retried end too: nobody is left to wait for them.
    fn disconnect(&self);

    /// Closes everything in limited time. Unsettled messages return to the queue, unpublished events fail.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_sender_in_a_trace_knows_that_nobody_waits() {
        let (sender, confirm) = Confirm::channel();
        let sender = sender.with_span(tracing::info_span!("publish"));
        assert!(!sender.is_closed());
        drop(confirm);
        assert!(sender.is_closed());
    }

    #[test]
    fn a_sender_that_is_dropped_tells_so_once() {
        let (told, results) = std::sync::mpsc::channel();
        drop(ConfirmSender::calling({
            let told = told.clone();
            move |result| told.send(result).unwrap()
        }));
        let error = results.recv().unwrap().unwrap_err();
        assert_eq!(error.kind, PublishErrorKind::Closed);
        ConfirmSender::calling(move |result| told.send(result).unwrap()).send(Ok(()));
        assert!(results.recv().unwrap().is_ok());
        assert!(results.recv().is_err(), "nothing is told twice");
    }

    #[test]
    fn a_panic_of_whoever_is_told_goes_no_further() {
        ConfirmSender::calling(|_| panic!("expected")).send(Ok(()));
    }

    #[test]
    fn a_publish_error_truncates_a_long_id() {
        let error = |id: &str| PublishError {
            message_id: id.to_owned(),
            reason: "x".into(),
            kind: PublishErrorKind::Other,
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
        let first = generation.settlement_sent();
        let roundtrip = generation.next_roundtrip().await;
        let second = generation.settlement_sent();
        assert!(!generation.has_received(first), "it is not completed yet");
        generation.roundtrip_done(roundtrip);
        assert!(generation.has_received(first) && !generation.has_received(second));
        let roundtrip = generation.next_roundtrip().await;
        generation.roundtrip_done(roundtrip);
        assert!(generation.has_received(second));
    }

    #[tokio::test]
    async fn no_roundtrip_starts_before_a_settlement() {
        let generation = Generation::new(1, 0);
        assert!(generation.next_roundtrip().now_or_never().is_none());
        for _ in 0..3 {
            generation.settlement_sent();
        }
        assert!(generation.next_roundtrip().now_or_never().is_some());
        assert!(
            generation.next_roundtrip().now_or_never().is_none(),
            "one round trip is for all"
        );
    }
}
