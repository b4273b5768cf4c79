//! One message to publish, with all its attempts (wire-contract: Publish properties, wire-contract: Confirms and
//! retries).

use super::{
    attempt_error::AttemptError,
    properties::{self, Properties},
    table,
};
use crate::{
    broker::transport::{ConfirmSender, PublishError, PublishErrorKind},
    clients::retry::RetryPolicy,
    protocol::Headers,
};
use bytes::Bytes;
use lapin::types::ShortString;
use std::time::Duration;
use tokio::time::Instant;

/// How long to wait for the confirm of a message that was sent alone. It doubles, because a large message takes long on
/// a slow connection. Nothing else is published during this time.
const ISOLATION_TIMEOUT: RetryPolicy =
    RetryPolicy::doubling(Duration::from_secs(5), Duration::from_secs(320));

/// The limits of the delay between attempts of an event whose binding is lost. Such an event is not urgent, and a
/// restored binding is used soon.
const MIN_BINDING_DELAY: Duration = Duration::from_millis(100);
const MAX_BINDING_DELAY: Duration = Duration::from_secs(5);

/// The kind of an event. It decides what a missing binding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum EventKind {
    /// Data, under the step's key or under one that the module chose. A flow can end there.
    Data,
    /// A snapshot. Not every platform stores them.
    Snapshot,
    /// A rebounded message. It waits for a binding.
    Rebound,
    /// An error event. It waits for a binding.
    Error,
    /// A reply or new credentials. Something waits for it, so it fails after a few attempts, even if a queue was bound
    /// before.
    Reply,
}

/// One message with all its attempts. It is boxed, because it moves from one list to another.
pub(super) struct PendingPublish {
    pub(super) kind: EventKind,
    pub(super) routing_key: ShortString,
    /// The header `messageId`; empty if there is none.
    pub(super) message_id: String,
    pub(super) body: Bytes,
    /// When it was handed over, if somebody reads the metrics.
    pub(super) queued_at: Option<Instant>,
    /// As AMQP writes them.
    properties: Bytes,
    failed_attempts: u32,
    /// How many of the failed attempts were returned because no queue was bound.
    pub(super) returns: u32,
    /// When the first of these attempts failed. Set for an event that waits for a binding on its own.
    pub(super) first_returned_at: Option<Instant>,
    /// The broker has returned the current attempt.
    pub(super) returned: bool,
    /// This message probes, for all others with its routing key, whether a queue is bound.
    pub(super) is_probe: bool,
    /// The broker closed the channel because of this message or of another one that was in flight.
    isolate: bool,
    /// The current attempt was sent while nothing else was in flight.
    sent_alone: bool,
    /// How often it was sent alone and not confirmed in time.
    isolation_timeouts: u32,
    confirm: ConfirmSender,
}

impl PendingPublish {
    /// Creates a message without an attempt. `properties` are as AMQP writes them. `confirm` is told when it is confirmed or
    /// has failed.
    pub(super) fn new(
        kind: EventKind,
        routing_key: ShortString,
        properties: Vec<u8>,
        body: Bytes,
        confirm: ConfirmSender,
    ) -> Box<Self> {
        Box::new(Self {
            kind,
            routing_key,
            message_id: properties::message_id(&properties),
            body,
            queued_at: None,
            properties: properties.into(),
            failed_attempts: 0,
            returns: 0,
            first_returned_at: None,
            returned: false,
            is_probe: false,
            isolate: false,
            sent_alone: false,
            isolation_timeouts: 0,
            confirm,
        })
    }

    /// Returns whether the next attempt is a retry.
    pub(super) fn is_retry(&self) -> bool {
        self.failed_attempts > 0
    }

    pub(super) fn failed_attempts(&self) -> u32 {
        self.failed_attempts
    }

    /// Returns whether nothing waits for the confirm any more. The contents, such as credentials, may be out of date
    /// then.
    pub(super) fn is_abandoned(&self) -> bool {
        self.confirm.is_closed()
    }

    /// Returns whether the next attempt must be sent while nothing else is in flight.
    pub(super) fn must_go_alone(&self) -> bool {
        self.isolate
    }

    /// Returns how long to wait for the confirm while nothing else is sent.
    pub(super) fn isolation_timeout(&self) -> Duration {
        ISOLATION_TIMEOUT.delay_after(self.isolation_timeouts.saturating_add(1))
    }

