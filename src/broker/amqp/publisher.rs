//! What goes out: a message with its tries, and the way to the task that sends it (wire-contract: Publish properties, wire-contract: Confirms and retries).

use super::{
    confirms::{Mark, message_id},
    table,
};
use crate::broker::transport::{Confirm, ConfirmSender, PublishError, PublishErrorKind};
use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{FieldTable, ShortShortUInt},
};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};

/// How long a message that may be refused is waited for alone, at first. Nothing else is published meanwhile.
const ALONE: Duration = Duration::from_secs(5);

/// The pauses between tries of an event whose binding is lost: none hurries, and a binding that is back is soon seen.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// What an event is for, as far as a missing binding is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// Data, under the step's key or one of the module's own. A flow may end there.
    Data,
    /// A snapshot. Not every platform collects them.
    Snapshot,
    /// A message that is to come again. It is waited for.
    Rebound,
    /// An error event. It is waited for.
    Error,
    /// For one who waits for it: a reply, new credentials. It fails after a few tries, whatever the key has carried.
    Answer,
}

/// A message on its way out, ready for the wire.
pub(super) struct Outgoing {
    pub(super) purpose: Purpose,
    pub(super) routing_key: String,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl Outgoing {
    /// An event: these properties and no others.
    pub(super) fn event(
        purpose: Purpose,
        routing_key: String,
        headers: FieldTable,
        body: Bytes,
        persistent: bool,
    ) -> Self {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf8".into())
            .with_delivery_mode(delivery_mode(persistent))
            .with_headers(headers);
        Self {
            purpose,
            routing_key,
            properties,
            body,
        }
    }
}

/// 2 is persistent, 1 is not.
pub(super) fn delivery_mode(persistent: bool) -> ShortShortUInt {
    if persistent { 2 } else { 1 }
}

/// The way to the publishing task.
pub(super) struct Publisher {
    jobs: mpsc::UnboundedSender<Job>,
}

impl Publisher {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Job>) {
        let (jobs, queue) = mpsc::unbounded_channel();
        (Self { jobs }, queue)
    }

    /// Queues a message; the receipt tells what became of it.
    pub(super) fn send(&self, outgoing: Outgoing) -> Confirm {
        let message_id = message_id(&outgoing.properties);
        let routing_key = match table::short(&outgoing.routing_key, "the routing key") {
            Ok(routing_key) => routing_key,
            Err(reason) => {
                return Confirm::ready(Err(PublishError {
                    message_id,
                    reason,
                    kind: PublishErrorKind::Other,
                }));
            }
        };
        let (receipt, confirm) = Confirm::channel();
        let job = Job {
            mark: Mark {
                routing_key,
                message_id,
                body: outgoing.body,
            },
            purpose: outgoing.purpose,
            properties: outgoing.properties,
            tries: 0,
            returns: 0,
            returned_since: None,
            is_probe: false,
            suspect: false,
            alone: false,
            acquittals: 0,
            receipt,
        };
        // When the task has ended, the job is dropped with its sender, and the receipt says that all is closed.
        let _ = self.jobs.send(job);
        confirm
    }
}

/// One message with all its tries.
pub(super) struct Job {
    pub(super) mark: Mark,
    pub(super) purpose: Purpose,
    properties: BasicProperties,
    /// Tries that failed.
    tries: u32,
    /// Those of them that no queue got.
    pub(super) returns: u32,
    /// When the first of these was, where that matters.
    pub(super) returned_since: Option<Instant>,
    /// It finds out, for all others under its routing key, whether that leads anywhere.
    pub(super) is_probe: bool,
    /// The channel was closed because of this message or of one that was under way with it.
    suspect: bool,
    /// It went out while nothing else was under way.
    alone: bool,
    /// How often it was suspected, and not answered while it was alone.
    acquittals: u32,
    receipt: ConfirmSender,
}

/// Why a try failed.
pub(super) enum Setback {
    Nacked,
    /// No queue is bound any more where one was.
    Unbound,
    /// The broker closed the channel because of a message, perhaps this one.
    Invalid(String, PublishErrorKind),
    /// The connection broke before the confirm came.
    Unconfirmed(String),
}

impl Job {
    /// Whether this is not the first try.
    pub(super) fn is_retry(&self) -> bool {
        self.tries > 0
    }

    /// Whether nobody waits for it any more: what it says may be out of date by now, as older credentials are.
    pub(super) fn is_given_up(&self) -> bool {
        self.receipt.is_closed()
    }

    /// It goes out, with others under way or without.
    pub(super) fn launched(&mut self, alone: bool) {
        self.alone = alone;
    }

    /// Nothing has come of the suspicion so far.
    pub(super) fn acquit(&mut self) {
        if std::mem::take(&mut self.suspect) {
            self.acquittals += 1;
        }
    }

    /// How long it is to be waited for alone: longer each time, since a large message on a slow line takes its time.
    pub(super) fn time_alone(&self) -> Duration {
        ALONE.saturating_mul(1 << self.acquittals.min(6))
    }

    /// Whether the next try has to be made alone, so that it is clear whose fault it is.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// The properties of the next try.
    pub(super) fn properties(&self) -> BasicProperties {
        let properties = self.properties.clone();
        if !self.is_retry() {
            return properties;
        }
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert("retry".into(), table::integer(self.tries.into()));
        properties.with_headers(headers)
    }

