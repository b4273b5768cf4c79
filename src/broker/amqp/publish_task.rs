//! The publishing task, which owns the publish connection.
//!
//! It sends messages in the order in which they arrive, without waiting for earlier confirms. A message whose attempt
//! fails waits in the [`RetryQueue`] while others are sent. A message ends with its confirm, with an error when no
//! attempt is left, or when the transport is closed.
//!
//! Connections are recovered by hand: lapin's own recovery has no generations, and does not distinguish transient from
//! permanent errors.

use super::{
    attempt_error::AttemptError,
    blocked::Blocked,
    connection::{self, ConnectionRole, Connector},
    error::{self, BrokerError, describe},
    pending_publish::PendingPublish,
    publish_channel::{InFlightPublishes, PublishChannel},
    reconnect::{ReconnectBackoff, Refusal, reopen},
    retry_queue::RetryQueue,
    routing_keys::{ReturnAction, RoutingKeys, UnroutableBatch},
};
use crate::{
    broker::transport::{PublishErrorKind, TransportError},
    clients::retry::RetryPolicy,
    codes,
    monitoring::{Link, Metrics},
};
use futures_util::StreamExt;
use lapin::{Error, ErrorKind, Event, types::ShortString};
use std::{future::pending, pin::pin, sync::Arc, time::Duration};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// How long to wait for the remaining confirms after the channel is lost.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of the publishing task.
pub(super) struct PublishTask {
    pub(super) connector: Arc<Connector>,
    pub(super) exchange: ShortString,
    pub(super) policy: RetryPolicy,
    pub(super) receiver: mpsc::UnboundedReceiver<Box<PendingPublish>>,
    pub(super) closing: CancellationToken,
    /// Where a permanent error of publishing is announced.
    pub(super) fatal: watch::Sender<Option<TransportError>>,
    pub(super) metrics: Arc<Metrics>,
    /// Is set while the broker takes no messages because of its alarm.
    pub(super) blocked: Blocked,
    pub(super) retries: RetryQueue,
    /// How long the broker has been refusing every message.
    pub(super) refusal: Refusal,
    pub(super) keys: RoutingKeys,
}

/// Why a channel is no longer used.
enum ChannelEnd {
    Closing,
    Lost(Error),
}

impl PublishTask {
    /// Runs until the transport is closed.
    pub(super) async fn run(mut self, first: PublishChannel) {
        let mut backoff = ReconnectBackoff::new();
        backoff.opened();
        let mut channel = Some(first);
        while let Some(current) = channel {
            self.metrics.set_connected(Link::Publish, true);
            let end = self.publish_until_closed(&current).await;
            self.metrics.set_connected(Link::Publish, false);
            channel = match end {
                ChannelEnd::Closing => {
                    connection::close(ConnectionRole::Publish, &current.connection).await;
                    None
                }
                ChannelEnd::Lost(error) => self.replace(current, &error, &mut backoff).await,
            };
        }
        self.fail_remaining();
    }

    /// Opens the next channel after one is lost. Returns `None` if the transport is closed.
    async fn replace(
        &mut self,
        lost: PublishChannel,
        error: &Error,
        backoff: &mut ReconnectBackoff,
    ) -> Option<PublishChannel> {
        self.metrics.reconnects.of(Link::Publish).inc();
        let (is_of_message, is_refusal) =
            (error::is_message_error(error), error::is_refusal(error));
        if is_of_message {
            tracing::warn!(
                code = %codes::EVENT_REJECTED,
                connection = %ConnectionRole::Publish,
                error = describe(error),
                "The broker rejected a message and closed the channel; the other messages are published on a new one."
            );
        } else if is_refusal {
            self.wait_for_end_of_refusal(&lost, error).await?;
        } else {
            // Nobody refuses while the broker is away.
            self.refusal.over();
            warn_lost(&BrokerError::new(&self.operation(), error));
        }
        if (is_of_message || is_refusal) && lost.connection.status().connected() {
            let reopened = select! {
                biased;
                () = self.closing.cancelled() => return None,
                reopened = PublishChannel::open(lost.connection, lost.outbox) => reopened,
            };
            match reopened {
                Ok(channel) => return Some(channel),
                Err(error) => warn_lost(&error),
            }
        }
        // The block ends with the connection.
        self.blocked.set(false);
        self.reconnect(backoff).await
    }

