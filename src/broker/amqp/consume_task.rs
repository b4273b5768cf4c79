//! The consuming task, which owns the consume connection and forwards deliveries.
//!
//! Each channel begins a new generation: deliveries of an earlier generation can no longer be settled, and the broker
//! delivers their messages again. The connection stays open after the consumer ends, because the remaining deliveries
//! are settled on it.
//!
//! The broker does not confirm settlements. So the task also makes round trips on the same channel, whose frames are
//! processed in order: the response to one proves that all earlier settlements have arrived.
//!
//! Connections are recovered by hand, as in [`publish_task`](super::publish_task).

use super::{
    ConnectionMetrics,
    client::{Channel, Connection, Consumer, Delivery as ClientDelivery},
    connection::{self, ConnectionRole, Connector, RESPONSE_TIMEOUT},
    delivery::{self, DeliveryHandle},
    error::{BrokerError, describe},
    reconnect::{ReconnectBackoff, Refusal, reopen},
};
use crate::broker::transport::{Delivery, Generation, TransportError};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use std::{
    convert::Infallible,
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The delay between two round trips. It is short, because a settlement that is sent just before the connection breaks
/// stays unproven. A round trip takes two small frames.
const ROUNDTRIP_INTERVAL: Duration = Duration::from_millis(250);

/// A consumer with its channel and connection. Keep it until its deliveries are settled.
pub(super) struct ConsumerChannel {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
}

impl ConsumerChannel {
    pub(super) async fn open(
        connection: Connection,
        queue: &ShortString,
        prefetch: u16,
    ) -> Result<Self, BrokerError> {
        let operation = format!("consuming queue \"{queue}\"");
        let opening = async {
            let channel = connection.create_channel().await?;
            channel
                .basic_qos(prefetch, BasicQosOptions { global: false })
                .await?;
            let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
            let consumer = channel
                .basic_consume(queue.clone(), tag, options, FieldTable::default())
                .await?;
            Ok((channel, consumer))
        };
        match timeout(RESPONSE_TIMEOUT, opening).await {
            Ok(Ok((channel, consumer))) => Ok(Self {
                connection,
                channel,
                consumer,
            }),
            Ok(Err(error)) => Err(BrokerError::new(&operation, &error)),
            Err(_) => Err(BrokerError::no_response(&operation)),
        }
    }

    /// Stops new deliveries. Those that the broker has already sent can still be taken from the consumer.
    async fn cancel(&self) {
        let cancelled = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        match timeout(RESPONSE_TIMEOUT / 2, cancelled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let error = describe(&error);
                tracing::debug!(error, "The consumer was already cancelled.");
            }
            Err(_) => {
                tracing::warn!("The broker did not confirm that the consumer is cancelled.");
            }
        }
    }
}

/// Makes round trips while there are settlements to confirm. Nothing waits for the responses. Without a response,
/// nothing is proven.
///
/// The request sets the prefetch to its current value. The prefetch applies only to later consumers of the channel, and
/// there are none.
async fn confirm_settlements(
    channel: Channel,
    prefetch: u16,
    generation: &Generation,
) -> Infallible {
    loop {
        let roundtrip = generation.next_roundtrip().await;
        if channel
            .basic_qos(prefetch, BasicQosOptions { global: false })
            .await
            .is_err()
        {
            // The channel is lost. The consumer reports that.
            return pending().await;
        }
        generation.roundtrip_done(roundtrip);
        tracing::trace!(
            generation = generation.number,
            roundtrip,
            "The broker has received all earlier settlements."
        );
        sleep(ROUNDTRIP_INTERVAL).await;
    }
}

/// What the consuming task works with.
pub(super) struct ConsumeTask {
    pub(super) connector: Arc<Connector>,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    pub(super) refusal_timeout: Duration,
    pub(super) deliveries: mpsc::UnboundedSender<Result<Delivery<DeliveryHandle>, TransportError>>,
    /// Asks to end deliveries.
    pub(super) stopping: CancellationToken,
    /// Announces that deliveries have ended.
    pub(super) stopped: CancellationToken,
    pub(super) closing: CancellationToken,
    /// A permanent error of publishing, after which consuming is useless.
    pub(super) fatal: watch::Receiver<Option<TransportError>>,
    pub(super) metrics: Arc<ConnectionMetrics>,
}

/// Why no more deliveries arrive.
enum ConsumeEnd {
    Closing,
    Stopped,
    Lost(String),
    Fatal(TransportError),
}

impl ConsumeTask {
    /// Runs until the transport is closed. Without a `first` channel it opens one.
    pub(super) async fn run(mut self, first: Option<ConsumerChannel>) {
        let mut channel = first;
        let end = self.consume_until_stopped(&mut channel).await;
        if let ConsumeEnd::Fatal(error) = end {
            let _ = self.deliveries.send(Err(error));
        }
        // The connection stays open to settle the remaining deliveries.
        drop(self.deliveries);
        self.stopped.cancel();
        self.closing.cancelled().await;
        if let Some(channel) = &channel {
            connection::close(ConnectionRole::Consume, &channel.connection).await;
        }
    }

