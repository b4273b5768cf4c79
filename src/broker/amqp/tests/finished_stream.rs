//! The log of finished messages. On the emulator's broker, which has no streams, only the refusal can be tried.

use super::{lock_connection::log_in_as, *};
use crate::{
    broker::{
        amqp::finished_stream::session::{OPEN_LIMIT, Session},
        finished_log::{FinishedLog, LogReader, MessageKey},
    },
    captured_log::CapturedLog,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Longer than RabbitMQ takes to open a stream anew after each cut, when all tests run at the same time.
const LONG: Duration = Duration::from_secs(180);
/// Users of RabbitMQ, which `scripts/test` creates. This one may do nothing.
const POWERLESS: &str = "sailor-powerless";
/// This one may declare and read the log, but not write to the default exchange.
const LOG_READER: &str = "sailor-log-reader";
/// This one may read the log and write to the default exchange, and declare nothing.
const LOG_USER: &str = "sailor-log-user";

fn key(n: u64) -> MessageKey {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_le_bytes());
    key
}

/// A process with a log, and what the log has given to it.
struct Process {
    amqp: Amqp,
    log: FinishedStream,
    read: UnboundedReceiver<MessageKey>,
}

impl Process {
    async fn start(settings: &AmqpSettings) -> Self {
        let amqp = Amqp::connect(settings, Arc::default()).await.unwrap();
        let (sender, read) = unbounded_channel();
        let reader: LogReader = Arc::new(move |key| sender.send(key).unwrap());
        let log = amqp.finished_log(reader);
        Self { amqp, log, read }
    }

    /// Everything that was read since the last call.
    fn read(&mut self) -> Vec<MessageKey> {
        std::iter::from_fn(|| self.read.try_recv().ok()).collect()
    }

    async fn catches_up(&self) -> bool {
        self.log.catch_up(LONG).await
    }

    async fn append(&self, keys: impl IntoIterator<Item = u64>) {
        for n in keys {
            soon("a record", self.log.append(key(n))).await;
        }
    }
}

fn keys(numbers: impl IntoIterator<Item = u64>) -> Vec<MessageKey> {
    numbers.into_iter().map(key).collect()
}

fn stream_of(world: &World) -> ShortString {
    format!("elasticio-sailor:finished:{}", world.settings.queue)
        .as_str()
        .into()
}

/// Returns none, and says so, if the broker has no streams.
async fn with_streams() -> Option<World> {
    let world = World::new().await;
    if world._broker.is_some() {
        eprintln!("not run: the emulator's broker has no streams");
        return None;
    }
    Some(world)
}

async fn delete(world: &World) {
    let options = QueueDeleteOptions::default();
    let deleted = world.channel.queue_delete(stream_of(world), options);
    deleted.await.unwrap();
}

#[tokio::test]
async fn a_later_process_reads_what_was_finished_before() {
    let Some(world) = with_streams().await else {
        return;
    };
    let first = Process::start(&world.settings).await;
    assert!(first.catches_up().await);
    first.append(0..300).await;
    first.amqp.close().await;
    let mut second = Process::start(&world.settings).await;
    assert!(second.catches_up().await);
    assert_eq!(second.read(), keys(0..300));
    second.amqp.close().await;
    delete(&world).await;
}

#[tokio::test]
async fn replicas_read_what_the_other_has_finished() {
    let Some(world) = with_streams().await else {
        return;
    };
    let mut one = Process::start(&world.settings).await;
    let mut other = Process::start(&world.settings).await;
    assert!(one.catches_up().await && other.catches_up().await);
    one.append(0..10).await;
    assert!(other.catches_up().await);
    assert_eq!(other.read(), keys(0..10));
    other.append(10..12).await;
    assert!(one.catches_up().await);
    assert_eq!(one.read(), keys(0..12), "its own are among them");
    one.amqp.close().await;
    other.amqp.close().await;
    delete(&world).await;
}

#[tokio::test]
async fn a_lost_connection_loses_no_record() {
    let Some(world) = with_streams().await else {
        return;
    };
    let mut process = Process::start(&world.settings).await;
    assert!(process.catches_up().await);
    for round in 0..5 {
        let appending = (round * 20..round * 20 + 20).map(|n| process.log.append(key(n)));
        let appending = futures_util::future::join_all(appending);
        world.relay.cut();
        soon("every message goes on", appending).await;
    }
    assert!(process.catches_up().await);
    let read: HashSet<_> = process.read().into_iter().collect();
    assert_eq!(read, keys(0..100).into_iter().collect());
    process.amqp.close().await;
    delete(&world).await;
}

