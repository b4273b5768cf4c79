//! Locks that replicas share through the broker. The process that can declare the exclusive queue of a name holds the
//! lock of that name.
//!
//! An exclusive queue belongs to one connection and ends with it. So a holder that is killed or disconnected releases
//! its lock automatically. The locks have a connection of their own, without messages, which is opened for the first
//! lock. For the broker this process is one owner. So within the process, callers take a mutex per name before they
//! declare the queue.

use super::{
    SHUTDOWN,
    connection::{self, AmqpThread, ConnectionRole, Connector, RESPONSE_TIMEOUT},
    error::{BrokerError, describe, reply_code},
    table,
};
use crate::{
    broker::transport::TransportError,
    clients::retry::RetryPolicy,
    oauth2::{LockError, LockGuard, RefreshLock},
};
use futures_util::future::BoxFuture;
use lapin::{
    Channel, Connection, Error,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::{FieldTable, ShortString},
};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    select,
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The prefix of the queues' names. Permissions can be granted for it.
const PREFIX: &str = "elasticio-sailor:oauth2:";
/// The minimum time for the broker's response, even if the caller's time to wait is over.
const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// The delays between attempts to get a lock that another process holds.
const POLL_DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(20), Duration::from_millis(125)).with_jitter();
/// The broker's reply code while another connection owns the queue.
const RESOURCE_LOCKED: u16 = 405;
/// The time limit for the tasks to end after the connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Locks for all replicas that use the same virtual host.
#[derive(Clone)]
pub(crate) struct BrokerLock(Arc<Shared>);

impl BrokerLock {
    /// Creates the locks. Connects when the first lock is acquired.
    pub(super) fn new(connector: Arc<Connector>, thread: &AmqpThread) -> Self {
        Self(Arc::new(Shared {
            connector,
            runtime: thread.handle().clone(),
            connection: AsyncMutex::default(),
            local_mutexes: Mutex::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Releases all locks, in limited time. After that no lock can be acquired.
    pub(super) async fn close(&self) {
        self.0.closing.cancel();
        if let Some(connection) = self.0.connection.lock().await.take() {
            connection::close(ConnectionRole::Lock, &connection).await;
        }
        self.0.tasks.close();
        // Tasks that do not end in time end with the thread.
        let _ = timeout(CLOSE_TIMEOUT, self.0.tasks.wait()).await;
    }
}

impl RefreshLock for BrokerLock {
    /// Waits for the lock. If the broker does not respond, this takes [`MIN_RESPONSE_TIMEOUT`] longer than `wait`.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            // Runs in a task, because a caller that is cancelled half-way could leave a queue that nothing deletes.
            let (reply, result) = oneshot::channel();
            let acquiring = shared
                .clone()
                .acquire_and_send(name.to_owned(), wait, reply);
            shared.tasks.spawn_on(acquiring, &shared.runtime);
            match result.await {
                Ok(Ok(guard)) => Ok(Box::new(guard) as Box<dyn LockGuard>),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(LockError::Unavailable(SHUTDOWN.into())),
            }
        })
    }
}

/// A [`BrokerLock`] without an adapter, with its own thread. Dropping it breaks its connection, so that the broker
/// releases all locks.
pub(crate) struct StandaloneBrokerLock {
    lock: BrokerLock,
    _thread: AmqpThread,
}

impl StandaloneBrokerLock {
    /// Creates the locks. Connects when the first lock is acquired.
    pub(crate) fn new(uri: &SecretString) -> Result<Self, TransportError> {
        let thread = AmqpThread::start()?;
        let connector = Connector::new(uri, thread.handle().clone())?;
        Ok(Self {
            lock: BrokerLock::new(Arc::new(connector), &thread),
            _thread: thread,
        })
    }
}

impl RefreshLock for StandaloneBrokerLock {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        self.lock.acquire(name, wait)
    }
}

/// The state that the tasks share.
struct Shared {
    connector: Arc<Connector>,
    runtime: Handle,
    /// The connection that owns the queues, once it is open.
    connection: AsyncMutex<Option<Arc<Connection>>>,
    /// The mutexes of this process, by name of the lock.
    local_mutexes: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

type AcquireReply = oneshot::Sender<Result<BrokerLockGuard, LockError>>;

impl Shared {
    async fn acquire_and_send(
        self: Arc<Self>,
        name: String,
        wait: Duration,
        mut reply: AcquireReply,
    ) {
        let result = self.acquire(&name, wait, &mut reply).await;
        // If the caller was dropped, the guard is dropped here, which releases the lock.
        let _ = reply.send(result);
    }

    async fn acquire(
        self: &Arc<Self>,
        name: &str,
        wait: Duration,
        reply: &mut AcquireReply,
    ) -> Result<BrokerLockGuard, LockError> {
        let queue =
            table::short(&format!("{PREFIX}{name}"), "the lock").map_err(LockError::Unsupported)?;
        let deadline = sleep(wait).deadline();
        let local_guard = select! {
            biased;
            local_guard = self.local_mutex(name).lock_owned() => local_guard,
            () = self.cancelled_or_timed_out(deadline, reply) => return Err(LockError::TimedOut),
        };
        let mut delays = POLL_DELAYS.delays();
        let (connection, channel) = loop {
            let error = match self.declare(&queue, deadline).await {
                Ok(declared) => break declared,
                Err(error @ LockError::Unsupported(_)) => return Err(error),
                Err(error) => error,
            };
            let delay = delays.next().unwrap_or(POLL_DELAYS.max_delay);
            select! {
                biased;
                () = self.cancelled_or_timed_out(deadline, reply) => return Err(error),
                () = sleep(delay) => {}
            }
        };
        Ok(BrokerLockGuard {
            shared: self.clone(),
            queue: Some(LockQueue {
                channel,
                connection,
                name: queue,
                _local_guard: local_guard,
            }),
        })
    }

