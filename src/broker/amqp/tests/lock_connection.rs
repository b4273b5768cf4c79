//! The connection of the locks: when it is open, and what becomes of locks that the broker refuses.

use super::{
    locking::{Cluster, LONG, SHORT},
    *,
};
use crate::oauth2::{LockError, RefreshLock};
use futures_util::{FutureExt, future::join_all};
use std::time::Duration;
use tokio::runtime::Handle;

/// Users of RabbitMQ, which `scripts/test` creates. Their passwords are their names. This one may do nothing.
const POWERLESS: &str = "sailor-powerless";
/// This one may declare and delete the queues of the locks, and may neither publish nor consume.
const LOCKS_ONLY: &str = "sailor-locks-only";

/// Makes this user the one in the URI. Returns false if this RabbitMQ does not know it.
pub(super) async fn log_in_as(user: &str, uri: &mut lapin::uri::AMQPUri) -> bool {
    uri.authority.userinfo.username = user.into();
    uri.authority.userinfo.password = user.into();
    let properties = ConnectionProperties::default();
    let Err(error) = Connection::connect_uri(uri.clone(), properties).await else {
        return true;
    };
    let missing = format!("not run: RabbitMQ has no user `{user}`, see scripts/lib.sh ({error})");
    assert!(env::var_os("CI").is_none(), "{missing}");
    eprintln!("{missing}");
    false
}

/// The locks of a process that has no other connection.
struct Process {
    relay: Relay,
    locks: BrokerLock,
    _thread: AmqpThread,
}

impl Process {
    /// The tasks of its locks run on `runtime`, or on its own thread.
    async fn start(
        uri: &lapin::uri::AMQPUri,
        idle_limit: Duration,
        runtime: Option<Handle>,
    ) -> Self {
        let authority = &uri.authority;
        let relay = Relay::start(format!("{}:{}", authority.host, authority.port)).await;
        let uri = settings(uri, relay.port, "in", "out").uri;
        let thread = AmqpThread::start().unwrap();
        let connector = Connector::new(&uri, thread.handle().clone()).unwrap();
        let runtime = runtime.unwrap_or(thread.handle().clone());
        Self {
            relay,
            locks: BrokerLock::on(Arc::new(connector), runtime, idle_limit),
            _thread: thread,
        }
    }

    /// Returns why the broker allows no locks.
    async fn refusal(&self) -> String {
        match soon("the refusal", self.locks.acquire("account", LONG)).await {
            Err(LockError::Unsupported(reason)) => reason,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the lock was acquired"),
        }
    }
}

#[tokio::test]
async fn all_locks_of_a_process_share_one_connection() {
    let cluster = Cluster::new().await;
    let one = cluster.replica().await;
    let connections = || *one.relay.accepted.borrow();
    let before = connections();
    let names: Vec<_> = (0..5).map(|n| format!("{}-{n}", cluster.name)).collect();
    let locks = one.amqp.locks();
    assert_eq!(
        connections(),
        before,
        "nothing is opened before it is needed"
    );
    let held = join_all(names.iter().map(|name| locks.acquire(name, LONG))).await;
    assert!(held.iter().all(|held| held.as_ref().unwrap().is_held()));
    drop(held);
    drop(cluster.acquire(&one, LONG).await.unwrap());
    assert_eq!(connections(), before + 1);
}

#[tokio::test]
async fn an_unused_connection_is_closed_and_opened_again() {
    let cluster = Cluster::new().await;
    let process = Process::start(&cluster.uri, SHORT, None).await;
    let mut open = process.relay.open.clone();
    for connections in [1, 2] {
        let held = soon("the lock", process.locks.acquire(&cluster.name, LONG)).await;
        assert!(held.unwrap().is_held());
        assert_eq!(*process.relay.accepted.borrow(), connections);
        soon("the close", open.wait_for(|open| *open == 0))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_user_without_permission_is_told_what_to_allow() {
    let (mut uri, broker) = broker().await;
    match &broker {
        Some(broker) => broker.deny_configure(true),
        None if !log_in_as(POWERLESS, &mut uri).await => return,
        None => {}
    }
    let process = Process::start(&uri, SHORT, None).await;
    let start = Instant::now();
    let reason = process.refusal().await;
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "waiting does not help: {:?}",
        start.elapsed()
    );
    assert!(
        reason.contains("403") && reason.contains("`elasticio-sailor:oauth2:.*`"),
        "{reason}"
    );
}

/// The emulator's broker lets everybody publish.
#[tokio::test]
async fn a_user_who_may_not_publish_waits_too() {
    let (mut uri, broker) = broker().await;
    if broker.is_none() && !log_in_as(LOCKS_ONLY, &mut uri).await {
        return;
    }
    let name = uuid::Uuid::new_v4().to_string();
    let one = Process::start(&uri, LONG, None).await;
    let other = Process::start(&uri, LONG, None).await;
    for (one, other) in [(&one, &other), (&other, &one)] {
        let held = soon("the lock", one.locks.acquire(&name, LONG)).await;
        // Long enough to ask whether the lock is free.
        let wait = Duration::from_millis(500);
        let error = soon("the error", other.locks.acquire(&name, wait)).await;
        assert_eq!(error.err(), Some(LockError::TimedOut));
        let (taken, ()) = tokio::join!(other.locks.acquire(&name, LONG), async { drop(held) });
        assert!(taken.unwrap().is_held());
    }
    assert_eq!(*other.relay.accepted.borrow(), 1);
}

#[tokio::test]
async fn after_a_refusal_the_broker_is_not_asked_again() {
    let (cluster, broker) = Cluster::emulated().await;
    broker.deny_configure(true);
    let process = Process::start(&cluster.uri, SHORT, None).await;
    let reason = process.refusal().await;
    broker.deny_configure(false);
    for name in ["account", "another account"] {
        let at_once = process.locks.acquire(name, LONG).now_or_never();
        let error = at_once.expect("no round trip").err();
        assert_eq!(error, Some(LockError::Unsupported(reason.clone())));
    }
    let mut open = process.relay.open.clone();
    let closing = open.wait_for(|open| *open == 0);
    soon("the close", closing).await.unwrap();
    assert_eq!(*process.relay.accepted.borrow(), 1);
}

#[tokio::test]
async fn a_login_that_is_refused_again_and_again_is_final() {
    let (mut uri, _broker) = broker().await;
    uri.authority.userinfo.password = "wrong".into();
    let process = Process::start(&uri, SHORT, None).await;
    let reason = process.refusal().await;
    assert!(
        reason.contains("403") && reason.contains("password"),
        "{reason}"
    );
    assert_eq!(
        *process.relay.accepted.borrow(),
        error::MAX_REFUSALS as usize
    );
}

/// Nothing listens on the port. The clock of the locks is paused, but not that of their connection.
#[tokio::test(start_paused = true)]
async fn an_unreachable_broker_is_waited_for_half_a_minute() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let uri = format!("amqp://127.0.0.1:{port}").parse().unwrap();
    let process = Process::start(&uri, SHORT, Some(Handle::current())).await;
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let error = process.locks.acquire("account", hour).await.err();
    assert!(
        matches!(error, Some(LockError::Unavailable(_))),
        "{error:?}"
    );
    let waited = start.elapsed();
    assert!(
        waited >= Duration::from_secs(30) && waited < Duration::from_secs(45),
        "{waited:?}"
    );
}
