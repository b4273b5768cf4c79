//! Against a real broker, named by SAILOR_TEST_AMQP_URI. Each test has its own queues, its own exchange and its own
//! relay to the broker, which can cut its connections or go silent.

use super::*;
use crate::{protocol::Headers, transport::Delivery};
use lapin::{
    BasicProperties, Channel, ConnectionProperties, ExchangeKind,
    message::BasicGetMessage,
    options::{
        BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use secrecy::SecretString;
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    env,
    sync::atomic::Ordering::Relaxed,
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};

/// For anything that is to happen.
const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq)]
enum Line {
    Open,
    Silent,
}

/// Stands between the adapter and the broker.
struct Relay {
    port: u16,
    line: watch::Sender<Line>,
}

impl Relay {
    async fn start(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (line, state) = watch::channel(Line::Open);
        tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (broker, mut state) = (broker.clone(), state.clone());
                state.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(broker).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = state.changed() => {
                            let _ = state.wait_for(|line| *line == Line::Open).await;
                        }
                    }
                });
            }
        });
        Self { port, line }
    }

    fn cut(&self) {
        self.line.send_replace(Line::Open);
    }

    fn silence(&self) {
        self.line.send_replace(Line::Silent);
    }
}

/// A broker with one queue to read and one to write to, and the adapter's settings for them.
struct World {
    channel: Channel,
    relay: Relay,
    settings: AmqpSettings,
    out: String,
}

fn broker_uri() -> lapin::uri::AMQPUri {
    let uri = env::var("SAILOR_TEST_AMQP_URI").unwrap_or_else(|_| {
        panic!("these tests need a broker: set SAILOR_TEST_AMQP_URI to one, e.g. amqp://guest:guest@127.0.0.1:5672")
    });
    uri.parse().unwrap()
}

impl World {
    async fn new() -> Self {
        Self::with_out_arguments(FieldTable::default()).await
    }

    async fn with_out_arguments(arguments: FieldTable) -> Self {
        let uri = broker_uri();
        let relay = Relay::start(format!("{}:{}", uri.authority.host, uri.authority.port)).await;
        let connection =
            Connection::connect_uri(uri.clone(), ConnectionProperties::default()).await.expect("the broker to answer");
        let channel = connection.create_channel().await.unwrap();
        let name = uuid::Uuid::new_v4().to_string();
        let (queue, out, exchange) = (format!("in-{name}"), format!("out-{name}"), format!("x-{name}"));
        let exclusive = QueueDeclareOptions { exclusive: true, ..Default::default() };
        let shared = QueueDeclareOptions { auto_delete: false, ..Default::default() };
        let mut expires = FieldTable::default();
        expires.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        channel.queue_declare(queue.as_str().into(), shared, expires).await.unwrap();
        channel.queue_declare(out.as_str().into(), exclusive, arguments).await.unwrap();
        let auto_delete = ExchangeDeclareOptions { auto_delete: true, ..Default::default() };
        channel
            .exchange_declare(exchange.as_str().into(), ExchangeKind::Direct, auto_delete, FieldTable::default())
            .await
            .unwrap();
        for key in ["data", "rebound"] {
            channel
                .queue_bind(
                    out.as_str().into(),
                    exchange.as_str().into(),
                    key.into(),
                    QueueBindOptions::default(),
                    FieldTable::default(),
                )
                .await
                .unwrap();
        }
        let info = &uri.authority.userinfo;
        let vhost = uri.vhost.replace('/', "%2F");
        let near = format!("amqp://{}:{}@127.0.0.1:{}/{vhost}", info.username, info.password, relay.port);
        let settings = AmqpSettings {
            uri: SecretString::from(near),
            queue,
            exchange,
            data_key: "data".into(),
            error_key: "nowhere".into(),
            rebound_key: "rebound".into(),
            snapshot_key: "nowhere".into(),
            update_keys_key: None,
            prefetch: 10,
            persistent: false,
            rebound_initial_expiration: Duration::from_secs(15),
            rebound_limit: 20,
            publish_retry_delay: Duration::from_millis(10),
            publish_max_retry_delay: Duration::from_millis(100),
            publish_attempts: None,
            connect_retries: 2,
            connect_retry_delay: Duration::from_millis(10),
        };
        Self { channel, relay, settings, out }
    }

