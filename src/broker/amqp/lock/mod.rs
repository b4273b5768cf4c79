//! Locks that replicas share through the broker. The process that can declare the exclusive queue of a name holds the
//! lock of that name.
//!
//! An exclusive queue belongs to one connection and ends with it. So a holder that is killed or disconnected releases
//! its lock automatically. The locks have a connection of their own, which is opened for the first lock, and closed when
//! it was not used for a minute. For the broker this process is one owner. So within the process, callers take a mutex
//! per name before they declare the queue.
//!
//! Some brokers do not let this user declare queues. The first refusal is remembered, and the broker is not asked again.

mod on_demand;
mod probe;
mod queues;

use super::{
    SHUTDOWN,
    connection::{AmqpThread, Connector, RESPONSE_TIMEOUT},
    table,
};
use crate::{
    broker::transport::TransportError,
    clients::retry::RetryPolicy,
    codes,
    monitoring::{WaitReason, Waits},
    oauth2::{LockError, LockGuard, RefreshLock},
};
use futures_util::future::BoxFuture;
use lapin::types::ShortString;
use on_demand::OnDemand;
use queues::{Failure, OwnedQueue, Queues};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
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
/// How long the connection stays open without being used.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The minimum time for the broker's response, even if the caller's time to wait is over.
const MIN_RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long to wait for a broker that does not respond. A holder may take longer than this.
const UNAVAILABLE_LIMIT: Duration = Duration::from_secs(30);
/// The delays between attempts where the broker does not say whether the lock is free. Each attempt for a lock that
/// another process holds is an error in the broker's log. A released lock is found at the latest after the longest
/// delay, which is 2 s with jitter.
const RETRY_DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(50), Duration::from_secs(1)).with_jitter();
/// How long a process that releases a lock leaves it to others who wait for it: longer than these need to notice.
const YIELD: Duration = Duration::from_millis(400);
/// The time limit for the tasks to end after the connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Locks for all replicas that use the same virtual host.
#[derive(Clone)]
pub(crate) struct BrokerLock(Arc<Shared>);

impl BrokerLock {
    /// Creates the locks. Connects when the first lock is acquired.
    pub(super) fn new(connector: Arc<Connector>, thread: &AmqpThread) -> Self {
        Self::on(connector, thread.handle().clone(), IDLE_LIMIT)
    }

    /// Creates the locks. Their tasks run on `runtime`, and an unused connection is closed after `idle_limit`.
    pub(super) fn on(connector: Arc<Connector>, runtime: Handle, idle_limit: Duration) -> Self {
        let (tasks, closing) = (TaskTracker::new(), CancellationToken::new());
        let waits = connector.metrics().waits.of(WaitReason::Lock).clone();
        let connection = OnDemand::new(idle_limit, runtime.clone(), tasks.clone(), closing.clone());
        Self(Arc::new(Shared {
            runtime,
            queues: Queues::new(connector, connection, closing.clone()),
            refusal: OnceLock::new(),
            local_mutexes: Mutex::default(),
            waits,
            closing,
            tasks,
        }))
    }

    /// Releases all locks, in limited time. After that no lock can be acquired.
    pub(super) async fn close(&self) {
        self.0.closing.cancel();
        self.0.queues.close().await;
        self.0.tasks.close();
        if timeout(CLOSE_TIMEOUT, self.0.tasks.wait()).await.is_err() {
            tracing::warn!(
                code = %codes::BROKER_CLOSE_TIMEOUT,
                seconds = CLOSE_TIMEOUT.as_secs(),
                "The tasks of the locks did not end in time. They end with their thread; the broker frees the locks."
            );
        }
    }
}

