//! Locks between replicas. Each replica has its own relay to the broker, which can cut its connections.

use super::*;
use crate::oauth2::{LockError, LockGuard, RefreshLock};
use futures_util::FutureExt;
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Much longer than anything in these tests takes.
pub(super) const LONG: Duration = SOON;
pub(super) const SHORT: Duration = Duration::from_millis(50);

/// A broker, and a name that no other test locks.
pub(super) struct Cluster {
    pub(super) uri: lapin::uri::AMQPUri,
    pub(super) name: String,
    _broker: Option<emulator::broker::Broker>,
}

pub(super) struct Replica {
    pub(super) relay: Relay,
    pub(super) amqp: Amqp,
}

impl Cluster {
    pub(super) async fn new() -> Self {
        let (uri, broker) = broker().await;
        Self {
            uri,
            name: uuid::Uuid::new_v4().to_string(),
            _broker: broker,
        }
    }

    /// Uses the emulator's broker, for behaviour that a shared broker cannot be made to show.
    pub(super) async fn emulated() -> (Self, emulator::broker::Broker) {
        let broker = start_emulated(0).await;
        let uri = broker.uri().parse().unwrap();
        (
            Self {
                uri,
                name: "account".into(),
                _broker: None,
            },
            broker,
        )
    }

    pub(super) async fn replica(&self) -> Replica {
        self.replica_with("").await
    }

    /// A replica whose URI has this query.
    async fn replica_with(&self, query: &str) -> Replica {
        let relay = Relay::start(format!(
            "{}:{}",
            self.uri.authority.host, self.uri.authority.port
        ))
        .await;
        let mut settings = settings(&self.uri, relay.port, "in", "out");
        settings.uri = SecretString::from(format!("{}{query}", settings.uri.expose_secret()));
        Replica {
            amqp: Amqp::connect(&settings, Arc::default()).await.unwrap(),
            relay,
        }
    }

    pub(super) async fn acquire(
        &self,
        replica: &Replica,
        wait: Duration,
    ) -> Result<Box<dyn LockGuard>, LockError> {
        soon("the result", replica.amqp.locks().acquire(&self.name, wait)).await
    }

    pub(super) async fn error(&self, replica: &Replica, wait: Duration) -> LockError {
        self.acquire(replica, wait).await.err().expect("no lock")
    }

    /// Resolves when the broker has no trace of the lock.
    async fn released(&self) {
        let connection = Connection::connect_uri(self.uri.clone(), ConnectionProperties::default())
            .await
            .unwrap();
        let start = Instant::now();
        loop {
            let channel = connection.create_channel().await.unwrap();
            let passive = QueueDeclareOptions {
                passive: true,
                ..Default::default()
            };
            let queue = format!("elasticio-sailor:oauth2:{}", self.name);
            let found = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await;
            if found.is_err_and(|error| error::reply_code(&error) == Some(404)) {
                return;
            }
            assert!(start.elapsed() < SOON, "the lock was left behind");
        }
    }

    /// Takes the lock as earlier versions of the sailor do. It ends with the connection.
    async fn take_plainly(&self) -> lapin::Result<Connection> {
        let properties = ConnectionProperties::default();
        let connection = Connection::connect_uri(self.uri.clone(), properties).await?;
        let channel = connection.create_channel().await?;
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..Default::default()
        };
        let queue = format!("elasticio-sailor:oauth2:{}", self.name);
        let none = FieldTable::default();
        channel.queue_declare(queue.into(), exclusive, none).await?;
        Ok(connection)
    }
}

async fn start_emulated(port: u16) -> emulator::broker::Broker {
    let config = emulator::broker::BrokerConfig {
        port,
        ..Default::default()
    };
    emulator::broker::Broker::start(config).await.unwrap()
}