    /// How many bytes the frame with the headers takes, at most.
    pub(super) fn header_frame_len(&self) -> usize {
        /// Frame, class, body size, flags, the properties of fixed size, and a `retry` header.
        const FIXED: usize = 64;
        let p = &self.properties;
        let texts = [
            p.content_type(),
            p.content_encoding(),
            p.correlation_id(),
            p.reply_to(),
            p.expiration(),
            p.message_id(),
            p.kind(),
            p.user_id(),
            p.app_id(),
            p.cluster_id(),
        ];
        let texts: usize = texts
            .into_iter()
            .flatten()
            .map(|text| 1 + text.as_str().len())
            .sum();
        FIXED + texts + p.headers().as_ref().map_or(0, table::encoded_len)
    }

    /// Counts a failed try that says nothing about the next one.
    pub(super) fn count_try(&mut self) {
        self.tries = self.tries.saturating_add(1);
    }

    /// Counts a failed try: the pause before the next one, or that there is none.
    pub(super) fn count(&mut self, setback: &Setback, policy: &RetryPolicy) -> Option<Duration> {
        self.count_try();
        // A channel that a message has broken is there again at once.
        if let Setback::Invalid(..) = setback {
            let is_guilty = self.suspect && self.alone;
            self.suspect = true;
            return (!is_guilty).then_some(Duration::ZERO);
        }
        let lost_error_key = matches!(setback, Setback::Unbound) && self.purpose == Purpose::Error;
        let exhausted = policy
            .attempts
            .is_some_and(|attempts| self.tries >= attempts)
            && !lost_error_key;
        let pause = match setback {
            Setback::Unbound => policy.pause(self.tries).clamp(SHORTEST_LOOK, LONGEST_LOOK),
            _ => policy.pause(self.tries),
        };
        (!exhausted).then_some(pause)
    }

    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    pub(super) fn succeed(self) {
        // Nobody has to wait for it.
        let _ = self.receipt.send(Ok(()));
    }

    pub(super) fn fail(self, fault: PublishErrorKind, cause: String) {
        let _ = self.receipt.send(Err(PublishError {
            message_id: self.mark.message_id,
            reason: cause,
            kind: fault,
        }));
    }
}

/// How often and how fast a message is tried again.
pub(super) struct RetryPolicy {
    pub(super) delay: Duration,
    pub(super) max_delay: Duration,
    /// Tries in all; none is without end.
    pub(super) attempts: Option<u32>,
}

impl RetryPolicy {
    /// The pause after so many failed tries.
    pub(super) fn pause(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(31);
        self.delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::AMQPValue;

    fn policy(attempts: Option<u32>) -> RetryPolicy {
        RetryPolicy {
            delay: Duration::from_millis(100),
            max_delay: Duration::from_secs(300),
            attempts,
        }
    }

    fn job() -> Job {
        let (receipt, _) = Confirm::channel();
        Job {
            mark: Mark {
                routing_key: "k".into(),
                message_id: "m".into(),
                body: Bytes::new(),
            },
            purpose: Purpose::Data,
            properties: BasicProperties::default(),
            tries: 0,
            returns: 0,
            returned_since: None,
            is_probe: false,
            suspect: false,
            alone: false,
            acquittals: 0,
            receipt,
        }
    }

    #[test]
    fn the_retry_delay_doubles_up_to_the_limit() {
        let policy = policy(None);
        for (tries, millis) in [
            (1, 100),
            (2, 200),
            (3, 400),
            (12, 204_800),
            (13, 300_000),
            (u32::MAX, 300_000),
        ] {
            assert_eq!(
                policy.pause(tries),
                Duration::from_millis(millis),
                "{tries}"
            );
        }
    }

    #[test]
    fn the_attempt_limit_counts_all_attempts() {
        for (attempts, setback, tries) in [
            (Some(1), Setback::Nacked, 1),
            (Some(3), Setback::Nacked, 3),
            (Some(3), Setback::Unbound, 3),
            (
                Some(1),
                Setback::Invalid(String::new(), PublishErrorKind::Rejected),
                2,
            ),
            (
                None,
                Setback::Invalid(String::new(), PublishErrorKind::Rejected),
                2,
            ),
        ] {
            let mut job = job();
            job.launched(true);
            let mut made = 1;
            while job.count(&setback, &policy(attempts)).is_some() {
                made += 1;
            }
            assert_eq!(made, tries, "{attempts:?}");
        }
    }

    #[test]
    fn only_a_message_sent_alone_is_blamed_for_a_closed_channel() {
        let invalid = || Setback::Invalid(String::new(), PublishErrorKind::Rejected);
        let mut job = job();
        for _ in 0..3 {
            job.launched(false);
            assert_eq!(job.count(&invalid(), &policy(None)), Some(Duration::ZERO));
        }
        job.launched(true);
        job.acquit();
        assert_eq!(job.time_alone(), ALONE * 2);
        assert!(
            job.count(&invalid(), &policy(None)).is_some(),
            "it was no suspect any more"
        );
        job.launched(true);
        assert_eq!(job.count(&invalid(), &policy(None)), None);
    }

    #[test]
    fn without_a_limit_there_is_always_another_attempt() {
        let mut job = job();
        for _ in 0..1000 {
            assert!(job.count(&Setback::Nacked, &policy(None)).is_some());
            assert!(
                job.count(&Setback::Unbound, &policy(None))
                    .is_some_and(|pause| pause <= Duration::from_secs(5))
            );
            assert!(
                job.count(&Setback::Unconfirmed(String::new()), &policy(None))
                    .is_some()
            );
        }
    }

    #[test]
    fn a_retry_carries_the_retry_header() {
        let mut job = job();
        assert_eq!(*job.properties().headers(), None);
        job.count(&Setback::Nacked, &policy(None));
        job.count(&Setback::Nacked, &policy(None));
        let headers = job.properties().headers().clone().unwrap();
        assert_eq!(
            headers.inner().get("retry"),
            Some(&AMQPValue::ShortShortInt(2))
        );
    }
}
