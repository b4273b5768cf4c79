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

/// A broker with the real clock, even if the test's clock is paused.
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
            Err(_) => {
                assert!(
                    std::env::var_os("CI").is_none(),
                    "SAILOR_TEST_AMQP_URI is not set, and with CI set this test must run on RabbitMQ"
                );
                Self::emulated().await
            }
        }
    }

    /// The emulator's, for tests that would disturb others on a shared broker.
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

    /// Drops all connections.
    pub fn cut(&self) {
        let (broker, _) = self.emulated.as_ref().expect("an emulated broker");
        assert!(broker.drop_connections() > 0);
    }

    /// The configuration of a process with the lock.
    pub fn config(&self, rig: &Rig) -> SessionConfig {
        SessionConfig {
            lock: Some(broker_lock(&self.uri).unwrap()),
            ..rig.config()
        }
    }

    /// A process that uses the rig's account with the lock.
    pub fn replica(&self, rig: &Rig) -> Replica {
        rig.replica_using(rig.account.clone(), self.config(rig))
    }

    /// Another process with the lock, which can be watched.
    pub fn watched_replica(&self, rig: &Rig) -> (Replica, Arc<Watched>) {
        let lock = Arc::new(Watched {
            lock: broker_lock(&self.uri).unwrap(),
            asked: watch::Sender::new(0),
            held: Mutex::default(),
            down: AtomicBool::new(false),
        });
        let config = SessionConfig {
            lock: Some(lock.clone()),
            ..rig.config()
        };
        (rig.replica_using(rig.account.clone(), config), lock)
    }

    /// Whether another process can get the lock of the rig's account.
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

/// A lock that can be watched, and made unavailable.
pub struct Watched {
    lock: Arc<dyn RefreshLock>,
    asked: watch::Sender<usize>,
    held: Mutex<Option<Weak<dyn LockGuard>>>,
    down: AtomicBool,
}

impl Watched {
    /// Waits until it was requested `count` times.
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

    /// Makes it unavailable, or available again.
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

/// Holds a lock for a session while the test watches it.
struct Shown(Arc<dyn LockGuard>);

impl LockGuard for Shown {
    fn is_held(&self) -> bool {
        self.0.is_held()
    }
}
