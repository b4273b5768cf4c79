//! The consuming task, which owns the read connection: deliveries in, whatever happens to the connection.
//!
//! Each channel begins a new generation: what an earlier one delivered can no longer be settled, the broker delivers it
//! again. The connection outlives the consumer, because deliveries that are out still have to be settled.
//!
//! Settlements are not answered. So beside forwarding, the task asks the broker something on the same channel, whose
//! frames are processed in their order: an answer proves what was settled before the question.

use super::{
    Counters,
    delivery::{self, Origin},
    failure::{Failure, describe},
    session::{self, ANSWER_TIMEOUT, Connector, Pace, Role},
};
use crate::broker::transport::{Delivery, Generation, TransportError};
use futures_util::{FutureExt, StreamExt};
use lapin::{
    Channel, Connection,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use std::{
    convert::Infallible,
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

/// The pause between two questions. What is settled just before a connection breaks is proven by none, so it is short;
/// a question is two small frames.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(250);

/// A consumer on a channel of its own. It has to be kept for as long as its deliveries are to be settled.
pub(super) struct Subscription {
    connection: Connection,
    channel: Channel,
    consumer: lapin::Consumer,
}

impl Subscription {
    pub(super) async fn open(
        connection: Connection,
        queue: &ShortString,
        prefetch: u16,
    ) -> Result<Self, Failure> {
        let doing = format!("consuming queue \"{queue}\"");
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
        match timeout(ANSWER_TIMEOUT, opening).await {
            Ok(Ok((channel, consumer))) => Ok(Self {
                connection,
                channel,
                consumer,
            }),
            Ok(Err(error)) => Err(Failure::new(&doing, &error)),
            Err(_) => Err(Failure::Passing(format!(
                "{doing}: no answer from the broker"
            ))),
        }
    }

    /// Tells the broker to send no more. What it sent before is still to come out of the consumer.
    async fn cancel(&self) {
        let cancelled = self
            .channel
            .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
        match timeout(ANSWER_TIMEOUT / 2, cancelled).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(
                error = describe(&error),
                "There is no consumer left to cancel."
            ),
            Err(_) => tracing::warn!("The broker did not answer the cancelling of the consumer."),
        }
    }
}

/// Asks the broker, again and again while there are settlements, whether they have arrived: one question at a time. No
/// answer holds anything up, and where the broker stays silent nothing is proven. The question is to set the prefetch
/// that is set already, which counts for later consumers of the channel only: there are none.
async fn ask(channel: Channel, prefetch: u16, generation: &Generation) -> Infallible {
    loop {
        let question = generation.next_roundtrip().await;
        if channel
            .basic_qos(prefetch, BasicQosOptions { global: false })
            .await
            .is_err()
        {
            // The channel is gone, which the consumer hears as well.
            return std::future::pending().await;
        }
        generation.roundtrip_done(question);
        tracing::trace!(
            generation = generation.number,
            question,
            "The broker has what was settled before it was asked."
        );
        sleep(BETWEEN_QUESTIONS).await;
    }
}

/// What the consuming task works with.
pub(super) struct Reader {
    pub(super) connector: Arc<Connector>,
    pub(super) queue: ShortString,
    pub(super) prefetch: u16,
    pub(super) deliveries: mpsc::UnboundedSender<Result<Delivery<Origin>, TransportError>>,
    /// No new deliveries from here on.
    pub(super) stopping: CancellationToken,
    /// That there are none has been seen to.
    pub(super) stopped: CancellationToken,
    pub(super) closing: CancellationToken,
    /// Publishing is over for good, so there is no use in consuming.
    pub(super) fatal: watch::Receiver<Option<TransportError>>,
    pub(super) counters: Arc<Counters>,
}

/// Why no more deliveries come.
enum End {
    Closing,
    Stopped,
    Lost(String),
    Fatal(TransportError),
}

impl Reader {
    /// Works until the transport is closed. Without a first subscription it makes one.
    pub(super) async fn run(mut self, first: Option<Subscription>) {
        let mut pace = Pace::new();
        let (mut number, mut outages) = (0, 0);
        let mut subscription = first;
        if subscription.is_some() {
            pace.opened();
        }
        let end = loop {
            if subscription.is_none() {
                match self.reopen(&mut pace, &mut outages).await {
                    Ok(reopened) => subscription = Some(reopened),
                    Err(end) => break end,
                }
            }
            number += 1;
            let Some(current) = &mut subscription else {
                continue;
            };
            match self
                .forward(current, &Arc::new(Generation::new(number, outages)))
                .await
            {
                End::Lost(reason) => {
                    tracing::warn!(connection = %Role::Read, generation = number, error = reason, "The consumer is lost.");
                    subscription = None;
                    if self.stopping.is_cancelled() {
                        break End::Stopped;
                    }
                    self.counters.reconnects.fetch_add(1, Relaxed);
                }
                end => break end,
            }
        };
        if let End::Fatal(error) = end {
            // Nobody listens when the engine has gone already.
            let _ = self.deliveries.send(Err(error));
        }
        // This ends the deliveries. The connection stays, for those that are to be settled.
        drop(self.deliveries);
        self.stopped.cancel();
        self.closing.cancelled().await;
        if let Some(subscription) = &subscription {
            session::close(Role::Read, &subscription.connection).await;
        }
    }

    /// A try that fails is taken as a sign that the broker itself is away, and not only the connection.
    async fn reopen(&mut self, pace: &mut Pace, outages: &mut u32) -> Result<Subscription, End> {
        let (connector, queue, prefetch) = (&self.connector, &self.queue, self.prefetch);
        let away = &AtomicBool::new(false);
        let open = || async move {
            let opening = async {
                Subscription::open(connector.connect(Role::Read).await?, queue, prefetch).await
            };
            opening.await.inspect_err(|_| away.store(true, Relaxed))
        };
        let reopened = select! {
            biased;
            () = self.closing.cancelled() => Err(End::Closing),
            () = self.stopping.cancelled() => Err(End::Stopped),
            error = fatal(&mut self.fatal) => Err(End::Fatal(error)),
            reopened = session::reopen(Role::Read, pace, open) => reopened.map_err(End::Fatal),
        };
        *outages += u32::from(away.load(Relaxed));
        reopened
    }

    /// Hands on deliveries until there are no more.
    async fn forward(
        &mut self,
        subscription: &mut Subscription,
        generation: &Arc<Generation>,
    ) -> End {
        let mut reason = None;
        let mut asking = pin!(ask(subscription.channel.clone(), self.prefetch, generation));
        loop {
            select! {
                biased;
                () = self.closing.cancelled() => return End::Closing,
                error = fatal(&mut self.fatal) => return End::Fatal(error),
                () = self.stopping.cancelled() => {
                    select! {
                        () = self.closing.cancelled() => return End::Closing,
                        () = subscription.cancel() => {}
                    }
                    while let Some(Some(Ok(delivery))) = subscription.consumer.next().now_or_never() {
                        self.hand_on(delivery, generation);
                    }
                    return End::Stopped;
                }
                never = &mut asking => match never {},
                next = subscription.consumer.next() => match next {
                    Some(Ok(delivery)) => self.hand_on(delivery, generation),
                    Some(Err(error)) => reason = Some(describe(&error)),
                    None => return End::Lost(reason.unwrap_or_else(|| "the broker cancelled the consumer".into())),
                },
            }
        }
    }

    fn hand_on(&self, delivery: lapin::message::Delivery, generation: &Arc<Generation>) {
        // When nobody takes it, it stays unsettled, and the broker has it back when the connection closes.
        let _ = self
            .deliveries
            .send(Ok(delivery::receive(delivery, generation.clone())));
    }
}

/// Waits for the end of publishing, for ever if need be.
async fn fatal(fatal: &mut watch::Receiver<Option<TransportError>>) -> TransportError {
    match fatal
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|error| error.clone())
    {
        Some(error) => error,
        None => std::future::pending().await,
    }
}
