//! Locks between replicas. Each replica has its own line to the broker, which can be cut.

use super::*;
use crate::oauth2::{Held, LockError, RefreshLock};
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Much longer than anything here takes.
const LONG: Duration = SOON;
const SHORT: Duration = Duration::from_millis(50);

/// A broker, and a name that no other test locks.
struct Cluster {
    uri: lapin::uri::AMQPUri,
    name: String,
    _broker: Option<emulator::broker::Broker>,
}

struct Replica {
    relay: Relay,
    amqp: Amqp,
}

impl Cluster {
    async fn new() -> Self {
        let (uri, broker) = broker().await;
        Self {
            uri,
            name: uuid::Uuid::new_v4().to_string(),
            _broker: broker,
        }
    }

    /// One with the emulator's broker, for what cannot be asked of one that others use.
    async fn emulated() -> (Self, emulator::broker::Broker) {
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

    async fn replica(&self) -> Replica {
        self.replica_with("").await
    }

    /// One whose URI has this query.
    async fn replica_with(&self, query: &str) -> Replica {
        let relay = Relay::start(format!(
            "{}:{}",
            self.uri.authority.host, self.uri.authority.port
        ))
        .await;
        let mut settings = settings(&self.uri, relay.port, "in", "out");
        settings.uri = SecretString::from(format!("{}{query}", settings.uri.expose_secret()));
        Replica {
            amqp: Amqp::connect(&settings).await.unwrap(),
            relay,
        }
    }

    async fn acquire(&self, replica: &Replica, wait: Duration) -> Result<Box<dyn Held>, LockError> {
        soon("the answer", replica.amqp.locks().acquire(&self.name, wait)).await
    }

    async fn error(&self, replica: &Replica, wait: Duration) -> LockError {
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
            if found.is_err_and(|error| failure::code(&error) == Some(404)) {
                return;
            }
            assert!(start.elapsed() < SOON, "the lock was left behind");
        }
    }
}

async fn start_emulated(port: u16) -> emulator::broker::Broker {
    let config = emulator::broker::BrokerConfig {
        port,
        ..Default::default()
    };
    emulator::broker::Broker::start(config).await.unwrap()
}

async fn lost(held: &dyn Held) {
    let start = Instant::now();
    while held.is_held() {
        assert!(start.elapsed() < SOON, "the lock still counts as held");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn given_many_that_want_one_lock_when_they_acquire_it_then_one_has_it_at_a_time() {
    let cluster = Cluster::new().await;
    let replicas = [
        cluster.replica().await,
        cluster.replica().await,
        cluster.replica().await,
    ];
    let (held, turns) = (AtomicBool::new(false), AtomicUsize::new(0));
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
                assert!(!held.swap(true, Relaxed), "two had the lock");
                sleep(Duration::from_millis(1)).await;
                assert!(lock.is_held());
                held.store(false, Relaxed);
                turns.fetch_add(1, Relaxed);
            }
        });
    soon("every turn", futures_util::future::join_all(work)).await;
    assert_eq!(turns.load(Relaxed), 60);
    cluster.released().await;
}

#[tokio::test]
async fn given_a_lock_that_is_held_when_others_want_it_then_they_wait_as_long_as_they_said() {
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
    assert!(held.is_held(), "those who ask take nothing away");
    drop(held);
    for replica in [&one, &other] {
        drop(cluster.acquire(replica, LONG).await.unwrap());
    }
}

#[tokio::test]
async fn given_locks_of_two_names_when_one_is_held_then_the_other_is_free() {
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
async fn given_a_holder_that_is_cut_off_when_another_waits_then_it_gets_the_lock_and_the_holder_knows()
 {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let (taken, ()) = tokio::join!(cluster.acquire(&other, LONG), async { one.relay.cut() });
    let taken = taken.unwrap();
    lost(&*held).await;
    drop(held);
    assert_eq!(cluster.error(&one, SHORT).await, LockError::TimedOut);
    assert!(
        taken.is_held(),
        "what the first one lost it cannot give back"
    );
}

#[tokio::test]
async fn given_a_holder_whose_line_is_dead_when_heartbeats_are_missed_then_another_gets_the_lock() {
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
async fn given_a_caller_that_goes_when_the_lock_was_asked_for_then_nothing_is_left_behind() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    // With and without a connection to begin with, at any point of the way.
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
async fn given_a_caller_that_goes_when_it_waited_for_another_then_its_place_is_free() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    let held = cluster.acquire(&one, LONG).await.unwrap();
    let locks = other.amqp.locks();
    // One waits for the broker, one for its turn in the process.
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
async fn given_a_broker_that_restarts_when_a_lock_is_wanted_meanwhile_then_it_is_had_afterwards() {
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
    let (taken, _broker) = tokio::join!(cluster.acquire(&other, LONG), async {
        sleep(SHORT).await;
        start_emulated(port).await
    });
    assert!(taken.unwrap().is_held());
}

#[tokio::test]
async fn given_no_broker_when_a_lock_is_wanted_then_the_error_comes_in_time_and_says_where_it_looked()
 {
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
async fn given_a_broker_that_falls_silent_when_a_lock_is_wanted_then_the_error_comes_in_time() {
    let cluster = Cluster::new().await;
    let (one, other) = (cluster.replica().await, cluster.replica().await);
    // It is connected, and has nothing to give back that the silence could hold up.
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
async fn given_a_user_that_may_not_declare_when_a_lock_is_wanted_then_the_error_says_what_to_allow()
{
    let (cluster, broker) = Cluster::emulated().await;
    let one = cluster.replica().await;
    broker.deny_configure(true);
    let start = Instant::now();
    let LockError::Unsupported(text) = cluster.error(&one, LONG).await else {
        panic!("another error")
    };
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "waiting does not mend it: {:?}",
        start.elapsed()
    );
    assert!(
        text.contains("403") && text.contains("`elasticio-sailor:oauth2:.*`"),
        "{text}"
    );
    broker.deny_configure(false);
    cluster.acquire(&one, LONG).await.unwrap();
}

#[tokio::test]
async fn given_a_name_that_no_queue_can_have_when_locked_then_the_error_says_so() {
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
async fn given_a_lock_that_is_held_when_the_adapter_closes_then_others_get_it_and_it_locks_no_more()
{
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
