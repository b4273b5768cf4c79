//! The lock between replicas, on a broker: the emulator's, or RabbitMQ where `SAILOR_TEST_AMQP_URI` names one.

use super::rig::{Replica, Rig};
use futures_util::future::BoxFuture;
use sailor::{
    oauth2::internals::{LockError, LockGuard, RefreshLock, SessionConfig},
    testing::broker_lock,
};
use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// A broker that keeps time by itself, whatever the clock of the test does.
pub struct Broker {
    pub uri: String,
    emulated: Option<(emulator::broker::Broker, oneshot::Sender<()>)>,
}

impl Broker {
    pub async fn start() -> Self {
        match std::env::var("SAILOR_TEST_AMQP_URI") {
            Ok(uri) => Self {
                uri,
                emulated: None,
            },
            Err(_) => Self::emulated().await,
        }
    }

    /// The emulator's, for what cannot be asked of one that others use.
    pub async fn emulated() -> Self {
        let (started, broker) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let _ = started.send(
                    emulator::broker::Broker::start(Default::default())
                        .await
                        .unwrap(),
                );
                let _ = stopped.await;
            });
        });
        let broker = broker.await.unwrap();
        Self {
            uri: broker.uri(),
            emulated: Some((broker, stop)),
        }
    }

    /// Cuts off everyone who is connected.
    pub fn cut(&self) {
        let (broker, _) = self.emulated.as_ref().expect("an emulated broker");
        assert!(broker.drop_connections() > 0);
    }

    /// What a process with the lock has.
    pub fn tools(&self, rig: &Rig) -> SessionConfig {
        SessionConfig {
            lock: Some(broker_lock(&self.uri).unwrap()),
            ..rig.tools()
        }
    }

    /// A process that uses the rig's account with the lock.
    pub fn replica(&self, rig: &Rig) -> Replica {
        rig.replica_using(rig.account.clone(), self.tools(rig))
    }

    /// Another one, and a view of its lock.
    pub fn watched_replica(&self, rig: &Rig) -> (Replica, Arc<Watched>) {
        let lock = Arc::new(Watched {
            lock: broker_lock(&self.uri).unwrap(),
            asked: watch::Sender::new(0),
            held: Mutex::default(),
            down: AtomicBool::new(false),
        });
        let tools = SessionConfig {
            lock: Some(lock.clone()),
            ..rig.tools()
        };
        (rig.replica_using(rig.account.clone(), tools), lock)
    }

    /// Whether the lock for the rig's account is free: some other process tries to have it.
    pub async fn is_free(&self, rig: &Rig) -> bool {
        let lock = broker_lock(&self.uri).unwrap();
        let name = format!("{}:oauth", rig.account.id.as_deref().unwrap());
        match lock.acquire(&name, Duration::from_millis(50)).await {
            Ok(_) => true,
            Err(LockError::TimedOut) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A lock that tells what becomes of it, and that can be out of reach.
pub struct Watched {
    lock: Arc<dyn RefreshLock>,
    asked: watch::Sender<usize>,
    held: Mutex<Option<Weak<dyn LockGuard>>>,
    down: AtomicBool,
}

impl Watched {
    /// Waits until it was asked for so often.
    pub async fn asked(&self, count: usize) {
        self.asked
            .subscribe()
            .wait_for(|asked| *asked >= count)
            .await
            .unwrap();
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.held
            .lock()
            .unwrap()
            .as_ref()
            .and_then(Weak::upgrade)
            .is_some_and(|held| held.is_held())
    }

    /// From now on nobody can be asked for it, or somebody can again.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Relaxed);
    }
}

impl RefreshLock for Watched {
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>> {
        Box::pin(async move {
            self.asked.send_modify(|asked| *asked += 1);
            if self.down.load(Ordering::Relaxed) {
                return Err(LockError::Unavailable("no connection to the broker".into()));
            }
            let held: Arc<dyn LockGuard> = self.lock.acquire(name, wait).await?.into();
            *self.held.lock().unwrap() = Some(Arc::downgrade(&held));
            Ok(Box::new(Shown(held)) as Box<dyn LockGuard>)
        })
    }
}

/// Holds a lock for a session; the test may only look at it.
struct Shown(Arc<dyn LockGuard>);

impl LockGuard for Shown {
    fn is_held(&self) -> bool {
        self.0.is_held()
    }
}