    /// Waits before the next attempt, while the broker refuses every message. One message asks whether the refusal is
    /// over; the others wait for its confirm. Returns `None` if the refusal is final or the transport is closed.
    async fn wait_for_end_of_refusal(
        &mut self,
        lost: &PublishChannel,
        error: &Error,
    ) -> Option<()> {
        let text = BrokerError::new(&self.operation(), error).text().to_owned();
        match self.refusal.refused(ConnectionRole::Publish, text) {
            Ok(delay) => {
                self.retries.isolate_first();
                select! {
                    () = self.closing.cancelled() => None,
                    () = sleep(delay) => Some(()),
                }
            }
            Err(error) => {
                self.fail_permanently(error).await;
                connection::close(ConnectionRole::Publish, &lost.connection).await;
                None
            }
        }
    }

    /// Connects again, with unlimited attempts. Returns `None` if the broker refuses for good or the transport is closed.
    async fn reconnect(&self, backoff: &mut ReconnectBackoff) -> Option<PublishChannel> {
        let open = || PublishChannel::connect(&self.connector);
        let mut refusal = Refusal::new(self.refusal.limit());
        let reopened = select! {
            biased;
            () = self.closing.cancelled() => return None,
            reopened = reopen(ConnectionRole::Publish, backoff, &mut refusal, open) => reopened,
        };
        match reopened {
            Ok(channel) => Some(channel),
            Err(error) => {
                self.fail_permanently(error).await;
                None
            }
        }
    }

    /// Sends messages and handles their confirms until the channel ends.
    async fn publish_until_closed(&mut self, channel: &PublishChannel) -> ChannelEnd {
        let closing = self.closing.clone();
        let mut events = pin!(channel.connection.events_listener());
        // Nobody heard its events while the channel was opened.
        self.blocked.set(channel.connection.status().blocked());
        let mut in_flight = InFlightPublishes::new(channel);
        let error = loop {
            let paused_until = in_flight.paused_until(self.retries.next_must_go_alone());
            let is_paused = paused_until.is_some();
            let next_retry = self.retries.next_due().filter(|_| !is_paused);
            select! {
                biased;
                () = closing.cancelled() => {
                    // These messages fail together with all others that are not confirmed.
                    self.queue_now(in_flight.into_unconfirmed());
                    return ChannelEnd::Closing;
                }
                first = in_flight.next_ended() => {
                    let ended = in_flight.drain_confirms(first);
                    if let Some(error) = self.handle_attempts(ended) {
                        break error;
                    }
                }
                () = self.blocked.remind() => {}
                Some(event) = events.next() => {
                    if let Some(error) = self.handle_event(event, channel) {
                        break error;
                    }
                }
                () = wait_until(paused_until) => {}
                () = wait_until(next_retry) => self.send_due(&mut in_flight).await,
                Some(new) = self.receiver.recv(), if !is_paused => {
                    self.send(new, &mut in_flight).await;
                }
            }
        };
        ChannelEnd::Lost(self.drain_after_loss(error, in_flight).await)
    }

    /// Sends all retries that are due, up to the first that must be sent alone. That one waits for the confirms of others.
    async fn send_due(&mut self, in_flight: &mut InFlightPublishes<'_>) {
        let is_alone = self.retries.next_must_go_alone();
        if in_flight.paused_until(is_alone).is_some() {
            return;
        }
        while let Some(due) = self.retries.pop_due() {
            self.send(due, in_flight).await;
            if in_flight.is_isolated() || self.retries.next_must_go_alone() {
                break;
            }
        }
    }

    /// Sends one message, unless it fails first or has to wait for the probe of its key.
    async fn send(&mut self, pending: Box<PendingPublish>, in_flight: &mut InFlightPublishes<'_>) {
        if pending.is_retry() && pending.is_abandoned() {
            let reason = "the caller no longer waits for it".into();
            return self.fail(pending, PublishErrorKind::Other, reason);
        }
        let Some(pending) = self.keys.park(pending) else {
            return;
        };
        let limit = in_flight.frame_max();
        let properties = match pending.properties_to_send(limit) {
            Ok(properties) => properties,
            Err(size) => {
                let reason = format!(
                    "its headers need {size} bytes, but a frame may have {limit}: shorten them"
                );
                return self.fail(pending, PublishErrorKind::HeadersTooLarge, reason);
            }
        };
        if pending.is_retry() {
            self.metrics.publish_retries.inc();
        }
        in_flight.send(&self.exchange, pending, properties).await;
    }

