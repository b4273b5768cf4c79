//! Tests of the adapter on the emulator's broker, or on RabbitMQ if `SAILOR_TEST_AMQP_URI` names one. Each test has its own
//! queues, its own exchange and its own relay to the broker, which can cut connections or go silent.

mod consuming;
mod diagnosis;
mod finished_stream;
mod hostile;
mod lock_connection;
mod locking;
mod memory;
mod opening_and_closing;
mod publishing;
mod refusals;
mod scripts;
mod time_limits;
mod unbound;

use super::*;
use crate::{
    broker::transport::{Delivery, Generation},
    protocol::Headers,
    settings::MemoryShares,
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    message::BasicGetMessage,
    options::{
        BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use secrecy::{ExposeSecret, SecretString};
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

/// The time limit for anything that must happen.
const SOON: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, PartialEq)]
enum Line {
    Open,
    Silent,
}

/// Forwards connections to the broker.
struct Relay {
    port: u16,
    line: watch::Sender<Line>,
    /// How many connections were accepted.
    accepted: watch::Receiver<usize>,
    /// How many of them are still open.
    open: watch::Receiver<usize>,
}

impl Relay {
    async fn start(broker: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (line, state) = watch::channel(Line::Open);
        let (count, accepted) = watch::channel(0);
        let (count_open, open) = watch::channel(0);
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.unwrap();
                count.send_modify(|n| *n += 1);
                count_open.send_modify(|n| *n += 1);
                let (broker, mut state, count_open) =
                    (broker.clone(), state.clone(), count_open.clone());
                state.mark_unchanged();
                tokio::spawn(async move {
                    Self::forward(near, &broker, state).await;
                    count_open.send_modify(|n| *n -= 1);
                });
            }
        });
        Self {
            port,
            line,
            accepted,
            open,
        }
    }

    async fn forward(mut near: TcpStream, broker: &str, mut state: watch::Receiver<Line>) {
        let Ok(mut far) = TcpStream::connect(broker).await else {
            return;
        };
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => {}
            _ = state.changed() => {
                let _ = state.wait_for(|line| *line == Line::Open).await;
            }
        }
    }

    fn cut(&self) {
        self.line.send_replace(Line::Open);
    }

    fn silence(&self) {
        self.line.send_replace(Line::Silent);
    }

    /// Waits until this many connections were accepted.
    async fn accepts(&self, count: usize) {
        let mut accepted = self.accepted.clone();
        let accepting = accepted.wait_for(|accepted| *accepted >= count);
        soon("a connection", accepting).await.unwrap();
    }
}

/// A broker with one queue to consume and one to publish to, and the adapter's settings for them.
struct World {
    channel: Channel,
    relay: Relay,
    settings: AmqpSettings,
    out: String,
    /// Our user name at the broker.
    user: String,
    /// The broker stops when this is dropped.
    _broker: Option<emulator::broker::Broker>,
}

/// RabbitMQ if the environment names one, else the emulator's broker.
pub(super) async fn broker() -> (lapin::uri::AMQPUri, Option<emulator::broker::Broker>) {
    if let Ok(uri) = env::var("SAILOR_TEST_AMQP_URI") {
        return (
            uri.parse().expect("SAILOR_TEST_AMQP_URI to be an AMQP URI"),
            None,
        );
    }
    assert!(
        env::var_os("CI").is_none(),
        "SAILOR_TEST_AMQP_URI is not set, and with CI set these tests must run on RabbitMQ"
    );
    let broker = emulator::broker::Broker::start(emulator::broker::BrokerConfig::default())
        .await
        .unwrap();
    (broker.uri().parse().unwrap(), Some(broker))
}

impl World {
    async fn new() -> Self {
        Self::with_out_arguments(FieldTable::default()).await
    }

    /// `arguments` are those of the queue that is published to.
    async fn with_out_arguments(arguments: FieldTable) -> Self {
        let (uri, broker) = broker().await;
        let relay = Relay::start(format!("{}:{}", uri.authority.host, uri.authority.port)).await;
        let connection = Connection::connect_uri(uri.clone(), ConnectionProperties::default())
            .await
            .expect("the broker to respond");
        let channel = connection.create_channel().await.unwrap();
        let name = uuid::Uuid::new_v4().to_string();
        let (queue, exchange) = (format!("in-{name}"), format!("x-{name}"));
        let world = Self {
            user: uri.authority.userinfo.username.clone(),
            channel,
            settings: settings(&uri, relay.port, &queue, &exchange),
            relay,
            out: format!("out-{name}"),
            _broker: broker,
        };
        world.declare_all(arguments).await;
        for key in ["data", "rebound"] {
            world.bind(key).await;
        }
        world
    }