    /// Resolves when further waiting is useless.
    async fn cancelled_or_timed_out(&self, deadline: Instant, reply: &mut AcquireReply) {
        select! {
            () = self.closing.cancelled() => {}
            () = reply.closed() => {}
            () = sleep_until(deadline) => {}
        }
    }

    fn local_mutex(&self, name: &str) -> Arc<AsyncMutex<()>> {
        let mut mutexes = self
            .local_mutexes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mutex) = mutexes.get(name).and_then(Weak::upgrade) {
            return mutex;
        }
        mutexes.retain(|_, mutex| mutex.strong_count() > 0);
        let mutex = Arc::default();
        mutexes.insert(name.to_owned(), Arc::downgrade(&mutex));
        mutex
    }

    /// Tries once to declare the queue. It must not be cancelled: at its end this process owns the queue, or the queue
    /// does not exist.
    async fn declare(
        &self,
        queue: &ShortString,
        deadline: Instant,
    ) -> Result<(Arc<Connection>, Channel), LockError> {
        let limit = deadline
            .saturating_duration_since(Instant::now())
            .clamp(MIN_RESPONSE_TIMEOUT, RESPONSE_TIMEOUT);
        let connection = self.connection(limit).await?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        let declaring = async {
            let channel = connection.create_channel().await?;
            channel
                .queue_declare(queue.clone(), exclusive, FieldTable::default())
                .await?;
            Ok(channel)
        };
        match timeout(limit, declaring).await {
            Ok(Ok(channel)) => Ok((connection, channel)),
            Ok(Err(error)) => Err(declare_error(queue, &error)),
            Err(_) => {
                // The broker may still declare the queue, unless the connection is closed.
                self.abandon(connection).await;
                let operation = declare_operation(queue);
                let error = BrokerError::no_response(&operation);
                Err(LockError::Unavailable(error.text().into()))
            }
        }
    }

    /// Returns the connection that owns the queues: the open one, or a new one.
    async fn connection(&self, limit: Duration) -> Result<Arc<Connection>, LockError> {
        select! {
            biased;
            () = self.closing.cancelled() => Err(LockError::Unavailable(SHUTDOWN.into())),
            connected = timeout(limit, self.connect()) => connected.unwrap_or_else(|_| {
                let seconds = limit.as_secs_f32();
                Err(LockError::Unavailable(format!("no connection to the broker within {seconds:.1} s")))
            }),
        }
    }

    async fn connect(&self) -> Result<Arc<Connection>, LockError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref()
            && connection.status().connected()
        {
            return Ok(connection.clone());
        }
        *kept = None;
        let connection = self.connector.connect(ConnectionRole::Lock).await;
        let connection = connection.map_err(|error| LockError::Unavailable(error.text().into()))?;
        let connection = Arc::new(connection);
        *kept = Some(connection.clone());
        Ok(connection)
    }

    /// Closes a connection that does not work as expected, and so deletes all queues that it owns.
    async fn abandon(&self, connection: Arc<Connection>) {
        let mut kept = self.connection.lock().await;
        let is_kept = kept.as_ref();
        if is_kept.is_some_and(|kept| Arc::ptr_eq(kept, &connection)) {
            *kept = None;
        }
        drop(kept);
        connection::close(ConnectionRole::Lock, &connection).await;
    }

    async fn release(self: Arc<Self>, queue: LockQueue) {
        // If the connection was lost, the broker has deleted the queue.
        if !queue.connection.status().connected() {
            return;
        }
        let deleting = queue
            .channel
            .queue_delete(queue.name.clone(), QueueDeleteOptions::default());
        match timeout(RESPONSE_TIMEOUT, deleting).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                let error = describe(&error);
                tracing::debug!(error, "The lock is released with its connection.");
                self.abandon(queue.connection).await;
            }
            Err(_) => self.abandon(queue.connection).await,
        }
    }
}

fn declare_operation(queue: &ShortString) -> String {
    format!("declaring the exclusive queue \"{queue}\"")
}

fn declare_error(queue: &ShortString, error: &Error) -> LockError {
    if reply_code(error) == Some(RESOURCE_LOCKED) {
        return LockError::TimedOut;
    }
    let operation = declare_operation(queue);
    match BrokerError::new(&operation, error) {
        BrokerError::Transient(text) => LockError::Unavailable(text),
        BrokerError::Refused(_) | BrokerError::Permanent(_) => LockError::Unsupported(format!(
            "{operation}: {}; allow the user in ELASTICIO_AMQP_URI to configure queues named `{PREFIX}.*`, or unset \
             ELASTICIO_OAUTH_LOCK",
            describe(error)
        )),
    }
}

/// The queue whose ownership is the lock. The fields are dropped in this order: the mutex comes last, so that the next
/// caller in this process waits until the rest is dropped.
struct LockQueue {
    channel: Channel,
    connection: Arc<Connection>,
    name: ShortString,
    _local_guard: OwnedMutexGuard<()>,
}

impl LockQueue {
    fn is_connected(&self) -> bool {
        self.connection.status().connected() && self.channel.status().connected()
    }
}

/// A lock that is held. Dropping the guard releases it.
struct BrokerLockGuard {
    shared: Arc<Shared>,
    queue: Option<LockQueue>,
}

impl LockGuard for BrokerLockGuard {
    fn is_held(&self) -> bool {
        self.queue.as_ref().is_some_and(LockQueue::is_connected)
    }
}

impl Drop for BrokerLockGuard {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            let releasing = self.shared.clone().release(queue);
            let Shared { tasks, runtime, .. } = &*self.shared;
            tasks.spawn_on(releasing, runtime);
        }
    }
}
