//! The channel that events are published on, and what is in flight on it.
//!
//! The broker closes a channel when it rejects a message, and does not say which one. After that, each message that was
//! in flight is sent alone: nothing else is in flight, and nothing else is sent until it is confirmed or its time is
//! over. If the channel is closed again, it is clear which message the broker rejects.

use super::{
    attempt_error::AttemptError,
    client::{Channel, Connection},
    confirms::{self, EndedAttempt, UnconfirmedPublishes},
    connection::{Connector, RESPONSE_TIMEOUT},
    error::BrokerError,
    guard::Outbox,
    pending_publish::PendingPublish,
};
use crate::codes;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use lapin::{options::ConfirmSelectOptions, types::ShortString};
use std::{
    future::{poll_fn, ready},
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long confirms of other messages may delay a message that must be sent alone.
const DRAIN_BEFORE_ISOLATION: Duration = Duration::from_secs(5);

/// A connection with a channel in confirm mode.
pub(super) struct PublishChannel {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    /// The contents that are published on this connection.
    pub(super) outbox: Arc<Outbox>,
}

impl PublishChannel {
    /// Opens a channel on a new connection.
    pub(super) async fn connect(connector: &Connector) -> Result<Self, BrokerError> {
        let (connection, outbox) = connector.connect_to_publish().await?;
        Self::open(connection, outbox).await
    }

    /// Opens a channel: on a new connection, or on one whose channel the broker has closed. `outbox` is the connection's.
    pub(super) async fn open(
        connection: Connection,
        outbox: Arc<Outbox>,
    ) -> Result<Self, BrokerError> {
        let operation = "opening a channel to publish on";
        let opening = async {
            let channel = connection.create_channel().await?;
            let options = ConfirmSelectOptions::default();
            channel.confirm_select(options).await?;
            Ok(channel)
        };
        match timeout(RESPONSE_TIMEOUT, opening).await {
            Ok(Ok(channel)) => Ok(Self {
                connection,
                channel,
                outbox,
            }),
            Ok(Err(error)) => Err(BrokerError::new(operation, &error)),
            Err(_) => Err(BrokerError::no_response(operation)),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.channel.status().connected() && self.connection.status().connected()
    }
}

type RunningAttempts<'a> =
    FuturesUnordered<Pin<Box<dyn Future<Output = EndedAttempt> + Send + 'a>>>;

/// The messages that were sent on one channel and are not confirmed yet.
pub(super) struct InFlightPublishes<'a> {
    channel: &'a PublishChannel,
    attempts: RunningAttempts<'a>,
    unconfirmed: UnconfirmedPublishes,
    last_number: u64,
    /// The message in flight was sent alone on purpose.
    isolated: bool,
    /// Nothing is sent before this time, unless the confirms arrive earlier.
    paused_until: Option<Instant>,
    /// That time is over, and the log says so.
    is_pause_over: bool,
    /// How long to wait for the confirm of the message that was sent alone.
    isolation_timeout: Duration,
}

impl<'a> InFlightPublishes<'a> {
    pub(super) fn new(channel: &'a PublishChannel) -> Self {
        Self {
            channel,
            attempts: RunningAttempts::new(),
            unconfirmed: UnconfirmedPublishes::default(),
            last_number: 0,
            isolated: false,
            paused_until: None,
            is_pause_over: false,
            isolation_timeout: DRAIN_BEFORE_ISOLATION,
        }
    }

    /// Sends one message. When this returns, its frames are queued behind those of all earlier messages.
    pub(super) async fn send(
        &mut self,
        exchange: &ShortString,
        mut pending: Box<PendingPublish>,
        properties: Bytes,
    ) {
        self.isolated = pending.must_go_alone();
        if self.isolated {
            self.end_pause();
            self.isolation_timeout = pending.isolation_timeout();
        }
        pending.mark_sent(self.attempts.is_empty());
        self.last_number += 1;
        let number = self.last_number;
        let PublishChannel {
            channel, outbox, ..
        } = self.channel;
        let attempt = confirms::attempt(channel, outbox, exchange.clone(), &pending, properties);
        let mut attempt = Box::pin(async move { (number, attempt.await) });
        self.unconfirmed.insert(number, pending);
        // The first poll queues the frames, so the order of these polls is the order on the wire.
        match poll_fn(|cx| Poll::Ready(attempt.as_mut().poll(cx))).await {
            Poll::Ready(ended) => self.attempts.push(Box::pin(ready(ended))),
            Poll::Pending => self.attempts.push(attempt),
        }
    }

    /// Waits until an attempt ends; never resolves if nothing is in flight.
    pub(super) async fn next_ended(&mut self) -> EndedAttempt {
        match self.attempts.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Takes out `first` and all other publishes whose attempts have ended so far.
    ///
    /// Returns can be matched only if whole frames of the broker are processed. lapin resolves the confirms of one
    /// frame one by one, under a lock that `wait_for_confirms` takes as well. So when that call has returned and no
    /// further attempt has ended, all frames are complete.
    pub(super) fn drain_confirms(
        &mut self,
        first: EndedAttempt,
    ) -> Vec<(Box<PendingPublish>, Result<(), AttemptError>)> {
        let mut ended = vec![first];
        loop {
            let known = ended.len();
            let _ = self.channel.channel.wait_for_confirms().now_or_never();
            while let Some(Some(attempt)) = self.attempts.next().now_or_never() {
                ended.push(attempt);
            }
            if ended.len() == known {
                return self.unconfirmed.confirm(ended);
            }
        }
    }

    /// Takes out the publishes whose attempts end within `limit`, after the channel is lost.
    pub(super) async fn drain_all(
        &mut self,
        limit: Duration,
    ) -> Vec<(Box<PendingPublish>, Result<(), AttemptError>)> {
        let mut ended = Vec::new();
        let all = async {
            while let Some(attempt) = self.attempts.next().await {
                ended.push(attempt);
            }
        };
        let _ = timeout(limit, all).await;
        self.unconfirmed.confirm(ended)
    }

    /// Takes out all publishes that are still not confirmed, in the order in which they were sent.
    pub(super) fn into_unconfirmed(self) -> impl Iterator<Item = Box<PendingPublish>> {
        self.unconfirmed.into_all()
    }

    /// The longest frame that the broker accepts, in bytes.
    pub(super) fn frame_max(&self) -> usize {
        match self.channel.outbox.frame_max() {
            0 => usize::MAX,
            most => most,
        }
    }

    /// Returns whether the message in flight is alone on purpose.
    pub(super) fn is_isolated(&self) -> bool {
        self.isolated && !self.attempts.is_empty()
    }

    /// Returns until when nothing may be sent. `next_must_go_alone` means that the next message must be sent alone.
    pub(super) fn paused_until(&mut self, next_must_go_alone: bool) -> Option<Instant> {
        let is_paused = (self.isolated || next_must_go_alone) && !self.attempts.is_empty();
        if !is_paused {
            self.end_pause();
            return None;
        }
        let limit = if self.isolated {
            self.isolation_timeout
        } else {
            DRAIN_BEFORE_ISOLATION
        };
        let now = Instant::now();
        let end = *self.paused_until.get_or_insert(now + limit);
        if end > now {
            return Some(end);
        }
        // A confirm may take a long time, and the other messages must not wait for it.
        if !std::mem::replace(&mut self.is_pause_over, true) {
            warn_unconfirmed(self.isolated, limit);
        }
        self.unconfirmed
            .all_mut()
            .for_each(|pending| pending.clear_isolation());
        self.isolated = false;
        None
    }

    fn end_pause(&mut self) {
        self.paused_until = None;
        self.is_pause_over = false;
    }
}

fn warn_unconfirmed(is_alone: bool, limit: Duration) {
    let seconds = limit.as_secs();
    if is_alone {
        tracing::warn!(
            code = %codes::CONFIRMS_LATE,
            seconds,
            "The broker has not confirmed in time an event that was sent alone, to see whether it is the one that the \
             broker rejects. The others are sent meanwhile."
        );
    } else {
        tracing::warn!(
            code = %codes::CONFIRMS_LATE,
            seconds,
            "The broker has not confirmed in time what was sent before an event that has to be sent alone. It is sent \
             together with others."
        );
    }
}