    /// Handles attempts that have ended. Returns the error that ended the channel, if an attempt failed because of it.
    fn handle_attempts(
        &mut self,
        attempts: Vec<(Box<PendingPublish>, Result<(), AttemptError>)>,
    ) -> Option<Error> {
        let mut lost = None;
        for (pending, result) in attempts {
            if let Err(error) = &result
                && let Some(error) = error.channel_error()
            {
                lost = Some(more_specific(lost, error.clone()));
            }
            self.handle_attempt(pending, result);
        }
        lost
    }

    fn handle_attempt(
        &mut self,
        mut pending: Box<PendingPublish>,
        result: Result<(), AttemptError>,
    ) {
        if let Ok(()) | Err(AttemptError::Nacked | AttemptError::Unroutable) = result {
            self.refusal.over();
        }
        match result {
            Ok(()) => {
                let unparked = self.keys.mark_bound(&pending);
                self.metrics.confirm_time.observe_since(pending.queued_at);
                pending.succeed();
                self.queue_now(unparked);
            }
            Err(error @ AttemptError::Nacked) => {
                // Only a queue can send a nack, so a queue is bound.
                let unparked = self.keys.mark_bound(&pending);
                self.retry_or_fail(pending, &error);
                self.queue_now(unparked);
            }
            Err(AttemptError::Unroutable) => self.handle_return(pending),
            Err(AttemptError::NotSent(_)) => self.retries.insert(pending, Duration::ZERO),
            Err(AttemptError::Refused(_)) => {
                pending.record_refusal();
                self.retries.insert(pending, Duration::ZERO);
            }
            Err(error @ (AttemptError::Rejected(_) | AttemptError::Unconfirmed(_))) => {
                self.retry_or_fail(pending, &error);
            }
        }
    }

    /// Handles the loss of the channel: messages whose confirm has arrived are done, all others are retried.
    async fn drain_after_loss(
        &mut self,
        mut error: Error,
        mut in_flight: InFlightPublishes<'_>,
    ) -> Error {
        let ended = in_flight.drain_all(DRAIN_TIMEOUT).await;
        if let Some(other) = self.handle_attempts(ended) {
            error = more_specific(Some(error), other);
        }
        // lapin ends all attempts when the channel is lost. If it misses one, its message is still retried here.
        let missed: Vec<_> = in_flight.into_unconfirmed().collect();
        if !missed.is_empty() {
            tracing::warn!(
                code = %codes::CONFIRMS_LOST,
                seconds = DRAIN_TIMEOUT.as_secs(),
                events = missed.len(),
                "The channel is lost, and nothing says in time what became of its last events. They are sent again."
            );
        }
        for pending in missed {
            self.handle_attempt(pending, Err(AttemptError::from_loss(error.clone())));
        }
        error
    }

    /// Handles a returned message: no queue is bound to its routing key.
    fn handle_return(&mut self, pending: Box<PendingPublish>) {
        let key = self.keys.label_of(&pending.routing_key);
        self.metrics.unroutable.of(key).inc();
        match self.keys.resolve_return(pending, &self.policy) {
            ReturnAction::BindingLost(pending) => {
                self.retry_or_fail(pending, &AttemptError::Unroutable);
            }
            ReturnAction::RetryAfter(pending, delay) => self.retries.insert(pending, delay),
            ReturnAction::Parked => {}
            ReturnAction::EndOfFlow(UnroutableBatch { returned, untried }) => {
                returned.into_iter().for_each(|pending| pending.succeed());
                self.queue_now(untried);
            }
            ReturnAction::Unbound(UnroutableBatch { returned, untried }) => {
                for pending in returned {
                    let reason = unbound_reason(&pending, &self.exchange);
                    self.give_up(pending, PublishErrorKind::Unbound, reason);
                }
                self.queue_now(untried);
            }
        }
    }

