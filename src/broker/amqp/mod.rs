//! The AMQP 0-9-1 adapter of [`Transport`], on lapin: the only place that names it. It knows nothing of components.
//!
//! Two connections, so that a broker which holds up publishing cannot hold up settling. Each is owned by one task that
//! keeps it alive: [`consumer::Reader`] and [`writer::Writer`]. lapin's own recovery is not used: it has no generations,
//! and it does not tell what waiting mends from what it does not. Nothing is declared or bound here but what
//! [`BrokerLocks`] locks with, on a third connection that is made when the first lock is asked for.

mod confirms;
mod consumer;
mod delivery;
mod failure;
mod guard;
mod lock;
mod publisher;
mod routing;
mod session;
mod table;
mod traffic;
mod writer;

#[cfg(test)]
mod tests;

pub(crate) use delivery::Origin;
pub(crate) use lock::{BrokerLocks, LoneLocks};

use crate::{
    broker::transport::{
        Confirm, Deliveries, Publication, PublishError, PublishErrorKind, ReboundLimitExceeded,
        Route, SettleOutcome, Transport, TransportError, Verdict,
    },
    settings::AmqpSettings,
};
use bytes::Bytes;
use consumer::{Reader, Subscription};
use failure::Failure;
use lapin::{Connection, types::ShortString};
use publisher::{Outgoing, Publisher, Purpose, RetryPolicy};
use routing::RoutingKeys;
use session::{ANSWER_TIMEOUT, AmqpThread, Connector, Role};
use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use traffic::{Waiting, WriteSession};
use writer::Writer;

/// For the two tasks to say goodbye to the broker, all in all.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The log targets of the client library. They are not to be heard: it reports even a connection that was closed on
/// purpose as an error, and what matters this module says itself.
pub(crate) const CLIENT_TARGETS: [&str; 2] = ["lapin", "async_rs"];

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections or channels that broke.
    pub(crate) reconnects: AtomicU64,
    /// Publishes beyond the first of their message.
    pub(crate) publish_retries: AtomicU64,
    /// Publishes that no queue got.
    pub(crate) unroutable: AtomicU64,
}

