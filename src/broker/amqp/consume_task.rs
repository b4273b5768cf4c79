//! The consuming task, which owns the consume connection and forwards deliveries.
//!
//! Each channel begins a new generation: deliveries of an earlier generation can no longer be settled, and the broker
//! delivers their messages again. The connection stays open after the consumer ends, because the remaining deliveries
//! are settled on it.
//!
//! The broker does not confirm settlements. So the task also makes [`roundtrips`](super::roundtrips).
//!
//! The broker hands out as many deliveries as fit in memory, by the sizes seen so far (`intake`). To change that number, the
//! task cancels the consumer and consumes again on the same channel, so that all deliveries can still be settled.
//!
//! Connections are recovered by hand, as in [`publish_task`](super::publish_task).

use super::{
    client::{Channel, Connection, Consumer, Delivery as ClientDelivery},
    connection::{self, ConnectionRole, Connector, RESPONSE_TIMEOUT},
    delivery::{self, DeliveryHandle, NoRoom, give_back},
    error::{BrokerError, describe},
    intake::{Consumers, Intake, LeftOut, PrefetchControl},
    reconnect::{ReconnectBackoff, Refusal, reopen},
    roundtrips,
};
use crate::{
    broker::transport::{Delivery, Generation, TransportError},
    codes,
    monitoring::{Link, Metrics, WaitReason},
};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tokio::{
    select,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// A consumer with its channel and connection. Keep it until its deliveries are settled.
pub(super) struct ConsumerChannel {
    connection: Connection,
    channel: Arc<Channel>,
    consumer: Consumer,
    consumers: Consumers,
}

/// Consumes on a channel, with at most `prefetch` unsettled deliveries.
async fn subscribe(
    channel: &Channel,
    queue: &ShortString,
    prefetch: u16,
) -> lapin::Result<Consumer> {
    channel
        .basic_qos(prefetch, BasicQosOptions { global: false })
        .await?;
    let (tag, options) = (ShortString::default(), BasicConsumeOptions::default());
    channel
        .basic_consume(queue.clone(), tag, options, FieldTable::default())
        .await
}

impl ConsumerChannel {
    pub(super) async fn open(
        connection: Connection,
        queue: &ShortString,
        prefetch: u16,
        intake: Arc<Intake>,
    ) -> Result<Self, BrokerError> {
        let operation = format!("consuming queue \"{queue}\"");
        let opening = async {
            let channel = connection.create_channel().await?;
            let consumer = subscribe(&channel, queue, prefetch).await?;
            Ok((channel, consumer))
        };
        match timeout(RESPONSE_TIMEOUT, opening).await {
            Ok(Ok((channel, consumer))) => Ok(Self {
                connection,
                channel: Arc::new(channel),
                consumer,
                consumers: Consumers::new(intake),
            }),
            Ok(Err(error)) => Err(BrokerError::new(&operation, &error)),
            Err(_) => Err(BrokerError::no_response(&operation)),
        }
    }

    /// Stops new deliveries. Those that the broker has already sent can still be taken from the consumer. Returns whether the
    /// broker has confirmed that these are all.
    async fn cancel(&self) -> bool {
        let cancelled = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        let limit = RESPONSE_TIMEOUT / 2;
        match timeout(limit, cancelled).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                let error = describe(&error);
                tracing::debug!(error, "The consumer was already cancelled.");
                false
            }
            Err(_) => {
                tracing::warn!(
                    code = %codes::BROKER_CLOSE_TIMEOUT,
                    seconds = limit.as_secs(),
                    "The broker did not confirm that the consumer is cancelled."
                );
                false
            }
        }
    }

    /// Waits until the channel is lost. Nothing else tells that while there is no consumer.
    async fn lost(channel: &Channel) {
        while channel.status().connected() {
            sleep(roundtrips::ROUNDTRIP_INTERVAL).await;
        }
    }
}

/// What the consuming task works with.
pub(super) struct ConsumeTask {
    pub(super) connector: Arc<Connector>,
    pub(super) queue: ShortString,
    pub(super) prefetch: PrefetchControl,
    /// The prefetch of the settings, which is never exceeded.
    pub(super) setting: u16,
    pub(super) refusal_timeout: Duration,
    pub(super) deliveries: DeliverySender,
    /// Asks to end deliveries.
    pub(super) stopping: CancellationToken,
    pub(super) closing: CancellationToken,
    /// A permanent error of publishing, after which consuming is useless.
    pub(super) fatal: watch::Receiver<Option<TransportError>>,
    pub(super) metrics: Arc<Metrics>,
}