    async fn connect(&self) -> Amqp {
        Amqp::connect(&self.settings).await.unwrap()
    }

    /// Puts a message into the adapter's queue.
    async fn put(&self, properties: BasicProperties, body: &[u8]) {
        let (queue, options) = (self.settings.queue.as_str().into(), BasicPublishOptions::default());
        self.channel.basic_publish("".into(), queue, options, body, properties).await.unwrap().await.unwrap();
    }

    /// The next message that came out.
    async fn take(&self) -> BasicGetMessage {
        let start = Instant::now();
        loop {
            if let Some(message) = self.try_take(&self.out).await {
                return message;
            }
            assert!(start.elapsed() < SOON, "no message came out");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn try_take(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
    }
}

fn event(id: &str) -> Publication {
    let headers = Headers::from_iter([("messageId".to_owned(), json!(id))]);
    Publication { route: Route::Data, headers, body: Bytes::from(id.to_owned()) }
}

fn error_event(id: &str) -> Publication {
    Publication { route: Route::Error, ..event(id) }
}

fn header(message: &BasicGetMessage, name: &str) -> Option<AMQPValue> {
    message.properties.headers().as_ref().and_then(|headers| headers.inner().get(name)).cloned()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

async fn next(deliveries: &mut Deliveries<Origin>) -> Delivery<Origin> {
    soon("a delivery", deliveries.recv()).await.expect("deliveries to go on").expect("a delivery")
}

#[tokio::test]
async fn given_an_event_when_published_then_its_properties_and_header_types_are_those_of_the_contract() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut publication = event("m");
    publication.headers.extend([("start".to_owned(), json!(1_700_000_000_000_i64)), ("n".to_owned(), json!(1))]);
    soon("the confirm", amqp.publish(publication)).await.unwrap();
    let message = world.take().await;
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("start".into(), AMQPValue::LongLongInt(1_700_000_000_000));
    headers.insert("n".into(), AMQPValue::ShortShortInt(1));
    let expected = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_content_encoding("utf8".into())
        .with_delivery_mode(1)
        .with_headers(headers);
    assert_eq!((&message.properties, message.data.as_slice()), (&expected, b"m".as_slice()));
    amqp.close().await;
}

#[tokio::test]
async fn given_many_events_when_published_then_they_go_out_in_order() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let receipts: Vec<_> = (0..500).map(|n| amqp.publish(event(&n.to_string()))).collect();
    for receipt in receipts {
        soon("a confirm", receipt).await.unwrap();
    }
    for n in 0..500 {
        assert_eq!(world.take().await.data, n.to_string().as_bytes());
    }
    amqp.close().await;
}

#[tokio::test]
async fn given_connections_that_break_when_publishing_then_nothing_is_lost_and_only_retries_are_doubled() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut receipts = Vec::new();
    for n in 0..2000 {
        receipts.push(amqp.publish(event(&n.to_string())));
        if n % 400 == 399 {
            world.relay.cut();
            sleep(Duration::from_millis(30)).await;
        }
    }
    for receipt in receipts {
        soon("a confirm", receipt).await.unwrap();
    }
    let mut seen = HashSet::new();
    while let Some(message) = world.try_take(&world.out).await {
        let first = seen.insert(message.data.clone());
        assert!(first || header(&message, "retry").is_some(), "doubled without a retry");
    }
    assert_eq!(seen.len(), 2000);
    assert!(amqp.counters().reconnects.load(Relaxed) >= 1);
    amqp.close().await;
}

fn full_after_one() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

#[tokio::test]
async fn given_a_full_queue_when_it_empties_then_the_event_arrives_with_a_counted_retry() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let receipt = amqp.publish(event("2"));
    let start = Instant::now();
    while amqp.counters().publish_retries.load(Relaxed) < 2 {
        assert!(start.elapsed() < SOON, "no retries");
        sleep(Duration::from_millis(5)).await;
    }
    let out = world.out.as_str().into();
    world.channel.queue_purge(out, QueuePurgeOptions::default()).await.unwrap();
    soon("the confirm", receipt).await.unwrap();
    let message = world.take().await;
    assert_eq!(message.data, b"2");
    assert!(
        matches!(header(&message, "retry"), Some(AMQPValue::ShortShortInt(2..))),
        "{:?}",
        header(&message, "retry")
    );
    amqp.close().await;
}