impl RefreshLock for BrokerLock {
    /// Waits for the lock. If the broker does not respond, this can take [`MIN_RESPONSE_TIMEOUT`] longer than `wait`, and
    /// ends soon after [`UNAVAILABLE_LIMIT`].
    ///
    /// If the broker refuses, the log has one warning, and all further calls return [`LockError::Unsupported`] at once.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            shared.check_refusal()?;
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
    runtime: Handle,
    queues: Queues,
    /// Why the broker permits no locks, once it has said so.
    refusal: OnceLock<String>,
    /// The mutexes of this process, by name of the lock.
    local_mutexes: Mutex<HashMap<String, Weak<AsyncMutex<()>>>>,
    /// Waits for other replicas.
    waits: Waits,
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
        let queue = table::short(&format!("{PREFIX}{name}"), "the lock")
            .map_err(|reason| self.refuse(reason))?;
        let deadline = sleep(wait).deadline();
        let local_guard = select! {
            biased;
            local_guard = self.local_mutex(name).lock_owned() => local_guard,
            () = self.cancelled_or_timed_out(deadline, reply) => return Err(LockError::TimedOut),
        };
        let held = Held {
            queue: self.wait_for(&queue, deadline, reply).await?,
            _local_guard: local_guard,
        };
        Ok(BrokerLockGuard {
            shared: self.clone(),
            held: Some(held),
        })
    }

    /// Tries to declare the queue until that succeeds or further waiting is useless.
    async fn wait_for(
        &self,
        queue: &ShortString,
        deadline: Instant,
        reply: &mut AcquireReply,
    ) -> Result<OwnedQueue, LockError> {
        let mut delays = RETRY_DELAYS.delays();
        let (mut unavailable_since, mut waiting) = (None, None);
        loop {
            // Another caller in this process may have been refused meanwhile.
            self.check_refusal()?;
            let limit = deadline
                .saturating_duration_since(Instant::now())
                .clamp(MIN_RESPONSE_TIMEOUT, RESPONSE_TIMEOUT);
            let (error, deadline) = match self.queues.declare(queue, limit).await {
                Ok(queue) => return Ok(queue),
                Err(Failure::Refused(reason)) => return Err(self.refuse(reason)),
                Err(Failure::Locked) => {
                    unavailable_since = None;
                    waiting.get_or_insert_with(|| self.waits.begin());
                    (LockError::TimedOut, deadline)
                }
                Err(Failure::Unavailable(reason)) => {
                    waiting = None;
                    let since = *unavailable_since.get_or_insert_with(Instant::now);
                    let deadline = deadline.min(since + UNAVAILABLE_LIMIT);
                    (LockError::Unavailable(reason), deadline)
                }
            };
            let delay = delays.next().unwrap_or(RETRY_DELAYS.max_delay);
            let pause = async {
                match error {
                    LockError::TimedOut => self.queues.wait_until_gone(queue, delay).await,
                    _ => sleep(delay).await,
                }
            };
            select! {
                biased;
                () = self.cancelled_or_timed_out(deadline, reply) => {
                    return Err(with_time(error, unavailable_since));
                }
                () = pause => {}
            }
        }
    }

    fn check_refusal(&self) -> Result<(), LockError> {
        match self.refusal.get() {
            Some(reason) => Err(LockError::Unsupported(reason.clone())),
            None => Ok(()),
        }
    }

    /// Remembers that the broker permits no locks, and warns about the first refusal.
    fn refuse(&self, reason: String) -> LockError {
        if self.refusal.set(reason.clone()).is_ok() {
            tracing::warn!(
                code = %codes::LOCK_REFUSED,
                reason,
                "The broker does not allow the lock between replicas, so tokens are refreshed without it: replicas may \
                 refresh at the same time. If the provider replaces refresh tokens, run one replica or do what the \
                 reason says. ELASTICIO_OAUTH_LOCK=off turns the lock off, and this warning."
            );
        }
        LockError::Unsupported(reason)
    }

    async fn release(self: Arc<Self>, held: Held) {
        let Held {
            queue,
            _local_guard,
        } = held;
        let others_wait = self.queues.delete(queue).await;
        if others_wait {
            // The next caller in this process would always be faster than they are.
            select! {
                () = self.closing.cancelled() => {}
                () = sleep(YIELD) => {}
            }
        }
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
}

/// Adds to an error of the broker how long it has been so.
fn with_time(error: LockError, since: Option<Instant>) -> LockError {
    match (error, since) {
        (LockError::Unavailable(reason), Some(since)) => {
            let seconds = since.elapsed().as_secs();
            LockError::Unavailable(format!("{reason} (tried for {seconds} s)"))
        }
        (error, _) => error,
    }
}

/// A lock that is held. Dropping the guard releases it.
struct BrokerLockGuard {
    shared: Arc<Shared>,
    held: Option<Held>,
}

/// What a process has while it holds a lock.
struct Held {
    queue: OwnedQueue,
    _local_guard: OwnedMutexGuard<()>,
}

impl LockGuard for BrokerLockGuard {
    fn is_held(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| held.queue.is_owned())
    }
}

impl Drop for BrokerLockGuard {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let releasing = self.shared.clone().release(held);
            self.shared.tasks.spawn_on(releasing, &self.shared.runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiter_asks_rarely_and_soon_after_a_release() {
        let mut waited = Duration::ZERO;
        let delays = RETRY_DELAYS.delays().take_while(|delay| {
            waited += *delay;
            waited < Duration::from_secs(10)
        });
        let delays: Vec<_> = delays.collect();
        assert!((7..=13).contains(&delays.len()), "{delays:?}");
        assert!(delays[0] <= Duration::from_millis(100), "{delays:?}");
        let longest = delays.iter().max().unwrap();
        assert!(*longest <= Duration::from_secs(2), "{delays:?}");
    }
}