pub(super) async fn lost(held: &dyn LockGuard) {
    let start = Instant::now();
    while held.is_held() {
        assert!(start.elapsed() < SOON, "the lock still counts as held");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn one_of_many_holds_the_lock_at_a_time() {
    let cluster = Cluster::new().await;
    let replicas = [
        cluster.replica().await,
        cluster.replica().await,
        cluster.replica().await,
    ];
    let (held, acquired) = (AtomicBool::new(false), AtomicUsize::new(0));
    let work = replicas
        .iter()
        .flat_map(|replica| [replica; 4])
        .map(async |replica| {
            for _ in 0..5 {
                let lock = replica
                    .amqp
                    .locks()
                    .acquire(&cluster.name, LONG)
                    .await
                    .unwrap();
                assert!(!held.swap(true, Relaxed), "two hold the lock");
                sleep(Duration::from_millis(1)).await;
                assert!(lock.is_held());
                held.store(false, Relaxed);
                acquired.fetch_add(1, Relaxed);
            }
        });
    soon("every acquire", futures_util::future::join_all(work)).await;
    assert_eq!(acquired.load(Relaxed), 60);
    cluster.released().await;
}

#[tokio::test]
async fn waiters_wait_as_long_as_they_asked() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, Duration::ZERO).await.unwrap();
    for replica in [&one, &other] {
        let start = Instant::now();
        assert_eq!(cluster.error(replica, SHORT).await, LockError::TimedOut);
        assert!(
            start.elapsed() >= SHORT && start.elapsed() < Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }
    assert!(held.is_held(), "waiting takes the lock from nobody");
    drop(held);
    for replica in [&one, &other] {
        drop(cluster.acquire(replica, LONG).await.unwrap());
    }
}

#[tokio::test]
async fn only_waits_for_another_replica_are_counted() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let _held = cluster.acquire(&one, Duration::ZERO).await.unwrap();
    assert_eq!(cluster.error(&other, SHORT).await, LockError::TimedOut);
    for (replica, waits) in [(&one, 0), (&other, 1)] {
        let text = replica.amqp.metrics.text();
        let series = format!("elasticio_sailor_waits_total{{reason=\"lock\"}} {waits}\n");
        assert!(text.contains(&series), "{series}{text}");
    }
}

#[tokio::test]
async fn earlier_versions_and_this_one_exclude_each_other() {
    let cluster = Cluster::new().await;
    let one = cluster.replica().await;
    let earlier = cluster.take_plainly().await.unwrap();
    assert_eq!(cluster.error(&one, SHORT).await, LockError::TimedOut);
    let (held, closed) = tokio::join!(cluster.acquire(&one, LONG), earlier.close(200, "".into()));
    closed.unwrap();
    let held = held.unwrap();
    let error = cluster.take_plainly().await.unwrap_err();
    assert_eq!(error::reply_code(&error), Some(405));
    drop(held);
    cluster.released().await;
    cluster.take_plainly().await.unwrap();
}

/// The queue of the lock on the emulator's broker, to which processes that wait send their questions.
const QUEUE: &str = "elasticio-sailor:oauth2:account";

async fn asked(broker: &emulator::broker::Broker) {
    let start = Instant::now();
    while broker.depth(QUEUE).ready == 0 {
        assert!(start.elapsed() < SOON, "nobody waits");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_process_that_releases_lets_others_go_first() {
    let (cluster, broker) = Cluster::emulated().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let mut held = cluster.acquire(&one, LONG).await.unwrap();
    for (waiting, releasing) in [(&other, &one), (&one, &other)] {
        let order = Mutex::new(Vec::new());
        let take = async |replica, name| {
            let taken = cluster.acquire(replica, LONG).await.unwrap();
            order.lock().unwrap().push(name);
            taken
        };
        let (_, last) = tokio::join!(take(waiting, "waiting").map(drop), async {
            asked(&broker).await;
            drop(held);
            take(releasing, "releasing").await
        });
        assert_eq!(*order.lock().unwrap(), ["waiting", "releasing"]);
        drop(last);
        held = cluster.acquire(waiting, LONG).await.unwrap();
    }
}

/// Such a broker stops reading from connections that publish.
#[tokio::test]
async fn a_broker_without_memory_still_gives_the_lock() {
    let (cluster, broker) = Cluster::emulated().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let (taken, ()) = tokio::join!(cluster.acquire(&other, LONG), async {
        asked(&broker).await;
        broker.block_connections(true);
        drop(held);
    });
    assert!(taken.unwrap().is_held());
}

#[tokio::test]
async fn locks_of_different_names_are_independent() {
    let cluster = Cluster::new().await;
    let one = cluster.replica().await;
    let _held = cluster.acquire(&one, LONG).await.unwrap();
    let other = format!("{}-other", cluster.name);
    assert!(
        soon("the lock", one.amqp.locks().acquire(&other, SHORT))
            .await
            .unwrap()
            .is_held()
    );
}

#[tokio::test]
async fn a_disconnected_holder_loses_the_lock_and_knows_it() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let (taken, ()) = tokio::join!(cluster.acquire(&other, LONG), async { one.relay.cut() });
    let taken = taken.unwrap();
    lost(&*held).await;
    drop(held);
    assert_eq!(cluster.error(&one, SHORT).await, LockError::TimedOut);
    assert!(taken.is_held(), "dropping a lost lock releases nothing");
}

#[tokio::test]
async fn missed_heartbeats_free_the_lock() {
    let cluster = Cluster::new().await;
    let (one, other) = (
        cluster.replica_with("?heartbeat=1").await,
        cluster.replica().await,
    );
    let held = cluster.acquire(&one, LONG).await.unwrap();
    one.relay.silence();
    let taken = cluster.acquire(&other, LONG).await.unwrap();
    lost(&*held).await;
    assert!(taken.is_held());
}

#[tokio::test]
async fn a_cancelled_acquire_leaves_no_queue_behind() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    // With and without an open connection, cancelled after different times.
    for step in 0..40 {
        if step % 8 == 0 {
            one.relay.cut();
        }
        let locks = one.amqp.locks();
        let _ = timeout(
            Duration::from_micros(step * 150),
            locks.acquire(&cluster.name, LONG),
        )
        .await;
        drop(cluster.acquire(&other, LONG).await.unwrap());
    }
    cluster.released().await;
}