    /// Forwards deliveries, and opens a new channel whenever one is lost. The last one stays in `channel`.
    async fn consume_until_stopped(&mut self, channel: &mut Option<ConsumerChannel>) -> ConsumeEnd {
        let mut backoff = ReconnectBackoff::new();
        let (mut number, mut outages) = (0, 0);
        if channel.is_some() {
            backoff.opened();
        }
        loop {
            let current = match channel {
                Some(current) => current,
                None => match self.reopen(&mut backoff, &mut outages).await {
                    Ok(reopened) => channel.insert(reopened),
                    Err(end) => return end,
                },
            };
            number += 1;
            let generation = Arc::new(Generation::new(number, outages));
            let reason = match self.forward(current, &generation).await {
                ConsumeEnd::Lost(reason) => reason,
                end => return end,
            };
            tracing::warn!(
                connection = %ConnectionRole::Consume,
                generation = number,
                error = reason,
                "The consumer is lost."
            );
            *channel = None;
            if self.stopping.is_cancelled() {
                return ConsumeEnd::Stopped;
            }
            self.metrics.reconnects.fetch_add(1, Relaxed);
        }
    }

    /// Opens a new channel on a new connection. A failed attempt counts as an outage of the broker, not only of the
    /// connection.
    async fn reopen(
        &mut self,
        backoff: &mut ReconnectBackoff,
        outages: &mut u32,
    ) -> Result<ConsumerChannel, ConsumeEnd> {
        let (connector, queue, prefetch) = (&self.connector, &self.queue, self.prefetch);
        let mut refusal = Refusal::new(self.refusal_timeout);
        let has_failed = AtomicBool::new(false);
        let open = || async {
            let opening = async {
                let connection = connector.connect(ConnectionRole::Consume).await?;
                ConsumerChannel::open(connection, queue, prefetch).await
            };
            let note_failure = |_: &BrokerError| has_failed.store(true, Relaxed);
            opening.await.inspect_err(note_failure)
        };
        let reopened = select! {
            biased;
            () = self.closing.cancelled() => Err(ConsumeEnd::Closing),
            () = self.stopping.cancelled() => Err(ConsumeEnd::Stopped),
            error = permanent_error(&mut self.fatal) => Err(ConsumeEnd::Fatal(error)),
            reopened = reopen(ConnectionRole::Consume, backoff, &mut refusal, open) => {
                reopened.map_err(ConsumeEnd::Fatal)
            }
        };
        *outages += u32::from(has_failed.load(Relaxed));
        reopened
    }

    /// Forwards deliveries until no more arrive.
    async fn forward(
        &mut self,
        channel: &mut ConsumerChannel,
        generation: &Arc<Generation>,
    ) -> ConsumeEnd {
        let mut reason = None;
        let mut roundtrips = pin!(confirm_settlements(
            channel.channel.clone(),
            self.prefetch,
            generation
        ));
        loop {
            select! {
                biased;
                () = self.closing.cancelled() => return ConsumeEnd::Closing,
                error = permanent_error(&mut self.fatal) => return ConsumeEnd::Fatal(error),
                () = self.stopping.cancelled() => return self.stop(channel, generation).await,
                never = &mut roundtrips => match never {},
                next = channel.consumer.next() => match next {
                    Some(Ok(delivery)) => self.forward_one(delivery, generation),
                    Some(Err(error)) => reason = Some(describe(&error)),
                    None => {
                        let cancelled = || "the broker cancelled the consumer".to_owned();
                        return ConsumeEnd::Lost(reason.unwrap_or_else(cancelled));
                    }
                },
            }
        }
    }

    /// Cancels the consumer, and forwards the deliveries that the broker has already sent.
    async fn stop(
        &self,
        channel: &mut ConsumerChannel,
        generation: &Arc<Generation>,
    ) -> ConsumeEnd {
        select! {
            biased;
            () = self.closing.cancelled() => return ConsumeEnd::Closing,
            () = channel.cancel() => {}
        }
        while let Some(Some(Ok(delivery))) = channel.consumer.next().now_or_never() {
            self.forward_one(delivery, generation);
        }
        ConsumeEnd::Stopped
    }

    fn forward_one(&self, delivery: ClientDelivery, generation: &Arc<Generation>) {
        let delivery = delivery::receive(delivery, generation.clone());
        // Without a receiver the delivery stays unsettled, and the broker takes it back when the connection is closed.
        let _ = self.deliveries.send(Ok(delivery));
    }
}

/// Waits for a permanent error of publishing; never resolves if there is none.
async fn permanent_error(fatal: &mut watch::Receiver<Option<TransportError>>) -> TransportError {
    match fatal
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|error| error.clone())
    {
        Some(error) => error,
        None => pending().await,
    }
}