    fn retry_or_fail(&mut self, mut pending: Box<PendingPublish>, error: &AttemptError) {
        let had_to_go_alone = pending.must_go_alone();
        let reason = error.reason(|| unbound_reason(&pending, &self.exchange));
        let Some(delay) = pending.record_failure(error, &self.policy) else {
            return self.give_up(pending, error.kind(), reason);
        };
        let attempts = pending.failed_attempts();
        // Once per doubling, so that a full queue does not fill the log.
        if attempts.is_power_of_two() {
            tracing::warn!(
                code = %codes::PUBLISH_RETRIED,
                messageId = pending.message_id,
                attempts,
                ?delay,
                reason,
                "Publishing failed; it is retried."
            );
        }
        if had_to_go_alone && delay.is_zero() {
            self.retries.insert_first(pending);
        } else {
            self.retries.insert(pending, delay);
        }
    }

    fn give_up(&mut self, pending: Box<PendingPublish>, kind: PublishErrorKind, reason: String) {
        tracing::error!(
            code = %codes::EVENT_NOT_PUBLISHED,
            messageId = pending.message_id,
            attempts = pending.failed_attempts(),
            reason,
            "Publishing failed; no attempts are left."
        );
        self.fail(pending, kind, reason);
    }

    fn fail(&mut self, pending: Box<PendingPublish>, kind: PublishErrorKind, reason: String) {
        let unparked = self.keys.probe_ended(&pending);
        pending.fail(kind, reason);
        self.queue_now(unparked);
    }

    /// Queues messages behind the retries that are already due.
    fn queue_now(&mut self, messages: impl IntoIterator<Item = Box<PendingPublish>>) {
        for pending in messages {
            self.retries.insert(pending, Duration::ZERO);
        }
    }

    /// Handles an event of the connection. Returns the error that ended the channel, if the event is one.
    fn handle_event(&mut self, event: Event, channel: &PublishChannel) -> Option<Error> {
        match event {
            // The error of an earlier channel can arrive late.
            Event::Error(error) if !channel.is_open() => return Some(error),
            Event::ConnectionBlocked(reason) => {
                tracing::warn!(
                    code = %codes::BROKER_BLOCKED,
                    reason,
                    "The broker blocks publishing; waiting."
                );
                self.blocked.set(true);
            }
            Event::ConnectionUnblocked => {
                tracing::info!("The broker accepts messages again.");
                self.blocked.set(false);
            }
            _ => {}
        }
        None
    }

    fn operation(&self) -> String {
        format!("publishing to exchange \"{}\"", self.exchange)
    }

    /// Announces a permanent error and waits until the transport is closed. The messages are kept until then: if they
    /// failed now, their deliveries would be rejected, although the next process can still process them.
    async fn fail_permanently(&self, error: TransportError) {
        tracing::error!(
            code = %codes::BROKER_FAILED,
            connection = %ConnectionRole::Publish,
            %error,
            "Publishing has stopped: the broker refuses permanently."
        );
        self.fatal.send_replace(Some(error));
        self.closing.cancelled().await;
    }

    /// Fails all messages that are left when the transport is closed.
    fn fail_remaining(mut self) {
        self.receiver.close();
        let received = std::iter::from_fn(|| self.receiver.try_recv().ok());
        let parked = self.keys.into_parked();
        let remaining = parked.chain(self.retries.into_all()).chain(received);
        let mut count = 0_u32;
        for pending in remaining {
            pending.fail(PublishErrorKind::Closed, super::SHUTDOWN.into());
            count += 1;
        }
        if count > 0 {
            tracing::warn!(
                code = %codes::EVENTS_NOT_SENT,
                count,
                "Some messages were not published before the shutdown."
            );
        }
    }
}

/// Waits until an instant; never resolves if there is none.
async fn wait_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}

fn warn_lost(error: &BrokerError) {
    let (connection, error) = (ConnectionRole::Publish, error.text());
    tracing::warn!(
        code = %codes::CONNECTION_LOST,
        %connection,
        error,
        "The connection to the broker is lost."
    );
}

fn unbound_reason(pending: &PendingPublish, exchange: &ShortString) -> String {
    format!(
        "no queue is bound for routing key \"{}\" on exchange \"{exchange}\"",
        pending.routing_key
    )
}

/// Returns the more informative of two errors for the loss of one channel: the one in the broker's own words.
fn more_specific(first: Option<Error>, second: Error) -> Error {
    match first {
        Some(first) if matches!(first.kind(), ErrorKind::ProtocolError(_)) => first,
        Some(_) | None => second,
    }
}
