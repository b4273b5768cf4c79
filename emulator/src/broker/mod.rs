//! An AMQP 0-9-1 broker inside the process, on loopback: what a component talks to on a laptop and in tests.
//!
//! It does what RabbitMQ does, as far as components and their clients (lapin, amqplib, pika) can tell, and refuses what
//! it does not know with the code that RabbitMQ has for it. Besides the wire there is a direct way in: [`Broker`]
//! declares, publishes, looks and takes, and it makes trouble on order: cut connections, late or negative confirms.
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
mod exchange;
mod fault;
mod link;
mod message;
mod queue;
mod routing;
mod state;

pub use amq_protocol::{
    protocol::BasicProperties,
    types::{AMQPValue, FieldTable},
};
pub use exchange::ExchangeKind;
pub use message::{DeathReason, Event, Message, QueueDepth};
pub use queue::{Overflow, QueueOptions};

use exchange::{Binding, Destination, Exchange};
use fault::{Fault, Outcome};
use routing::Routed;
use state::{QueueSpec, State};
use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{net::TcpListener, sync::broadcast, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// No connection has this number: it stands for the direct way in.
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
    /// The heartbeat that is suggested to clients, in seconds; 0 suggests none.
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

/// Everything but the password.
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
    /// Listens on loopback and serves from then on.
    ///
    /// # Errors
    /// When the port cannot be had, or the configuration asks for frames smaller than AMQP's least, 4096 bytes.
    pub async fn start(config: BrokerConfig) -> io::Result<Self> {
        if config.frame_max < 4096 {
            let text = format!(
                "frame_max is {}: AMQP allows no less than 4096",
                config.frame_max
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, config.port));
        let listener = TcpListener::bind(wanted).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the broker cannot listen on {wanted}: {error}; choose another port"),
            )
        })?;
        let shared = Arc::new(Shared {
            addr: listener.local_addr()?,
            state: Mutex::new(State::new(config.vhost.clone())),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        shared.tasks.spawn(accept(shared.clone(), listener));
        shared.tasks.spawn(keep_time(shared.clone()));
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
            escape(user),
            escape(password),
            self.addr(),
            escape(vhost)
        )
    }

    /// Declares a durable exchange.
    ///
    /// # Panics
    /// When there is one of the name that is different, as a client's channel would be closed.
    pub fn declare_exchange(&self, name: &str, kind: ExchangeKind) {
        check_name(name);
        expected(self.state().declare_exchange(name, Exchange::new(kind)));
    }

    /// Declares a durable queue.
    ///
    /// # Panics
    /// When there is one of the name that is different, as a client's channel would be closed.
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
    /// When there is no such queue or exchange, as a client's channel would be closed.
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

    /// Binds an exchange to another one: what comes to `source` with such a routing key goes to `exchange` as well.
    ///
    /// # Panics
    /// When one of them does not exist, as a client's channel would be closed.
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

    /// Takes a queue's binding back; messages with this key do not reach it any more.
    ///
    /// # Panics
    /// When there is no such queue or exchange, as a client's channel would be closed.
    pub fn unbind_queue(&self, queue: &str, exchange: &str, routing_key: &str) {
        let destination = Destination::Queue(queue.into());
        let binding = Binding {
            key: routing_key.into(),
            destination,
            arguments: FieldTable::default(),
        };
        expected(self.state().unbind(IN_PROCESS, exchange, &binding));
    }

    /// Publishes a message. True when at least one queue is bound for it and every such queue took it; false also when
    /// there is no such exchange.
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
        self.state().publish(&message) == Ok(Routed::Taken)
    }

    /// How full a queue is.
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

    /// Takes the waiting messages out of a queue, the oldest first.
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

    /// Everything that happens from now on. A receiver that falls some 16 000 events behind misses the oldest and is
    /// told so.
    pub fn watch(&self) -> broadcast::Receiver<Event> {
        self.state().events.subscribe()
    }

    /// Resolves when nothing waits in a queue and nothing of it is unsettled; at once when there is no such queue.
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
                .is_none_or(queue::Queue::is_settled)
            {
                return;
            }
            changed.await;
        }
    }

    /// Cuts every connection as a crash would, without a word, and says how many there were. What was unsettled goes
    /// back into the queues before this returns.
    pub fn drop_connections(&self) -> usize {
        let mut state = self.state();
        let alive = state
            .connections
            .iter()
            .filter(|(_, connection)| !connection.link.cut.is_cancelled());
        let ids: Vec<_> = alive.map(|(id, _)| *id).collect();
        for id in &ids {
            state.release_connection(*id);
            if let Some(connection) = state.connections.get_mut(id) {
                connection.closing = true;
                connection.link.cut.cancel();
            }
        }
        ids.len()
    }

    /// Asks every client to close, with 320 CONNECTION_FORCED, as an operator or a shutdown does.
    pub fn close_connections(&self) {
        let mut state = self.state();
        let ids: Vec<_> = state.connections.keys().copied().collect();
        let fault = Fault::forced("broker forced connection closure with reason 'shutdown'");
        for id in ids {
            state.close_connection(id, &fault, (0, 0));
        }
    }

    /// Hangs up on every new connection before a word is said, or stops doing so. Existing ones stay.
    pub fn refuse_connections(&self, refuse: bool) {
        self.state().orders.refuse = refuse;
    }

    /// Refuses to let clients declare and delete, as for a user without the permission to configure, or no longer.
    pub fn deny_configure(&self, deny: bool) {
        self.state().orders.deny_configure = deny;
    }

    /// Lets publishers wait so long for each confirm; zero is off. Messages are routed at once all the same.
    pub fn delay_confirms(&self, delay: Duration) {
        self.state().orders.confirm_delay = delay;
    }

    /// Answers the next so many publishes on channels with confirms with a nack and throws the messages away.
    pub fn nack_publishes(&self, n: usize) {
        self.state().orders.nacks = n;
    }

    /// Refuses messages of more bytes than this with 406 PRECONDITION_FAILED, which closes their channel.
    pub fn limit_message_size(&self, bytes: u64) {
        self.state().orders.message_size = Some(bytes);
    }

    /// Ends all subscriptions of a queue and tells the clients with a `basic.cancel`.
    pub fn cancel_consumers(&self, queue: &str) {
        self.state().cancel_consumers(queue);
    }

    /// Behaves as if memory ran low, or no longer: publishers hear `connection.blocked` and are not read from, those
    /// who have published before at once and others when they begin.
    pub fn block_connections(&self, blocked: bool) {
        let mut state = self.state();
        state.orders.blocked = blocked;
        for connection in state
            .connections
            .values_mut()
            .filter(|connection| connection.publishes)
        {
            connection.set_blocked(blocked);
        }
    }

    /// Stops listening, cuts all connections, and resolves when every task has ended.
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
            connection.link.cut.cancel();
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => drop(shared.tasks.spawn(connection::serve(
                shared.clone(),
                socket,
                peer,
            ))),
            // Out of file handles, say: the next client may have more luck.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Lets messages expire and sends the confirms that were held back, each when it is due.
async fn keep_time(shared: Arc<Shared>) {
    let timer = lock(&shared.state).timer.clone();
    loop {
        let next = {
            let mut state = lock(&shared.state);
            let now = Instant::now();
            let deadlines = [state.expire_due(now), state.send_held_confirms(now)];
            deadlines.into_iter().flatten().min()
        };
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = timer.notified() => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// A panic elsewhere does not make the data behind the lock any worse than it was.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn expected<T>(outcome: Outcome<T>) {
    if let Err(fault) = outcome {
        panic!("{}", fault.text);
    }
}

fn check_name(name: &str) {
    assert!(
        name.len() <= NAME_MAX,
        "a name of {} bytes: AMQP carries no more than {NAME_MAX}",
        name.len()
    );
}

/// Percent-encodes what may not stand in a part of a URI.
fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let escaped = |byte| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    text.bytes().map(escaped).collect()
}
