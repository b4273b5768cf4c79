//! The exclusive queues of this process, on one connection that is open only while it is used.

use super::{
    super::{
        SHUTDOWN,
        client::{Channel, Connection},
        connection::{ConnectionRole, Connector, RESPONSE_TIMEOUT},
        error::{BrokerError, MAX_REFUSALS, describe, reply_code},
    },
    PREFIX,
    on_demand::{Lease, Link, OnDemand},
    probe,
};
use crate::codes;
use lapin::{
    Error,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{FieldTable, ShortString},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    select,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The broker's reply code while another connection owns the queue.
const RESOURCE_LOCKED: u16 = 405;

/// Declares and deletes exclusive queues.
pub(super) struct Queues {
    connector: Arc<Connector>,
    /// The connection that owns the queues.
    connection: Arc<OnDemand<Connection>>,
    /// How often in a row the broker has refused the connection.
    refusals: AtomicU32,
    /// The broker says whether a queue of another process exists.
    can_probe: AtomicBool,
    closing: CancellationToken,
}

/// A queue that this process has declared. It belongs to the connection, which stays open meanwhile.
pub(super) struct OwnedQueue {
    name: ShortString,
    channel: Channel,
    connection: Lease<Connection>,
}

impl OwnedQueue {
    /// Returns false once the connection is lost, or the channel: nobody may know any more who owns the queue.
    pub(super) fn is_owned(&self) -> bool {
        self.connection.is_open() && self.channel.status().connected()
    }
}

/// Why a queue was not declared.
pub(super) enum Failure {
    /// Another connection owns it.
    Locked,
    /// The broker did not respond, or it may soon permit what it refuses now.
    Unavailable(String),
    /// The broker refused, and will refuse again.
    Refused(String),
}

impl Queues {
    pub(super) fn new(
        connector: Arc<Connector>,
        connection: Arc<OnDemand<Connection>>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            connector,
            connection,
            refusals: AtomicU32::new(0),
            can_probe: AtomicBool::new(true),
            closing,
        }
    }

    /// Tries once to declare the queue, with this limit for each response of the broker. It must not be cancelled: at its
    /// end this process owns the queue, or the queue does not exist.
    pub(super) async fn declare(
        &self,
        name: &ShortString,
        limit: Duration,
    ) -> Result<OwnedQueue, Failure> {
        let connection = self.connection(limit).await?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        let declaring = async {
            let channel = connection.create_channel().await?;
            channel
                .queue_declare(name.clone(), exclusive, FieldTable::default())
                .await?;
            Ok(channel)
        };
        match timeout(limit, declaring).await {
            Ok(Ok(channel)) => Ok(OwnedQueue {
                name: name.clone(),
                channel,
                connection,
            }),
            Ok(Err(error)) => Err(declare_failure(name, &error)),
            Err(_) => {
                // The broker may still declare the queue, unless the connection is closed.
                self.connection.abandon(connection).await;
                let error = BrokerError::no_response_within(limit, &declare_operation(name));
                Err(Failure::Unavailable(error.text().into()))
            }
        }
    }

    /// Deletes the queue, or closes the connection that owns it. Returns whether other processes have asked for it in the
    /// last second.
    pub(super) async fn delete(&self, queue: OwnedQueue) -> bool {
        let OwnedQueue {
            name,
            channel,
            connection,
        } = queue;
        // If the connection was lost, the broker has deleted the queue.
        if !connection.is_open() {
            return false;
        }
        let deleting = channel.queue_delete(name, QueueDeleteOptions::default());
        match timeout(RESPONSE_TIMEOUT, deleting).await {
            Ok(Ok(probes)) => return probes > 0,
            Ok(Err(error)) => {
                let error = describe(&error);
                tracing::debug!(error, "The lock is released with its connection.");
            }
            Err(_) => tracing::warn!(
                code = %codes::LOCK_RELEASE_TIMEOUT,
                seconds = RESPONSE_TIMEOUT.as_secs(),
                "The broker did not confirm that the lock is released. It is released with its connection."
            ),
        }
        self.connection.abandon(connection).await;
        false
    }

    /// Resolves when the queue of another process may be gone: when the broker says so, or after `delay` if this broker
    /// does not say it.
    pub(super) async fn wait_until_gone(&self, name: &ShortString, delay: Duration) {
        if self.can_probe.load(Relaxed)
            && let Ok(connection) = self.connection(RESPONSE_TIMEOUT).await
        {
            match probe::until_gone(&connection, name).await {
                Ok(()) => return,
                Err(error) if connection.is_open() => self.stop_probing(connection, &error).await,
                // The next attempt to declare the queue connects again.
                Err(_) => {}
            }
        }
        sleep(delay).await;
    }

    async fn stop_probing(&self, connection: Lease<Connection>, error: &BrokerError) {
        tracing::info!(
            error = error.text(),
            "Locks that other replicas hold are tried more rarely."
        );
        self.can_probe.store(false, Relaxed);
        // A broker without memory stops reading from connections that publish.
        if let BrokerError::Transient(_) = error {
            self.connection.abandon(connection).await;
        }
    }

    /// Closes the connection, and so deletes all queues.
    pub(super) async fn close(&self) {
        self.connection.close().await;
    }

    /// Returns the connection that owns the queues: the open one, or a new one.
    async fn connection(&self, limit: Duration) -> Result<Lease<Connection>, Failure> {
        let leasing = timeout(limit, self.connection.lease(self.connect()));
        select! {
            biased;
            () = self.closing.cancelled() => Err(Failure::Unavailable(SHUTDOWN.into())),
            leased = leasing => leased.unwrap_or_else(|_| {
                let seconds = limit.as_secs_f32();
                let reason = format!("no connection to the broker within {seconds:.1} s");
                Err(Failure::Unavailable(reason))
            }),
        }
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let error = match self.connector.connect(ConnectionRole::Lock).await {
            Ok(connection) => {
                self.refusals.store(0, Relaxed);
                return Ok(connection);
            }
            Err(error) => error,
        };
        let is_final = match &error {
            BrokerError::Transient(_) => false,
            BrokerError::LimitReached(_) => true,
            BrokerError::Refused(_) | BrokerError::Permanent(_) => {
                self.refusals.fetch_add(1, Relaxed) + 1 >= MAX_REFUSALS
            }
        };
        let reason = error.text().to_owned();
        Err(if is_final {
            Failure::Refused(reason)
        } else {
            Failure::Unavailable(reason)
        })
    }
}