    /// Notes that the broker refused this message together with all others. It may have arrived before that, so the next
    /// attempt is a retry, but no attempt is used up.
    pub(super) fn record_refusal(&mut self) {
        self.failed_attempts = self.failed_attempts.max(1);
    }

    /// Makes this message go alone.
    pub(super) fn isolate(&mut self) {
        self.isolate = true;
    }

    /// Notes that the confirm of this message, or of one that was in flight with it, took too long. It need not be sent
    /// alone any more.
    pub(super) fn clear_isolation(&mut self) {
        if std::mem::take(&mut self.isolate) {
            self.isolation_timeouts += 1;
        }
    }

    /// Records that an attempt begins. `alone` means that nothing else is in flight.
    pub(super) fn mark_sent(&mut self, alone: bool) {
        self.sent_alone = alone;
        self.returned = false;
    }

    /// Returns the properties of the next attempt. Retries carry the header `retry`.
    ///
    /// # Errors
    /// Returns the length of their frame if it is longer than `frame_max` bytes. AMQP cannot split headers over several
    /// frames, so the broker would close the connection at every attempt.
    pub(super) fn properties_to_send(&self, frame_max: usize) -> Result<Bytes, usize> {
        /// Room for the header `retry`, before it is needed: the length of a table, the name, and an integer.
        const RETRY: usize = 4 + 6 + 9;
        let (properties, reserve) = if self.is_retry() {
            (self.retry_properties().into(), 0)
        } else {
            (self.properties.clone(), RETRY)
        };
        let length = header_frame_len(&properties) + reserve;
        if length > frame_max {
            return Err(length);
        }
        Ok(properties)
    }

    fn retry_properties(&self) -> Vec<u8> {
        let mut properties = Properties::read(&self.properties);
        let retry = Headers::from_iter([("retry".to_owned(), self.failed_attempts.into())]);
        let headers = table::with(properties.headers(), &retry);
        properties.set_headers(&headers);
        properties.write()
    }

    /// Records a failed attempt. The caller decides on the delay.
    pub(super) fn record_attempt(&mut self) {
        self.failed_attempts = self.failed_attempts.saturating_add(1);
    }

    /// Records a failed attempt. Returns the delay before the next one, or `None` if no attempt is left.
    pub(super) fn record_failure(
        &mut self,
        error: &AttemptError,
        policy: &RetryPolicy,
    ) -> Option<Duration> {
        self.record_attempt();
        if let AttemptError::Rejected(_) = error {
            return self.record_rejection();
        }
        let is_unroutable = matches!(error, AttemptError::Unroutable);
        let has_limit = !(is_unroutable && self.kind == EventKind::Error);
        let is_exhausted = policy
            .attempts
            .is_some_and(|attempts| self.failed_attempts >= attempts);
        if has_limit && is_exhausted {
            return None;
        }
        let delay = policy.delay_after(self.failed_attempts);
        Some(if is_unroutable {
            delay.clamp(MIN_BINDING_DELAY, MAX_BINDING_DELAY)
        } else {
            delay
        })
    }

    /// Records that the broker closed the channel because of a message. A new channel is opened at once, so there is no
    /// delay.
    fn record_rejection(&mut self) -> Option<Duration> {
        let is_the_reason = self.isolate && self.sent_alone;
        self.isolate = true;
        (!is_the_reason).then_some(Duration::ZERO)
    }

    /// The message is published, or no queue needs it.
    pub(super) fn succeed(self) {
        self.confirm.send(Ok(()));
    }

    /// The message is not published.
    pub(super) fn fail(self, kind: PublishErrorKind, reason: String) {
        self.confirm.send(Err(PublishError {
            message_id: self.message_id,
            reason,
            kind,
        }));
    }
}

