//! An AMQP 0-9-1 broker inside the process, on loopback. Components connect to it on a laptop and in tests.
//!
//! It behaves like RabbitMQ as far as components and their clients (lapin, amqplib, pika) can tell: direct, topic and
//! fanout exchanges, exchange bindings, classic queues with TTL, length limits and dead-lettering, prefetch, publisher
//! confirms, returns, heartbeats, and flow control. It leaves out what components do not use: disks and clusters, quorum
//! queues and streams, priorities, transactions, headers exchanges, permissions, TLS, and more than one user and virtual
//! host. A client that asks for such a feature is refused with RabbitMQ's reply code. All state is in memory.
//!
//! Tests also have a direct way in: [`Broker`] declares, publishes, inspects and takes messages, and it injects faults:
//! cut connections, late or negative confirms, refused connections, low memory.
//!
//! ```
//! # async fn example() -> std::io::Result<()> {
//! use emulator::broker::{BasicProperties, Broker, BrokerConfig, QueueOptions};
//!
//! let broker = Broker::start(BrokerConfig::default()).await?;
//! broker.declare_queue("orders", QueueOptions::default());
//! assert!(broker.publish("", "orders", BasicProperties::default(), b"one".to_vec()));
//! assert_eq!(broker.depth("orders").ready, 1);
//! assert_eq!(&broker.take("orders")[0].body[..], b"one");
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```

mod basic;
mod channel;
mod codec;
mod connection;
mod delivery;
mod error;
mod exchange;
mod frame_writer;
mod handshake;
mod message;
mod queue;
mod routing;
mod server;
mod state;

pub use amq_protocol::{
    protocol::BasicProperties,
    types::{AMQPValue, FieldTable},
};
pub use exchange::ExchangeKind;
pub use message::{DeathReason, Event, Message, QueueDepth};
pub use queue::{Overflow, QueueOptions};

use error::{AmqpError, Outcome};
use exchange::{Binding, Destination, Exchange};
use http_double::percent_encoded;
use routing::RouteResult;
use state::{QueueSpec, State};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::broadcast;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The connection number of calls through [`Broker`]. No client has it.
const IN_PROCESS: u64 = 0;
const NAME_MAX: usize = 255;

/// How a broker is started.
#[derive(Clone)]
pub struct BrokerConfig {
    /// The port on loopback; 0 takes any that is free.
    pub port: u16,
    /// The one user that may log in.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The one virtual host.
    pub vhost: String,
    /// The heartbeat that is suggested to clients, in seconds; 0 is none.
    pub heartbeat: u16,
    /// The largest frame, in bytes; clients may ask for less.
    pub frame_max: u32,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            port: 0,
            user: "guest".into(),
            password: "guest".into(),
            vhost: "/".into(),
            heartbeat: 60,
            frame_max: 131_072,
        }
    }
}

/// Everything except the password.
impl fmt::Debug for BrokerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerConfig")
            .field("port", &self.port)
            .field("user", &self.user)
            .field("vhost", &self.vhost)
            .field("heartbeat", &self.heartbeat)
            .field("frame_max", &self.frame_max)
            .finish_non_exhaustive()
    }
}

/// A running broker. It stops with [`shutdown`](Self::shutdown), or when the last clone of this handle is dropped.
#[derive(Clone)]
pub struct Broker(Arc<Handle>);

struct Handle(Arc<Shared>);

/// What the broker's tasks share.
struct Shared {
    config: BrokerConfig,
    addr: SocketAddr,
    state: Mutex<State>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Broker {
    /// Starts to listen on loopback.
    ///
    /// # Errors
    /// When the port is not available, or `frame_max` is below AMQP's minimum of 4096 bytes.
    pub async fn start(config: BrokerConfig) -> io::Result<Self> {
        if config.frame_max < 4096 {
            let text = format!(
                "frame_max is {}: AMQP allows no less than 4096",
                config.frame_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let shared = server::start(config).await?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared().addr
    }

    /// The URI for clients, with user, password and virtual host.
    pub fn uri(&self) -> String {
        let BrokerConfig {
            user,
            password,
            vhost,
            ..
        } = &self.shared().config;
        format!(
            "amqp://{}:{}@{}/{}",
            percent_encoded(user),
            percent_encoded(password),
            self.addr(),
            percent_encoded(vhost)
        )
    }

    /// Declares a durable exchange.
    ///
    /// # Panics
    /// When there is a different one with this name. A client's channel would be closed.
    pub fn declare_exchange(&self, name: &str, kind: ExchangeKind) {
        check_name(name);
        expected(self.state().declare_exchange(name, Exchange::new(kind)));
    }

    /// Declares a durable queue.
    ///
    /// # Panics
    /// When there is a different one with this name. A client's channel would be closed.
    pub fn declare_queue(&self, name: &str, options: QueueOptions) {
        check_name(name);
        let spec = QueueSpec {
            durable: true,
            options,
            ..QueueSpec::default()
        };
        expected(self.state().declare_queue(IN_PROCESS, name, spec));
    }

    /// Binds a queue to an exchange.
    ///
    /// # Panics
    /// When there is no such queue or exchange. A client's channel would be closed.
    pub fn bind_queue(&self, queue: &str, exchange: &str, routing_key: &str) {
        check_name(routing_key);
        let destination = Destination::Queue(queue.into());
        let binding = Binding {
            key: routing_key.into(),
            destination,
            arguments: FieldTable::default(),
        };
        expected(self.state().bind(IN_PROCESS, exchange, binding));
    }

    /// Binds an exchange to another one: messages to `source` with such a routing key go to `exchange` too.
    ///
    /// # Panics
    /// When one of them does not exist. A client's channel would be closed.
    pub fn bind_exchange(&self, exchange: &str, source: &str, routing_key: &str) {
        check_name(routing_key);
        let destination = Destination::Exchange(exchange.into());
        let binding = Binding {
            key: routing_key.into(),
            destination,
            arguments: FieldTable::default(),
        };
        expected(self.state().bind(IN_PROCESS, source, binding));
    }

    /// Removes a queue's binding: messages with this key no longer reach it.
    ///
    /// # Panics
    /// When there is no such queue or exchange. A client's channel would be closed.
    pub fn unbind_queue(&self, queue: &str, exchange: &str, routing_key: &str) {
        let destination = Destination::Queue(queue.into());
        let binding = Binding {
            key: routing_key.into(),
            destination,
            arguments: FieldTable::default(),
        };
        expected(self.state().unbind(IN_PROCESS, exchange, &binding));
    }

    /// Publishes a message. Returns true when at least one queue is bound for it and every such queue took it, and false
    /// when there is no such exchange.
    ///
    /// # Panics
    /// When the routing key is longer than the 255 bytes that AMQP can carry.
    pub fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        body: Vec<u8>,
    ) -> bool {
        check_name(routing_key);
        let message = Arc::new(Message {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
            properties,
            body: body.into(),
            redelivered: false,
        });
        self.state().publish(&message) == Ok(RouteResult::Taken)
    }

    /// How many messages and consumers a queue has.
    pub fn depth(&self, queue: &str) -> QueueDepth {
        let state = self.state();
        state
            .queues
            .get(queue)
            .map_or_else(QueueDepth::default, |queue| QueueDepth {
                ready: queue.len(),
                unacked: queue.unacked,
                consumers: queue.consumers.len(),
            })
    }

    /// Removes the waiting messages from a queue and returns them, oldest first.
    pub fn take(&self, queue: &str) -> Vec<Message> {
        let mut state = self.state();
        let entries = state
            .queues
            .get_mut(queue)
            .map(queue::Queue::drain)
            .unwrap_or_default();
        state.notice_idle(queue);
        entries
            .into_iter()
            .map(|entry| Arc::unwrap_or_clone(entry.message))
            .collect()
    }

    /// Everything that happens from now on. A receiver that falls 16 000 events behind loses the oldest, and its `recv`
    /// says so.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.state().events.subscribe()
    }

    /// Resolves when a queue is empty and all its deliveries are settled; at once when there is no such queue. Cancel safe.
    pub async fn settled(&self, queue: &str) {
        let idle = self.state().idle.clone();
        loop {
            let changed = idle.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self
                .state()
                .queues
                .get(queue)
                .is_none_or(queue::Queue::is_idle)
            {
                return;
            }
            changed.await;
        }
    }

    /// Cuts every connection as a crash does, and returns how many there were. Unsettled messages are back in their queues
    /// before this returns.
    pub fn drop_connections(&self) -> usize {
        let mut state = self.state();
        let alive = state
            .connections
            .iter()
            .filter(|(_, connection)| !connection.writer.cut.is_cancelled());
        let ids: Vec<_> = alive.map(|(id, _)| *id).collect();
        for id in &ids {
            state.release_connection(*id);
            if let Some(connection) = state.connections.get_mut(id) {
                connection.closing = true;
                connection.writer.cut.cancel();
            }
        }
        ids.len()
    }

    /// Closes every connection with 320 CONNECTION_FORCED, as an operator or a shutdown does.
    pub fn close_connections(&self) {
        let mut state = self.state();
        let ids: Vec<_> = state.connections.keys().copied().collect();
        let error = AmqpError::forced("broker forced connection closure with reason 'shutdown'");
        for id in ids {
            state.close_connection(id, &error, (0, 0));
        }
    }

    /// Turns on or off that every new connection is closed before the handshake. Existing ones stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.state().faults.refuse = refuse;
    }

    /// Turns the configure permission of clients on or off. Without it, clients cannot declare or delete.
    pub fn deny_configure(&self, deny: bool) {
        self.state().faults.deny_configure = deny;
    }

    /// Turns the read and write permissions of clients on or off. Without them, clients cannot consume or publish.
    /// Consumers that exist go on.
    pub fn deny_use(&self, deny: bool) {
        self.state().faults.deny_use = deny;
    }

    /// Delays each confirm by this time; zero is off. Messages are still routed at once.
    pub fn delay_confirms(&self, delay: Duration) {
        self.state().faults.confirm_delay = delay;
    }

    /// Nacks the next `n` publishes on channels with confirms, and drops their messages.
    pub fn nack_publishes(&self, n: usize) {
        self.state().faults.nacks = n;
    }

    /// Refuses messages larger than this with 406 PRECONDITION_FAILED, which closes their channel.
    pub fn limit_message_size(&self, bytes: u64) {
        self.state().faults.message_size = Some(bytes);
    }

    /// Cancels all consumers of a queue and notifies the clients with a `basic.cancel`.
    pub fn cancel_consumers(&self, queue: &str) {
        self.state().cancel_consumers(queue);
    }

    /// Turns an alarm about low memory on or off: publishers get `connection.blocked`, and nothing is read from them. Those
    /// that have published are blocked at once, others when they first publish.
    pub fn block_connections(&self, blocked: bool) {
        let mut state = self.state();
        state.faults.blocked = blocked;
        for connection in state
            .connections
            .values_mut()
            .filter(|connection| connection.publishes)
        {
            connection.set_blocked(blocked);
        }
    }

    /// Stops listening, cuts all connections, and waits for every task to end.
    pub async fn shutdown(&self) {
        self.shared().stop.cancel();
        self.drop_connections();
        self.shared().tasks.close();
        self.shared().tasks.wait().await;
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.0
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared().state)
    }
}

/// Shows where it listens.
impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("addr", &self.addr())
            .finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop.cancel();
        for connection in lock(&self.0.state).connections.values() {
            connection.writer.cut.cancel();
        }
    }
}

/// The data behind the lock is valid even when another thread has panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn expected<T>(outcome: Outcome<T>) {
    if let Err(error) = outcome {
        panic!("{}", error.text);
    }
}

fn check_name(name: &str) {
    assert!(
        name.len() <= NAME_MAX,
        "a name of {} bytes: AMQP carries no more than {NAME_MAX}",
        name.len()
    );
}