fn declare_operation(queue: &ShortString) -> String {
    format!("declaring the exclusive queue \"{queue}\"")
}

fn declare_failure(queue: &ShortString, error: &Error) -> Failure {
    if reply_code(error) == Some(RESOURCE_LOCKED) {
        return Failure::Locked;
    }
    let operation = declare_operation(queue);
    match BrokerError::new(&operation, error) {
        BrokerError::Transient(text) => Failure::Unavailable(text),
        BrokerError::LimitReached(text) => Failure::Refused(text),
        BrokerError::Refused(_) | BrokerError::Permanent(_) => Failure::Refused(format!(
            "{operation}: {}; allow the user in ELASTICIO_AMQP_URI to configure queues named `{PREFIX}.*`",
            describe(error)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        broker::amqp::{
            connection::AmqpThread,
            lock::BrokerLock,
            simulated::{SimulatedBroker, Simulation},
            tests,
        },
        captured_log::CapturedLog,
    };
    use secrecy::SecretString;
    use std::future::pending;
    use tokio::time::Instant;

    /// The locks of a process on a simulated broker.
    struct Simulated {
        locks: BrokerLock,
        broker: SimulatedBroker,
        log: CapturedLog,
        _simulation: Simulation,
    }

    impl Simulated {
        fn new() -> Self {
            let broker = SimulatedBroker::new(1, usize::MAX, None, |_| {});
            let simulation = Simulation::of(broker.clone());
            let thread = AmqpThread::start().unwrap();
            let uri = SecretString::from("amqp://user@simulated");
            let connector = Connector::new(&uri, thread.handle().clone()).unwrap();
            Self {
                locks: BrokerLock::new(Arc::new(connector), &thread),
                broker,
                log: CapturedLog::begin(),
                _simulation: simulation,
            }
        }

        async fn declare(&self) -> OwnedQueue {
            let name = "q".into();
            let declaring = self.locks.0.queues.declare(&name, RESPONSE_TIMEOUT);
            declaring.await.ok().unwrap()
        }

        /// The broker does not respond any more. Returns how long `work` takes, in seconds.
        async fn in_silence<T>(&self, work: impl Future<Output = T>) -> (u64, T) {
            self.broker.silence(|_, _| true);
            let start = Instant::now();
            let done = work.await;
            (start.elapsed().as_secs(), done)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_does_not_say_who_waits_is_asked_otherwise() {
        let world = Simulated::new();
        let _owned = world.declare().await;
        let queues = &world.locks.0.queues;
        let (other, delay) = ("other".into(), Duration::from_secs(1));
        let waiting = queues.wait_until_gone(&other, delay);
        // The limit, the close of the connection, and the delay.
        assert_eq!(world.in_silence(waiting).await.0, 5 + 2 + 1);
        world.log.assert_one(&[
            "Locks that other replicas hold are tried more rarely.",
            "asking whether the lock is free: no response from the broker within 5 s",
        ]);
        let waiting = queues.wait_until_gone(&other, delay);
        assert_eq!(world.in_silence(waiting).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_that_is_not_declared_in_time_is_unavailable() {
        let world = Simulated::new();
        let _owned = world.declare().await;
        let (name, limit) = ("other".into(), Duration::from_secs(3));
        let declaring = world.locks.0.queues.declare(&name, limit);
        let (took, declared) = world.in_silence(declaring).await;
        let Err(Failure::Unavailable(reason)) = declared else {
            panic!("another result")
        };
        assert!(
            reason.ends_with("\"other\": no response from the broker within 3 s"),
            "{reason}"
        );
        // And the close of the connection.
        assert_eq!(took, 3 + 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_release_that_is_not_confirmed_takes_10_seconds() {
        let world = Simulated::new();
        let owned = world.declare().await;
        let deleting = world.locks.0.queues.delete(owned);
        // And the close of the connection.
        assert_eq!(world.in_silence(deleting).await, (10 + 2, false));
        let line = "The broker did not confirm that the lock is released.";
        world.log.assert_one(&[line, "seconds=10"]);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_the_locks_waits_a_second_for_their_tasks() {
        let world = Simulated::new();
        world.locks.0.tasks.spawn(pending::<()>());
        assert_eq!(world.in_silence(world.locks.close()).await.0, 1);
        let line = "The tasks of the locks did not end in time.";
        world.log.assert_one(&[line, "seconds=1"]);
    }

    #[tokio::test]
    async fn a_queue_is_owned_while_channel_and_connection_live() {
        let (uri, _broker) = tests::broker().await;
        let thread = AmqpThread::start().unwrap();
        let uri = SecretString::from(tests::text_of(&uri));
        let connector = Connector::new(&uri, thread.handle().clone()).unwrap();
        let locks = BrokerLock::new(Arc::new(connector), &thread);
        let queues = &locks.0.queues;
        let name = |n| ShortString::from(format!("{PREFIX}{n}-{}", uuid::Uuid::new_v4()));
        let limit = RESPONSE_TIMEOUT;
        let (Ok(first), Ok(second)) = (
            queues.declare(&name(1), limit).await,
            queues.declare(&name(2), limit).await,
        ) else {
            panic!("not declared")
        };
        assert!(first.is_owned() && second.is_owned());
        first.channel.close(200, "".into()).await.unwrap();
        assert!(!first.is_owned() && second.is_owned());
        second.connection.close(200, "".into()).await.unwrap();
        assert!(!second.is_owned());
    }
}