#[tokio::test]
async fn a_cancelled_waiter_frees_its_place() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let locks = other.amqp.locks();
    // One waits for the broker, the other one for the mutex of the process.
    let waiting = futures_util::future::join(
        locks.acquire(&cluster.name, LONG),
        locks.acquire(&cluster.name, LONG),
    );
    timeout(SHORT, waiting).await.err().expect("both to wait");
    drop(held);
    drop(cluster.acquire(&one, LONG).await.unwrap());
    drop(cluster.acquire(&other, LONG).await.unwrap());
    cluster.released().await;
}

#[tokio::test]
async fn a_lock_can_be_acquired_after_the_broker_restarts() {
    let (cluster, broker) = Cluster::emulated().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let port = broker.addr().port();
    broker.shutdown().await;
    lost(&*held).await;
    assert!(matches!(
        cluster.error(&other, SHORT).await,
        LockError::Unavailable(_)
    ));
    let attempts = *other.relay.accepted.borrow();
    let (taken, _broker) = tokio::join!(cluster.acquire(&other, LONG), async {
        // This attempt finds no broker.
        other.relay.accepts(attempts + 1).await;
        start_emulated(port).await
    });
    assert!(taken.unwrap().is_held());
}

#[tokio::test]
async fn without_a_broker_acquire_times_out_and_names_the_address() {
    let (cluster, broker) = Cluster::emulated().await;
    let one = cluster.replica().await;
    broker.refuse_connections(true);
    let start = Instant::now();
    let LockError::Unavailable(text) = cluster.error(&one, SHORT).await else {
        panic!("another error")
    };
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert!(
        text.contains("127.0.0.1") && !text.contains("guest:"),
        "{text}"
    );
}

#[tokio::test]
async fn acquiring_from_a_silent_broker_times_out() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    // It is connected, and has nothing to release that the silence could delay.
    let held = cluster.acquire(&other, LONG).await.unwrap();
    assert_eq!(cluster.error(&one, SHORT).await, LockError::TimedOut);
    drop(held);
    cluster.released().await;
    one.relay.silence();
    let start = Instant::now();
    assert!(matches!(
        cluster.error(&one, SHORT).await,
        LockError::Unavailable(_)
    ));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    drop(cluster.acquire(&other, LONG).await.unwrap());
    // On a new connection.
    drop(cluster.acquire(&one, LONG).await.unwrap());
}

#[tokio::test]
async fn a_lock_name_that_is_no_queue_name_is_an_error() {
    let cluster = Cluster::new().await;
    let one = cluster.replica().await;
    let name = "n".repeat(250);
    let error = soon("the error", one.amqp.locks().acquire(&name, LONG))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(&error, LockError::Unsupported(text) if text.contains("255")),
        "{error}"
    );
}

#[tokio::test]
async fn closing_the_adapter_releases_its_locks() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    soon("closing", one.amqp.close()).await;
    assert!(!held.is_held());
    let _taken = cluster.acquire(&other, LONG).await.unwrap();
    assert!(
        matches!(cluster.error(&one, LONG).await, LockError::Unavailable(text) if text.contains("shutdown"))
    );
}