/// Hands deliveries to the engine. Dropping it ends them. A panic ends them with an error, so that the process does not look like
/// one that has nothing more to do.
pub(super) struct DeliverySender {
    pub(super) sender: mpsc::UnboundedSender<Result<Delivery<DeliveryHandle>, TransportError>>,
    /// Announces that deliveries have ended.
    pub(super) stopped: CancellationToken,
}

impl DeliverySender {
    /// Without a receiver the delivery stays unsettled, and the broker takes it back when the connection is closed.
    fn send(&self, delivery: Result<Delivery<DeliveryHandle>, TransportError>) {
        let _ = self.sender.send(delivery);
    }
}

impl Drop for DeliverySender {
    fn drop(&mut self) {
        if thread::panicking() {
            let text = "consuming has ended because of a panic, which stands above in the log";
            self.send(Err(TransportError(text.to_owned())));
        }
        self.stopped.cancel();
    }
}

/// Shows that there is a consumer until this is dropped, also by a panic.
struct Connected(Arc<Metrics>);

impl Connected {
    fn new(metrics: Arc<Metrics>) -> Self {
        metrics.set_connected(Link::Consume, true);
        Self(metrics)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.set_connected(Link::Consume, false);
    }
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
            self.deliveries.send(Err(error));
        }
        // The connection stays open to settle the remaining deliveries.
        drop(self.deliveries);
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
            let connected = Connected::new(self.metrics.clone());
            let end = self.forward(current, &generation).await;
            drop(connected);
            let reason = match end {
                ConsumeEnd::Lost(reason) => reason,
                end => return end,
            };
            tracing::warn!(
                code = %codes::CONNECTION_LOST,
                connection = %ConnectionRole::Consume,
                generation = number,
                error = reason,
                "The consumer is lost."
            );
            *channel = None;
            if self.stopping.is_cancelled() {
                return ConsumeEnd::Stopped;
            }
            self.metrics.reconnects.of(Link::Consume).inc();
        }
    }

    /// Opens a new channel on a new connection. A failed attempt counts as an outage of the broker, not only of the
    /// connection.
    async fn reopen(
        &mut self,
        backoff: &mut ReconnectBackoff,
        outages: &mut u32,
    ) -> Result<ConsumerChannel, ConsumeEnd> {
        let (connector, queue) = (&self.connector, &self.queue);
        let prefetch = self.prefetch.current();
        let mut refusal = Refusal::new(self.refusal_timeout);
        let has_failed = AtomicBool::new(false);
        let open = || async {
            let opening = async {
                let (connection, intake) = connector.connect_to_consume().await?;
                ConsumerChannel::open(connection, queue, prefetch, intake).await
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
        // The prefetch of the consumer, or of the next one.
        let prefetch = AtomicU16::new(self.prefetch.current());
        let mut roundtrips = pin!(roundtrips::confirm_settlements(
            channel.channel.clone(),
            &prefetch,
            generation
        ));
        loop {
            let is_full = channel.consumers.are_at(self.setting);
            select! {
                biased;
                () = self.closing.cancelled() => return ConsumeEnd::Closing,
                error = permanent_error(&mut self.fatal) => return ConsumeEnd::Fatal(error),
                () = self.stopping.cancelled() => return self.stop(channel, generation).await,
                never = &mut roundtrips => match never {},
                () = channel.consumers.below(self.setting), if is_full => {}
                next = channel.consumer.next(), if !is_full => match next {
                    Some(Ok(delivery)) => {
                        let change = self.forward_one(delivery, channel, generation);
                        if let Some(change) = change {
                            let again = self.consume_again(channel, change, &prefetch, generation);
                            select! {
                                never = &mut roundtrips => match never {},
                                consumed = again => if let Err(end) = consumed {
                                    return end;
                                },
                            }
                        }
                    }
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
        &mut self,
        channel: &mut ConsumerChannel,
        generation: &Arc<Generation>,
    ) -> ConsumeEnd {
        let (closing, mut no_room) = (self.closing.clone(), Vec::new());
        select! {
            biased;
            () = closing.cancelled() => return ConsumeEnd::Closing,
            // Without an answer of the broker, all that is left returns to the queue with the connection.
            is_cancelled = self.end_consumer(channel, generation, &mut no_room) => {
                if is_cancelled {
                    give_back(no_room).await;
                }
            }
        }
        ConsumeEnd::Stopped
    }

    /// Consumes again, with the prefetch that the sizes of messages allow. Messages that do not fit go back to the queue;
    /// then nothing is consumed until the first of them fits.
    async fn consume_again(
        &mut self,
        channel: &mut ConsumerChannel,
        change: Change,
        prefetch: &AtomicU16,
        generation: &Arc<Generation>,
    ) -> Result<(), ConsumeEnd> {
        let mut no_room: Vec<_> = change.no_room.into_iter().collect();
        let (closing, stopping) = (self.closing.clone(), self.stopping.clone());
        let mut fatal = self.fatal.clone();
        let consuming = async {
            if !self.end_consumer(channel, generation, &mut no_room).await {
                // Only a new connection gives back the memory of bodies that never arrive.
                return Err(ConsumeEnd::Lost(
                    "the consumer could not be cancelled".into(),
                ));
            }
            // Those without a size had room, and were too many.
            let sizes = no_room.iter().map(|message| message.size);
            let needed = sizes.filter(|size| *size > 0).max();
            // Not before the consumer is cancelled: it would get them again at once.
            if !give_back(no_room).await {
                let reason = "the connection did not take messages back";
                return Err(ConsumeEnd::Lost(reason.into()));
            }
            if let Some(size) = needed {
                let intake = channel.consumers.intake();
                let waits = self.metrics.waits.of(WaitReason::MessageMemory);
                select! {
                    biased;
                    error = permanent_error(&mut fatal) => return Err(ConsumeEnd::Fatal(error)),
                    () = stopping.cancelled() => return Err(ConsumeEnd::Stopped),
                    () = waits.count(intake.room_for(size)) => {}
                    () = ConsumerChannel::lost(&channel.channel) => {
                        return Err(ConsumeEnd::Lost("the channel is lost".into()));
                    }
                }
                self.prefetch.left_out(size, intake.free());
            }
            let next = self.prefetch.current();
            prefetch.store(next, Relaxed);
            tracing::debug!(
                prefetch = next,
                "The prefetch follows the size of messages."
            );
            let subscribing = subscribe(&channel.channel, &self.queue, next);
            match timeout(RESPONSE_TIMEOUT, subscribing).await {
                Ok(Ok(consumer)) => {
                    channel.consumer = consumer;
                    channel.consumers.next();
                    Ok(())
                }
                Ok(Err(error)) => Err(ConsumeEnd::Lost(describe(&error))),
                Err(_) => {
                    let operation = format!("consuming queue \"{}\" again", self.queue);
                    let error = BrokerError::no_response(&operation);
                    Err(ConsumeEnd::Lost(error.text().into()))
                }
            }
        };
        select! {
            biased;
            () = closing.cancelled() => Err(ConsumeEnd::Closing),
            consumed = consuming => consumed,
        }
    }

    /// Cancels the consumer, and takes the deliveries that the broker has already sent. Those that do not fit, or are more than
    /// the setting, are added to `no_room`. Returns whether these were all.
    async fn end_consumer(
        &mut self,
        channel: &mut ConsumerChannel,
        generation: &Arc<Generation>,
        no_room: &mut Vec<NoRoom>,
    ) -> bool {
        let is_cancelled = channel.cancel().await;
        while let Some(Some(Ok(delivery))) = channel.consumer.next().now_or_never() {
            if channel.consumers.are_at(self.setting) {
                // Its memory is given back at once.
                let received = channel
                    .consumers
                    .receive(delivery.delivery_tag, delivery.data.len());
                let size = match received.left_out {
                    Some(LeftOut::NoRoom(size)) => size,
                    Some(LeftOut::TooLarge(_)) | None => 0,
                };
                no_room.push(NoRoom {
                    acker: delivery.acker,
                    size,
                });
                continue;
            }
            let change = self.forward_one(delivery, channel, generation);
            no_room.extend(change.and_then(|change| change.no_room));
        }
        is_cancelled
    }

    /// Forwards a delivery, unless there is no room for it. Returns whether the prefetch has to change.
    fn forward_one(
        &mut self,
        delivery: ClientDelivery,
        channel: &ConsumerChannel,
        generation: &Arc<Generation>,
    ) -> Option<Change> {
        let consumers = &channel.consumers;
        let received = consumers.receive(delivery.delivery_tag, delivery.data.len());
        let back = |acker, size| {
            let no_room = Some(NoRoom { acker, size });
            Some(Change { no_room })
        };
        let withheld = match received.left_out {
            Some(LeftOut::NoRoom(size)) => return back(delivery.acker, size),
            Some(LeftOut::TooLarge(size)) => Some(size),
            None => None,
        };
        // Every delivery has contents. If these were lost, the message would be empty: the broker delivers it again.
        let Some(contents) = received.contents else {
            return back(delivery.acker, 0);
        };
        let room = received.room;
        let (channel, generation) = (&channel.channel, generation.clone());
        let delivery = delivery::receive(delivery, contents, channel, generation, room, withheld);
        let size = delivery.body.len();
        self.deliveries.send(Ok(delivery));
        self.prefetch
            .admitted(size, consumers.intake().free())
            .then_some(Change { no_room: None })
    }
}

/// The prefetch has to change: messages proved to be smaller, or this one does not fit.
struct Change {
    no_room: Option<NoRoom>,
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
