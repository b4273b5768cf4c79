//! The broker as a lock between replicas: who may declare the exclusive queue of a name holds the lock of that name.
//!
//! Such a queue belongs to one connection and ends with it, so a holder that is killed or cut off frees its lock without
//! doing anything. The locks have a connection of their own, made when the first one is asked for, that no message goes
//! over. Within this process, which is one owner to the broker, a mutex per name stands before the queue.

use super::{
    failure::{self, Failure, describe},
    session::{self, ANSWER_TIMEOUT, AmqpThread, Connector, Role},
    table,
};
use crate::{
    broker::transport::TransportError,
    oauth2::{LockError, LockGuard, RefreshLock},
};
use backon::{BackoffBuilder, ExponentialBuilder};
use futures_util::future::BoxFuture;
use lapin::{
    Channel, Connection,
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
    sync::{Mutex as Turn, OwnedMutexGuard, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the names of the queues begin with: permissions can be given by it.
const PREFIX: &str = "elasticio-sailor:oauth2:";
/// The broker gets so long to answer even when the time to wait is over.
const LEAST_ANSWER: Duration = Duration::from_secs(1);
/// The pauses between looks at a lock that another one holds, before up to as much again for jitter.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(125)];
/// What the broker answers while another connection has the queue.
const RESOURCE_LOCKED: u16 = 405;
/// For the tasks to end once the connection is closed.
const END: Duration = Duration::from_secs(1);
const SHUTDOWN: &str = "the connection was closed on shutdown";

/// Locks on the broker, for all replicas that use the same virtual host.
#[derive(Clone)]
pub(crate) struct BrokerLocks(Arc<Shared>);

impl BrokerLocks {
    /// Connects to nothing yet.
    pub(super) fn new(connector: Arc<Connector>, thread: &AmqpThread) -> Self {
        Self(Arc::new(Shared {
            connector,
            runtime: thread.handle().clone(),
            connection: Turn::default(),
            turns: Mutex::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Gives back every lock, in bounded time. From then on none is to be had.
    pub(super) async fn close(&self) {
        self.0.closing.cancel();
        if let Some(connection) = self.0.connection.lock().await.take() {
            session::close(Role::Lock, &connection).await;
        }
        self.0.tasks.close();
        // What does not end in time ends with the thread.
        let _ = timeout(END, self.0.tasks.wait()).await;
    }
}

impl RefreshLock for BrokerLocks {
    /// With a broker that does not answer it takes [`LEAST_ANSWER`] longer than `wait`.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        let shared = self.0.clone();
        Box::pin(async move {
            // The work has a task of its own. Cut off half-way it could leave a queue that nobody knows of.
            let (answer, outcome) = oneshot::channel();
            let (tasks, runtime) = (shared.tasks.clone(), shared.runtime.clone());
            tasks.spawn_on(shared.answer(name.to_owned(), wait, answer), &runtime);
            match outcome.await {
                Ok(Ok(held)) => Ok(Box::new(held) as Box<dyn LockGuard>),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(LockError::Unavailable(SHUTDOWN.into())),
            }
        })
    }
}

/// [`BrokerLocks`] without an adapter: they have the thread for themselves. Dropping it breaks their connection, and with
/// that the broker frees all locks.
pub(crate) struct LoneLocks {
    locks: BrokerLocks,
    _thread: AmqpThread,
}

impl LoneLocks {
    /// Connects to nothing yet.
    pub(crate) fn new(uri: &SecretString) -> Result<Self, TransportError> {
        let thread = AmqpThread::start()?;
        let connector = Connector::new(uri, thread.handle().clone())?;
        Ok(Self {
            locks: BrokerLocks::new(Arc::new(connector), &thread),
            _thread: thread,
        })
    }
}

impl RefreshLock for LoneLocks {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        self.locks.acquire(name, wait)
    }
}

/// What the tasks share.
struct Shared {
    connector: Arc<Connector>,
    runtime: Handle,
    /// The connection that owns the queues, once there is one.
    connection: Turn<Option<Arc<Connection>>>,
    /// Whose turn it is in this process, by name.
    turns: Mutex<HashMap<String, Weak<Turn<()>>>>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

type Answer = oneshot::Sender<Result<Holding, LockError>>;

impl Shared {
    async fn answer(self: Arc<Self>, name: String, wait: Duration, mut answer: Answer) {
        let outcome = self.seek(&name, wait, &mut answer).await;
        // When nobody waits for it any more it is dropped here, and with that released.
        let _ = answer.send(outcome);
    }

    async fn seek(
        self: &Arc<Self>,
        name: &str,
        wait: Duration,
        answer: &mut Answer,
    ) -> Result<Holding, LockError> {
        let queue =
            table::short(&format!("{PREFIX}{name}"), "the lock").map_err(LockError::Unsupported)?;
        let deadline = sleep(wait).deadline();
        let turn = select! {
            biased;
            turn = self.turn(name).lock_owned() => turn,
            () = self.given_up(deadline, answer) => return Err(LockError::TimedOut),
        };
        let [least, most] = PAUSES;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(least)
            .with_max_delay(most)
            .with_jitter();
        let mut pauses = pauses.without_max_times().build();
        loop {
            let error = match self.declare(&queue, deadline).await {
                Ok((connection, channel)) => {
                    let claim = Claim {
                        connection,
                        channel,
                        queue,
                        _turn: turn,
                    };
                    return Ok(Holding {
                        shared: self.clone(),
                        claim: Some(claim),
                    });
                }
                Err(error @ LockError::Unsupported(_)) => return Err(error),
                Err(error) => error,
            };
            select! {
                biased;
                () = self.given_up(deadline, answer) => return Err(error),
                () = sleep(pauses.next().unwrap_or(most)) => {}
            }
        }
    }

    /// Resolves when there is no use in waiting any longer.
    async fn given_up(&self, deadline: Instant, answer: &mut Answer) {
        select! {
            () = self.closing.cancelled() => {}
            () = answer.closed() => {}
            () = sleep_until(deadline) => {}
        }
    }

    fn turn(&self, name: &str) -> Arc<Turn<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(name).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(name.to_owned(), Arc::downgrade(&turn));
        turn
    }

    /// One try. It is never cut off: either the queue is ours, or it is not there.
    async fn declare(
        &self,
        queue: &ShortString,
        deadline: Instant,
    ) -> Result<(Arc<Connection>, Channel), LockError> {
        let limit = deadline
            .saturating_duration_since(Instant::now())
            .clamp(LEAST_ANSWER, ANSWER_TIMEOUT);
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
        let doing = format!("declaring the exclusive queue \"{queue}\"");
        let error: lapin::Error = match timeout(limit, declaring).await {
            Ok(Ok(channel)) => return Ok((connection, channel)),
            Ok(Err(error)) => error,
            Err(_) => {
                // It may still come to be: not on a connection that is closed.
                self.abandon(connection).await;
                return Err(LockError::Unavailable(format!(
                    "{doing}: no answer from the broker"
                )));
            }
        };
        if failure::code(&error) == Some(RESOURCE_LOCKED) {
            return Err(LockError::TimedOut);
        }
        Err(match Failure::new(&doing, &error) {
            Failure::Passing(text) => LockError::Unavailable(text),
            Failure::Refused(_) | Failure::Permanent(_) => LockError::Unsupported(format!(
                "{doing}: {}; allow the user in ELASTICIO_AMQP_URI to configure queues named `{PREFIX}.*`, or take \
                 ELASTICIO_OAUTH_LOCK away",
                describe(&error)
            )),
        })
    }

    /// The connection that owns the queues: the one there is, or a new one.
    async fn connection(&self, limit: Duration) -> Result<Arc<Connection>, LockError> {
        let connecting = async {
            let mut kept = self.connection.lock().await;
            if let Some(connection) = kept
                .as_ref()
                .filter(|connection| connection.status().connected())
            {
                return Ok(connection.clone());
            }
            *kept = None;
            let connection = self.connector.connect(Role::Lock).await;
            let connection = Arc::new(
                connection.map_err(|failure| LockError::Unavailable(failure.text().into()))?,
            );
            *kept = Some(connection.clone());
            Ok(connection)
        };
        select! {
            biased;
            () = self.closing.cancelled() => Err(LockError::Unavailable(SHUTDOWN.into())),
            connected = timeout(limit, connecting) => connected.unwrap_or_else(|_| {
                Err(LockError::Unavailable(format!("no connection to the broker within {:.1} s", limit.as_secs_f32())))
            }),
        }
    }

    /// Ends a connection that does not do what it should, and with it all that it owns.
    async fn abandon(&self, connection: Arc<Connection>) {
        {
            let mut kept = self.connection.lock().await;
            if kept
                .as_ref()
                .is_some_and(|kept| Arc::ptr_eq(kept, &connection))
            {
                *kept = None;
            }
        }
        session::close(Role::Lock, &connection).await;
    }

    async fn release(self: Arc<Self>, claim: Claim) {
        // Otherwise the queue has gone with its connection.
        if !claim.connection.status().connected() {
            return;
        }
        let deleting = claim
            .channel
            .queue_delete(claim.queue.clone(), QueueDeleteOptions::default());
        match timeout(ANSWER_TIMEOUT, deleting).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(
                    error = describe(&error),
                    "The lock goes with its connection."
                );
                self.abandon(claim.connection).await;
            }
            Err(_) => self.abandon(claim.connection).await,
        }
    }
}

/// What makes a lock ours. It is taken apart in this order: the next one of this process follows when all is gone.
struct Claim {
    channel: Channel,
    connection: Arc<Connection>,
    queue: ShortString,
    _turn: OwnedMutexGuard<()>,
}

/// A lock that is held, until it is dropped.
struct Holding {
    shared: Arc<Shared>,
    claim: Option<Claim>,
}

impl LockGuard for Holding {
    fn is_held(&self) -> bool {
        let connected = |claim: &Claim| {
            claim.connection.status().connected() && claim.channel.status().connected()
        };
        self.claim.as_ref().is_some_and(connected)
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(claim) = self.claim.take() {
            let Shared { tasks, runtime, .. } = &*self.shared;
            tasks.spawn_on(self.shared.clone().release(claim), runtime);
        }
    }
}