#[tokio::test]
async fn a_broker_that_opens_no_log_in_time_is_tried_again() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let connecting = amqp.connector.connect(ConnectionRole::Finished);
    let connection = connecting.await.unwrap();
    world.relay.silence();
    // The paused clock moves on to the end of the time limit.
    tokio::time::pause();
    let start = Instant::now();
    let stream = stream_of(&world);
    let error = Session::open(connection, &stream, None)
        .await
        .err()
        .unwrap();
    assert!(start.elapsed() >= OPEN_LIMIT);
    tokio::time::resume();
    assert!(matches!(error, BrokerError::Transient(_)), "{error:?}");
    assert!(error.text().contains("no response"), "{error:?}");
    world.relay.cut();
    amqp.close().await;
}

#[tokio::test]
async fn an_unconfirmed_record_delays_a_message_by_5_seconds() {
    let Some(world) = with_streams().await else {
        return;
    };
    let process = Process::start(&world.settings).await;
    assert!(process.catches_up().await);
    world.relay.silence();
    let log = CapturedLog::begin();
    // The paused clock moves on to the end of the time limit.
    tokio::time::pause();
    let start = Instant::now();
    process.log.append(key(1)).await;
    let waited = start.elapsed();
    process.log.append(key(2)).await;
    assert_eq!(start.elapsed(), waited, "the next message does not wait");
    tokio::time::resume();
    assert!(waited >= Duration::from_secs(5) && waited < Duration::from_secs(6));
    log.assert_one(&[
        "The broker does not confirm in time that finished messages are in their log.",
        "seconds=5",
    ]);
    world.relay.cut();
    assert!(process.catches_up().await);
    process.amqp.close().await;
    delete(&world).await;
}

/// The process works without a log, and nobody waits for it.
async fn assert_refused(mut process: Process) {
    for _ in 0..2 {
        assert!(process.catches_up().await);
        process.append(0..3).await;
    }
    assert_eq!(process.read(), keys([]));
    process.amqp.close().await;
}

/// The settings for another user; none if this RabbitMQ does not know it.
async fn settings_as(user: &str, world: &World) -> Option<AmqpSettings> {
    let mut uri = world.settings.uri.expose_secret().parse().unwrap();
    log_in_as(user, &mut uri).await.then(|| AmqpSettings {
        uri: SecretString::from(text_of(&uri)),
        ..world.settings.clone()
    })
}

#[tokio::test]
async fn a_broker_without_streams_has_no_log() {
    let world = World::new().await;
    if world._broker.is_some() {
        assert_refused(Process::start(&world.settings).await).await;
    }
}

#[tokio::test]
async fn users_without_permissions_have_no_log() {
    let Some(world) = with_streams().await else {
        return;
    };
    for user in [POWERLESS, LOG_READER] {
        if let Some(settings) = settings_as(user, &world).await {
            assert_refused(Process::start(&settings).await).await;
        }
    }
    delete(&world).await;
}

#[tokio::test]
async fn a_queue_that_is_no_stream_is_not_used() {
    let Some(world) = with_streams().await else {
        return;
    };
    let name = stream_of(&world);
    let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
    let declared = world
        .channel
        .queue_declare(name.clone(), options, arguments);
    declared.await.unwrap();
    assert_refused(Process::start(&world.settings).await).await;
    delete(&world).await;
}

#[tokio::test]
async fn a_stream_that_an_operator_has_declared_is_used() {
    let Some(world) = with_streams().await else {
        return;
    };
    let options = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let mut arguments = FieldTable::default();
    let stream = AMQPValue::LongString("stream".into());
    arguments.insert("x-queue-type".into(), stream);
    let declared = world
        .channel
        .queue_declare(stream_of(&world), options, arguments);
    declared.await.unwrap();
    let as_user = settings_as(LOG_USER, &world).await;
    for settings in [Some(world.settings.clone()), as_user]
        .into_iter()
        .flatten()
    {
        let mut process = Process::start(&settings).await;
        assert!(process.catches_up().await);
        process.read();
        process.append(0..3).await;
        assert!(process.catches_up().await);
        assert_eq!(process.read(), keys(0..3));
        process.amqp.close().await;
    }
    delete(&world).await;
}