/// A connected adapter. [`Transport::close`] ends it; dropping it breaks its connections.
pub(crate) struct Amqp {
    settings: AmqpSettings,
    queue: ShortString,
    connector: Arc<Connector>,
    publisher: Publisher,
    /// The first read connection, until it is consumed on.
    read: Mutex<Option<Connection>>,
    fatal: watch::Receiver<Option<TransportError>>,
    stopping: CancellationToken,
    stopped: CancellationToken,
    closing: CancellationToken,
    tasks: TaskTracker,
    counters: Arc<Counters>,
    locks: BrokerLocks,
    thread: AmqpThread,
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Amqp {
    /// Makes both connections, each with as many tries as the settings say. From then on losses are mended inside.
    pub(crate) async fn connect(settings: &AmqpSettings) -> Result<Self, TransportError> {
        let queue = table::short(&settings.queue, "ELASTICIO_LISTEN_MESSAGES_ON")
            .map_err(TransportError)?;
        let exchange = table::short(&settings.exchange, "ELASTICIO_PUBLISH_MESSAGES_TO")
            .map_err(TransportError)?;
        let own_keys = [
            (&settings.data_key, "ELASTICIO_DATA_ROUTING_KEY"),
            (&settings.error_key, "ELASTICIO_ERROR_ROUTING_KEY"),
            (&settings.snapshot_key, "ELASTICIO_SNAPSHOT_ROUTING_KEY"),
            (&settings.rebound_key, "ELASTICIO_REBOUND_ROUTING_KEY"),
        ];
        let own_keys = own_keys.map(|(key, name)| table::short(key, name).map_err(TransportError));
        let [data, error, snapshot, rebound] = own_keys;
        let own_keys = [data?, error?, snapshot?, rebound?];
        let thread = AmqpThread::start()?;
        let connector = Arc::new(Connector::new(&settings.uri, thread.handle().clone())?);

        let (read, write) =
            tokio::try_join!(connector.connect_first(Role::Read, settings), async {
                let connection = connector.connect_first(Role::Write, settings).await?;
                WriteSession::open(connection)
                    .await
                    .map_err(|failure| TransportError(failure.text().to_owned()))
            })?;

        let (publisher, jobs) = Publisher::new();
        let (fatal_sender, fatal) = watch::channel(None);
        let (closing, tasks, counters) = (
            CancellationToken::new(),
            TaskTracker::new(),
            Arc::<Counters>::default(),
        );
        let policy = RetryPolicy {
            delay: settings.publish_retry_delay,
            max_delay: settings.publish_max_retry_delay,
            attempts: settings.publish_attempts,
        };
        let writer = Writer {
            connector: connector.clone(),
            keys: RoutingKeys::new(
                exchange.clone(),
                own_keys,
                settings.unbound_is_error,
                settings.binding_timeout,
            ),
            exchange,
            policy,
            jobs,
            closing: closing.clone(),
            fatal: fatal_sender,
            counters: counters.clone(),
            waiting: Waiting::default(),
        };
        tasks.spawn_on(writer.run(write), thread.handle());

        Ok(Self {
            settings: settings.clone(),
            queue,
            locks: BrokerLocks::new(connector.clone(), &thread),
            connector,
            publisher,
            read: Mutex::new(Some(read)),
            fatal,
            stopping: CancellationToken::new(),
            stopped: CancellationToken::new(),
            closing,
            tasks,
            counters,
            thread,
        })
    }

    /// Locks among the replicas of this step, on the same broker; they end with [`Transport::close`].
    pub(crate) fn locks(&self) -> BrokerLocks {
        self.locks.clone()
    }

    fn take_read_connection(&self) -> Option<Connection> {
        self.read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn routing_key(&self, route: Route) -> Result<String, String> {
        let settings = &self.settings;
        Ok(match route {
            Route::Data => settings.data_key.clone(),
            Route::Error => settings.error_key.clone(),
            Route::Snapshot => settings.snapshot_key.clone(),
            Route::Custom(key) | Route::Reply(key) => key,
            Route::UpdateKeys => settings
                .update_keys_key
                .clone()
                .ok_or("there is no routing key for new credentials; set ELASTICIO_UPDATE_KEYS_ROUTING_KEY")?,
        })
    }
}

fn purpose(route: &Route) -> Purpose {
    match route {
        Route::Data | Route::Custom(_) => Purpose::Data,
        Route::Snapshot => Purpose::Snapshot,
        Route::Error => Purpose::Error,
        Route::UpdateKeys | Route::Reply(_) => Purpose::Answer,
    }
}

impl Transport for Amqp {
    type Handle = Origin;

    async fn consume(&self) -> Result<Deliveries<Origin>, TransportError> {
        // With the connection of the start, an answer that is final is known before the process begins its work.
        let first = match self.take_read_connection() {
            Some(connection) => {
                match Subscription::open(connection, &self.queue, self.settings.prefetch).await {
                    Ok(subscription) => Some(subscription),
                    Err(Failure::Passing(text)) => {
                        tracing::warn!(connection = %Role::Read, error = text, "Could not consume, trying again.");
                        None
                    }
                    Err(Failure::Refused(text) | Failure::Permanent(text)) => {
                        self.stopped.cancel();
                        return Err(TransportError(text));
                    }
                }
            }
            None => None,
        };
        let (sender, deliveries) = mpsc::unbounded_channel();
        let reader = Reader {
            connector: self.connector.clone(),
            queue: self.queue.clone(),
            prefetch: self.settings.prefetch,
            deliveries: sender,
            stopping: self.stopping.clone(),
            stopped: self.stopped.clone(),
            closing: self.closing.clone(),
            fatal: self.fatal.clone(),
            counters: self.counters.clone(),
        };
        self.tasks.spawn_on(reader.run(first), self.thread.handle());
        Ok(deliveries)
    }

    fn publish(
        &self,
        Publication {
            route,
            headers,
            body,
        }: Publication,
    ) -> Confirm {
        let purpose = purpose(&route);
        let outgoing = self
            .routing_key(route)
            .map_err(|cause| (PublishErrorKind::Other, cause))
            .and_then(|key| {
                let headers = table::from_json(&headers)
                    .map_err(|cause| (PublishErrorKind::HeadersTooLarge, cause))?;
                Ok(Outgoing::event(
                    purpose,
                    key,
                    headers,
                    body,
                    self.settings.persistent,
                ))
            });
        match outgoing {
            Ok(outgoing) => self.publisher.send(outgoing),
            Err((kind, reason)) => {
                let message_id = headers
                    .get("messageId")
                    .and_then(|id| id.as_str())
                    .unwrap_or_default()
                    .to_owned();
                Confirm::ready(Err(PublishError {
                    message_id,
                    reason,
                    kind,
                }))
            }
        }
    }

    fn rebound(
        &self,
        origin: &Origin,
        body: Bytes,
        reason: &str,
    ) -> Result<Confirm, ReboundLimitExceeded> {
        let outgoing = origin.rebound(&self.settings, self.connector.user(), body, reason)?;
        Ok(self.publisher.send(outgoing))
    }

    async fn settle(&self, origin: &Origin, verdict: Verdict) -> SettleOutcome {
        // Once publishing is over, a message may have failed of that alone, and nobody was told: it has to come again.
        if self.closing.is_cancelled()
            || (verdict == Verdict::Rejected && self.fatal.borrow().is_some())
        {
            return SettleOutcome::NotSent;
        }
        origin.settle(verdict, ANSWER_TIMEOUT).await
    }

    async fn stop_consuming(&self) {
        self.stopping.cancel();
        // Otherwise there is nothing to stop: consuming has not begun.
        let consuming = self
            .read
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none();
        if consuming
            && timeout(ANSWER_TIMEOUT, self.stopped.cancelled())
                .await
                .is_err()
        {
            tracing::warn!("Consuming did not stop in time.");
        }
    }

    async fn close(&self) {
        self.closing.cancel();
        if let Some(unused) = self.take_read_connection() {
            session::close(Role::Read, &unused).await;
        }
        self.tasks.close();
        let closing = async { tokio::join!(self.tasks.wait(), self.locks.close()) };
        if timeout(CLOSE_TIMEOUT, closing).await.is_err() {
            tracing::warn!("The connections to the broker did not close in time and are dropped.");
        }
        self.thread.stop();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        tracing::info!(
            reconnects = count(&self.counters.reconnects),
            publish_retries = count(&self.counters.publish_retries),
            unroutable = count(&self.counters.unroutable),
            "What the connections to the broker went through"
        );
    }
}