#[tokio::test]
async fn given_a_full_queue_when_the_tries_are_used_up_then_the_error_names_message_and_cause() {
    let mut world = World::with_out_arguments(full_after_one()).await;
    world.settings.publish_attempts = Some(3);
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let error = soon("the error", amqp.publish(event("2"))).await.unwrap_err().to_string();
    assert!(error.starts_with("Failed on publishing 2 message to MQ: ") && error.contains("nack"), "{error}");
    assert_eq!(amqp.counters().publish_retries.load(Relaxed), 2);
    amqp.close().await;
}

#[tokio::test]
async fn given_unroutable_events_among_others_when_published_then_just_they_fail() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let receipts: Vec<_> =
        (0..400)
            .map(|n| {
                if n % 7 == 3 { amqp.publish(error_event(&n.to_string())) } else { amqp.publish(event(&n.to_string())) }
            })
            .collect();
    for (n, receipt) in receipts.into_iter().enumerate() {
        match soon("a result", receipt).await {
            Ok(()) => assert_ne!(n % 7, 3, "{n} counted as published"),
            Err(error) => {
                assert_eq!(n % 7, 3, "{error}");
                let expected = format!(
                    "Failed on publishing {n} message to MQ: no queue is bound for routing key \"nowhere\" on exchange \"{}\"",
                    world.settings.exchange
                );
                assert_eq!(error.to_string(), expected);
            }
        }
    }
    assert_eq!(amqp.counters().unroutable.load(Relaxed), 5 * 57);
    amqp.close().await;
}

#[tokio::test]
async fn given_no_exchange_when_published_then_events_fail_and_the_deliveries_end_with_the_reason() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let exchange = world.settings.exchange.as_str().into();
    world.channel.exchange_delete(exchange, ExchangeDeleteOptions::default()).await.unwrap();
    let first = amqp.publish(event("1"));
    let reason = soon("the end", deliveries.recv()).await.unwrap().unwrap_err().to_string();
    assert!(reason.contains("no exchange") && reason.contains("ELASTICIO_PUBLISH_MESSAGES_TO"), "{reason}");
    assert!(soon("the end", deliveries.recv()).await.is_none());
    soon("the error", first).await.unwrap_err();
    let later = soon("the error", amqp.publish(event("2"))).await.unwrap_err();
    assert!(later.cause.contains("no exchange"), "{later}");
    amqp.close().await;
}

#[tokio::test]
async fn given_headers_beyond_a_frame_when_published_then_the_event_fails_and_others_go_on() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut large = event("1");
    large.headers.insert("x".into(), json!("x".repeat(200_000)));
    let mut long_key = event("2");
    long_key.route = Route::Custom("k".repeat(256));
    let mut no_key = event("3");
    no_key.route = Route::UpdateKeys;
    for (publication, cause) in [(large, "headers take"), (long_key, "routing key"), (no_key, "UPDATE_KEYS")] {
        let error = soon("the error", amqp.publish(publication)).await.unwrap_err();
        assert!(error.cause.contains(cause), "{error}");
    }
    soon("the confirm", amqp.publish(event("4"))).await.unwrap();
    assert_eq!(amqp.counters().reconnects.load(Relaxed), 0);
    amqp.close().await;
}