/// Returns the length of the frame with these properties, in bytes.
fn header_frame_len(properties: &[u8]) -> usize {
    /// Frame, class, weight and body size.
    const FIXED: usize = 20;
    FIXED + properties.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::{BasicProperties, Error, ErrorKind, protocol::AMQPError};
    use serde_json::{Value, json};

    fn policy(attempts: Option<u32>) -> RetryPolicy {
        RetryPolicy {
            attempts,
            ..RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(300))
        }
    }

    fn pending() -> Box<PendingPublish> {
        let confirm = ConfirmSender::calling(drop);
        PendingPublish::new(
            EventKind::Data,
            "k".into(),
            properties::of_client(&BasicProperties::default()),
            Bytes::new(),
            confirm,
        )
    }

    fn rejected() -> AttemptError {
        let error = AMQPError::from_id(406, "PRECONDITION_FAILED".into()).unwrap();
        AttemptError::Rejected(ErrorKind::ProtocolError(error).into())
    }

    fn unconfirmed() -> AttemptError {
        AttemptError::Unconfirmed(Error::from(ErrorKind::MissingHeartbeatError))
    }

    #[test]
    fn the_retry_delay_doubles_up_to_the_limit() {
        let (policy, mut pending) = (policy(None), pending());
        let mut delays = Vec::new();
        for _ in 0..14 {
            delays.push(pending.record_failure(&AttemptError::Nacked, &policy));
        }
        for (failures, millis) in [(1, 100), (2, 200), (3, 400), (12, 204_800), (13, 300_000)] {
            let expected = Duration::from_millis(millis);
            assert_eq!(delays[failures - 1], Some(expected), "{failures}");
        }
    }

    #[test]
    fn the_attempt_limit_counts_all_attempts() {
        for (attempts, error, expected) in [
            (Some(1), AttemptError::Nacked, 1),
            (Some(3), AttemptError::Nacked, 3),
            (Some(3), AttemptError::Unroutable, 3),
            (Some(1), rejected(), 2),
            (None, rejected(), 2),
        ] {
            let mut pending = pending();
            pending.mark_sent(true);
            let mut made = 1;
            while pending.record_failure(&error, &policy(attempts)).is_some() {
                made += 1;
            }
            assert_eq!(made, expected, "{attempts:?} {error:?}");
        }
    }

    #[test]
    fn only_a_message_sent_alone_is_blamed_for_a_closed_channel() {
        let policy = policy(None);
        let mut pending = pending();
        for _ in 0..3 {
            pending.mark_sent(false);
            let delay = pending.record_failure(&rejected(), &policy);
            assert_eq!(delay, Some(Duration::ZERO));
        }
        pending.mark_sent(true);
        pending.clear_isolation();
        assert_eq!(pending.isolation_timeout(), Duration::from_secs(10));
        assert!(
            pending.record_failure(&rejected(), &policy).is_some(),
            "it no longer had to be sent alone"
        );
        pending.mark_sent(true);
        assert_eq!(pending.record_failure(&rejected(), &policy), None);
    }

    #[test]
    fn the_time_of_one_sent_alone_doubles_up_to_320_seconds() {
        let mut pending = pending();
        for seconds in [5, 10, 20, 40, 80, 160, 320, 320] {
            assert_eq!(pending.isolation_timeout(), Duration::from_secs(seconds));
            pending.isolate();
            pending.clear_isolation();
        }
    }

    #[test]
    fn without_a_limit_there_is_always_another_attempt() {
        let policy = policy(None);
        let mut pending = pending();
        for _ in 0..1000 {
            let nacked = pending.record_failure(&AttemptError::Nacked, &policy);
            assert!(nacked.is_some());
            let unroutable = pending.record_failure(&AttemptError::Unroutable, &policy);
            assert!(unroutable.is_some_and(|delay| delay <= Duration::from_secs(5)));
            let lost = pending.record_failure(&unconfirmed(), &policy);
            assert!(lost.is_some());
        }
    }

    #[test]
    fn a_retry_carries_the_retry_header() {
        let headers_of = |pending: &PendingPublish| {
            let properties = pending.properties_to_send(usize::MAX).unwrap();
            properties::headers(&properties)
        };
        let mut pending = pending();
        assert_eq!(headers_of(&pending), Headers::new());
        pending.record_failure(&AttemptError::Nacked, &policy(None));
        pending.record_failure(&AttemptError::Nacked, &policy(None));
        assert_eq!(Value::Object(headers_of(&pending)), json!({"retry": 2}));
    }

    #[test]
    fn the_frame_of_the_properties_has_room_for_a_retry() {
        let mut pending = pending();
        let length = 20 + pending.properties.len();
        assert_eq!(pending.properties_to_send(length + 18), Err(length + 19));
        assert!(pending.properties_to_send(length + 19).is_ok());
        pending.failed_attempts = u32::MAX;
        assert!(pending.properties_to_send(length + 18).is_err());
        assert!(pending.properties_to_send(length + 19).is_ok());
    }
}