    async fn declare_all(&self, out_arguments: FieldTable) {
        let mut expires = FieldTable::default();
        if self._broker.is_none() {
            // Leaves nothing behind on a broker that outlives the test.
            expires.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        }
        let shared = QueueDeclareOptions::default();
        let exclusive = QueueDeclareOptions {
            exclusive: true,
            ..Default::default()
        };
        for (queue, options, arguments) in [
            (&self.settings.queue, shared, expires),
            (&self.out, exclusive, out_arguments),
        ] {
            let queue = queue.as_str().into();
            let declared = self.channel.queue_declare(queue, options, arguments);
            declared.await.unwrap();
        }
        let exchange = self.settings.exchange.as_str().into();
        let (kind, arguments) = (ExchangeKind::Direct, FieldTable::default());
        let auto_delete = ExchangeDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        self.channel
            .exchange_declare(exchange, kind, auto_delete, arguments)
            .await
            .unwrap();
    }

    /// Binds the queue that is published to.
    async fn bind(&self, key: &str) {
        let (queue, exchange) = (
            self.out.as_str().into(),
            self.settings.exchange.as_str().into(),
        );
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        self.channel
            .queue_bind(queue, exchange, key.into(), options, arguments)
            .await
            .unwrap();
    }

    async fn unbind(&self, key: &str) {
        let (queue, exchange) = (
            self.out.as_str().into(),
            self.settings.exchange.as_str().into(),
        );
        self.channel
            .queue_unbind(queue, exchange, key.into(), FieldTable::default())
            .await
            .unwrap();
    }

    async fn connect(&self) -> Amqp {
        Amqp::connect(&self.settings, Arc::default()).await.unwrap()
    }

    /// Puts a message into the adapter's queue.
    async fn put(&self, properties: BasicProperties, body: &[u8]) {
        let (queue, options) = (
            self.settings.queue.as_str().into(),
            BasicPublishOptions::default(),
        );
        self.channel
            .basic_publish("".into(), queue, options, body, properties)
            .await
            .unwrap()
            .await
            .unwrap();
    }

    /// The next message that was published.
    async fn take(&self) -> BasicGetMessage {
        let start = Instant::now();
        loop {
            if let Some(message) = self.try_take(&self.out).await {
                return message;
            }
            assert!(start.elapsed() < SOON, "no message was published");
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn try_take(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel
            .basic_get(queue.into(), BasicGetOptions { no_ack: true })
            .await
            .unwrap()
    }
}

pub(super) fn text_of(uri: &lapin::uri::AMQPUri) -> String {
    let authority = &uri.authority;
    let (info, vhost) = (&authority.userinfo, uri.vhost.replace('/', "%2F"));
    format!(
        "amqp://{}:{}@{}:{}/{vhost}",
        info.username, info.password, authority.host, authority.port
    )
}

/// The settings of an adapter that connects through a relay.
fn settings(uri: &lapin::uri::AMQPUri, relay: u16, queue: &str, exchange: &str) -> AmqpSettings {
    let mut near = uri.clone();
    near.authority.host = "127.0.0.1".into();
    near.authority.port = relay;
    AmqpSettings {
        uri: SecretString::from(text_of(&near)),
        queue: queue.into(),
        exchange: exchange.into(),
        data_key: "data".into(),
        error_key: "nowhere".into(),
        rebound_key: "rebound".into(),
        snapshot_key: "nowhere".into(),
        update_keys_key: None,
        prefetch: 10,
        memory: MemoryShares::new(None),
        persistent: false,
        rebound_initial_expiration: Duration::from_secs(15),
        rebound_limit: 20,
        publish_retry_delay: Duration::from_millis(10),
        publish_max_retry_delay: Duration::from_millis(100),
        publish_attempts: None,
        unbound_is_error: false,
        binding_timeout: Duration::from_secs(1),
        refusal_timeout: Duration::from_secs(1),
        connect_retries: 2,
        connect_retry_delay: Duration::from_millis(10),
    }
}

fn event(id: &str) -> Publication {
    let headers = Headers::from_iter([("messageId".to_owned(), json!(id))]);
    Publication {
        route: Route::Data,
        headers,
        body: Bytes::from(id.to_owned()),
    }
}

fn error_event(id: &str) -> Publication {
    Publication {
        route: Route::Error,
        ..event(id)
    }
}

fn header(message: &BasicGetMessage, name: &str) -> Option<AMQPValue> {
    message
        .properties
        .headers()
        .as_ref()
        .and_then(|headers| headers.inner().get(name))
        .cloned()
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(SOON, future)
        .await
        .unwrap_or_else(|_| panic!("{what} did not happen"))
}

async fn next(deliveries: &mut Deliveries<DeliveryHandle>) -> Delivery<DeliveryHandle> {
    soon("a delivery", deliveries.recv())
        .await
        .expect("deliveries to go on")
        .expect("a delivery")
}

fn full_after_one() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert(
        "x-overflow".into(),
        AMQPValue::LongString("reject-publish".into()),
    );
    arguments
}