#[tokio::test]
async fn given_a_delivery_when_settled_then_the_broker_forgets_it() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("protocolVersion".into(), AMQPValue::LongUInt(2));
    world.put(BasicProperties::default().with_headers(headers), b"body").await;
    world.put(BasicProperties::default(), b"").await;
    let (first, second) = (next(&mut deliveries).await, next(&mut deliveries).await);
    assert_eq!(serde_json::Value::Object(first.headers.clone()), json!({"messageId": "m", "protocolVersion": 2}));
    assert_eq!((first.body.as_ref(), first.redelivered, first.generation), (b"body".as_slice(), false, 1));
    assert_eq!((second.body.len(), second.headers.len()), (0, 0));
    assert_eq!(amqp.settle(&first.origin, Verdict::Ack).await, Settled::Sent);
    assert_eq!(amqp.settle(&second.origin, Verdict::Reject).await, Settled::Sent);
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn given_a_broken_connection_when_settling_then_the_old_generation_is_lost_and_the_new_one_is_not() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    let old = next(&mut deliveries).await;
    world.relay.cut();
    let new = next(&mut deliveries).await;
    assert_eq!((old.generation, new.generation, new.redelivered), (1, 2, true));
    assert_eq!(amqp.settle(&old.origin, Verdict::Ack).await, Settled::Lost);
    assert_eq!(amqp.settle(&new.origin, Verdict::Ack).await, Settled::Sent);
    amqp.close().await;
    assert!(world.try_take(&world.settings.queue).await.is_none());
}

#[tokio::test]
async fn given_no_queue_when_consuming_then_the_error_says_what_to_check() {
    let mut world = World::new().await;
    world.settings.queue = "missing".into();
    let amqp = world.connect().await;
    let error = amqp.consume().await.unwrap_err().to_string();
    assert!(error.contains("no queue 'missing'") && error.contains("ELASTICIO_LISTEN_MESSAGES_ON"), "{error}");
    soon("stopping", amqp.stop_consuming()).await;
    amqp.close().await;
}

#[tokio::test]
async fn given_a_queue_that_is_deleted_when_consuming_then_the_deliveries_end_with_the_reason() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let queue = world.settings.queue.as_str().into();
    world.channel.queue_delete(queue, QueueDeleteOptions::default()).await.unwrap();
    let error = soon("the end", deliveries.recv()).await.unwrap().unwrap_err().to_string();
    assert!(error.contains("no queue"), "{error}");
    assert!(soon("the end", deliveries.recv()).await.is_none());
    amqp.close().await;
}

#[tokio::test]
async fn given_deliveries_that_are_out_when_consuming_stops_then_they_come_and_can_be_settled() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(BasicProperties::default(), b"1").await;
    world.put(BasicProperties::default(), b"2").await;
    let first = next(&mut deliveries).await;
    soon("stopping", amqp.stop_consuming()).await;
    world.put(BasicProperties::default(), b"late").await;
    let mut rest = vec![first];
    while let Some(delivery) = soon("the end", deliveries.recv()).await {
        rest.push(delivery.unwrap());
    }
    for delivery in &rest {
        assert_eq!(amqp.settle(&delivery.origin, Verdict::Ack).await, Settled::Sent);
    }
    amqp.close().await;
    let left = world.try_take(&world.settings.queue).await.unwrap();
    assert_eq!((rest.len(), left.data.as_slice()), (2, b"late".as_slice()));
}

#[tokio::test]
async fn given_a_connection_that_breaks_after_the_stop_when_waiting_then_consuming_does_not_begin_again() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    soon("stopping", amqp.stop_consuming()).await;
    world.relay.cut();
    assert!(soon("the end", deliveries.recv()).await.is_none());
    // The writer is back: the reader would be, too.
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    world.put(BasicProperties::default(), b"late").await;
    assert!(world.try_take(&world.settings.queue).await.is_some());
    amqp.close().await;
}

fn incoming() -> (BasicProperties, FieldTable) {
    let mut headers = FieldTable::default();
    headers.insert("messageId".into(), AMQPValue::LongString("m".into()));
    headers.insert("start".into(), AMQPValue::LongLongInt(5));
    headers.insert("protocolVersion".into(), AMQPValue::LongUInt(2));
    headers.insert("reboundIteration".into(), AMQPValue::LongInt(2));
    headers.insert("when".into(), AMQPValue::Timestamp(7));
    let properties = BasicProperties::default()
        .with_content_type("text/plain".into())
        .with_content_encoding("binary".into())
        .with_delivery_mode(2)
        .with_priority(3)
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_message_id("i".into())
        .with_timestamp(9)
        .with_type("t".into())
        .with_app_id("a".into())
        .with_headers(headers.clone());
    (properties, headers)
}

#[tokio::test]
async fn given_a_delivery_when_rebound_then_it_goes_out_with_its_own_properties_types_and_bytes() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    let (properties, mut headers) = incoming();
    let user = broker_uri().authority.userinfo.username;
    world.put(properties.clone().with_user_id(user.as_str().into()), b"bytes").await;
    let delivery = next(&mut deliveries).await;
    let reason = "ü".repeat(32 * 1024);
    soon("the confirm", amqp.rebound(&delivery.origin, delivery.body.clone(), &reason).unwrap()).await.unwrap();
    // The queue that it went to has no dead-lettering: the expiration is one minute away.
    let message = world.take().await;
    let Some(AMQPValue::LongLongInt(end)) = header(&message, "end") else { panic!("no end") };
    headers.insert("end".into(), AMQPValue::LongLongInt(end));
    headers.insert("reboundReason".into(), AMQPValue::LongString("ü".repeat(512).into()));
    headers.insert("reboundIteration".into(), AMQPValue::ShortShortInt(3));
    let expected = properties
        .with_user_id(user.into())
        .with_headers(headers)
        .with_delivery_mode(1)
        .with_expiration("60000".into());
    assert_eq!((&message.properties, message.data.as_slice()), (&expected, b"bytes".as_slice()));
    amqp.close().await;
}

#[tokio::test]
async fn given_the_last_iteration_when_rebound_then_the_limit_is_reported() {
    let mut world = World::new().await;
    world.settings.rebound_limit = 2;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.put(incoming().0, b"bytes").await;
    let delivery = next(&mut deliveries).await;
    assert!(amqp.rebound(&delivery.origin, delivery.body.clone(), "why").is_err());
    amqp.close().await;
}

#[tokio::test]
async fn given_events_that_wait_when_closed_then_they_fail() {
    let world = World::with_out_arguments(full_after_one()).await;
    let amqp = world.connect().await;
    soon("the confirm", amqp.publish(event("1"))).await.unwrap();
    let receipts: HashMap<_, _> = (2..10).map(|n| (n, amqp.publish(event(&n.to_string())))).collect();
    soon("closing", amqp.close()).await;
    for (n, receipt) in receipts {
        let error = soon("the error", receipt).await.unwrap_err();
        assert!(error.cause.contains("closed on shutdown"), "{n}: {error}");
    }
    soon("the error", amqp.publish(event("late"))).await.unwrap_err();
}

#[tokio::test]
async fn given_a_silent_broker_when_closed_then_it_takes_seconds_and_no_more() {
    let world = World::new().await;
    let amqp = world.connect().await;
    let mut deliveries = amqp.consume().await.unwrap();
    world.relay.silence();
    let receipt = amqp.publish(event("1"));
    let start = Instant::now();
    amqp.close().await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    soon("the error", receipt).await.unwrap_err();
    assert!(soon("the end", deliveries.recv()).await.is_none());
}

#[tokio::test]
async fn given_a_wrong_password_when_connecting_then_the_error_says_so_without_it() {
    let mut world = World::new().await;
    world.settings.uri = SecretString::from(format!("amqp://guest:s3cret@127.0.0.1:{}", world.relay.port));
    let error = Amqp::connect(&world.settings).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1") && error.contains("ELASTICIO_AMQP_URI"), "{error}");
    assert!(error.contains("403") && !error.contains("s3cret"), "{error}");
}

#[tokio::test]
async fn given_a_virtual_host_that_is_missing_when_connecting_then_the_error_says_what_to_check() {
    let mut world = World::new().await;
    let info = broker_uri().authority.userinfo;
    let uri = format!("amqp://{}:{}@127.0.0.1:{}/missing", info.username, info.password, world.relay.port);
    world.settings.uri = SecretString::from(uri);
    let error = Amqp::connect(&world.settings).await.unwrap_err().to_string();
    assert!(error.contains("virtual host"), "{error}");
}

#[tokio::test]
async fn given_no_broker_when_connecting_then_the_tries_are_those_of_the_settings() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut world = World::new().await;
    world.settings.uri = SecretString::from(format!("amqp://guest:s3cret@127.0.0.1:{closed}"));
    let error = Amqp::connect(&world.settings).await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{closed}")) && error.contains("3 tries"), "{error}");
    assert!(!error.contains("s3cret"), "{error}");
}
