//! Everything the broker knows, behind one lock: exchanges, queues, connections. This file declares, binds and deletes;
//! `routing` puts messages into queues, `delivery` sends them to consumers.

use super::{
    error::{AmqpError, Outcome},
    exchange::{Binding, Destination, Exchange, ExchangeKind},
    frame_writer::FrameWriter,
    message::Event,
    queue::{Queue, QueueOptions, QueuedMessage},
};
use amq_protocol::types::{FieldTable, ShortString};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

/// Events that a slow watcher can be behind before it misses some.
const EVENT_BACKLOG: usize = 16_384;

pub(super) struct State {
    pub(super) vhost: String,
    pub(super) exchanges: HashMap<String, Exchange>,
    pub(super) queues: HashMap<String, Queue>,
    pub(super) connections: HashMap<u64, Connection>,
    pub(super) faults: InjectedFaults,
    /// Delayed confirms: when they are due, and for which connection, channel and publish.
    pub(super) held_confirms: BTreeMap<(Instant, u64), (u64, u16, u64)>,
    pub(super) events: broadcast::Sender<Event>,
    /// Something has a new deadline.
    pub(super) timer: Arc<Notify>,
    /// A queue has become idle.
    pub(super) idle: Arc<Notify>,
    last_id: u64,
}

/// The faults that a test has injected.
#[derive(Debug, Default)]
pub(super) struct InjectedFaults {
    pub(super) refuse: bool,
    /// Clients have no permission to declare and delete.
    pub(super) deny_configure: bool,
    pub(super) deny_use: bool,
    pub(super) blocked: bool,
    pub(super) confirm_delay: Duration,
    pub(super) nacks: usize,
    /// The size limit of a message in bytes, instead of the broker's own.
    pub(super) message_size: Option<u64>,
}

pub(super) struct Connection {
    pub(super) writer: Arc<FrameWriter>,
    pub(super) name: String,
    pub(super) frame_max: u32,
    /// The client announced that it understands a `basic.cancel` from the broker.
    pub(super) understands_cancel: bool,
    /// The client announced that it understands `connection.blocked`.
    pub(super) understands_blocked: bool,
    /// The handshake is over.
    pub(super) open: bool,
    /// It has published. Only such connections are blocked.
    pub(super) publishes: bool,
    pub(super) blocked: bool,
    /// The broker has closed it: everything that the client sends is ignored, except its confirmation.
    pub(super) closing: bool,
    pub(super) channels: HashMap<u16, Channel>,
}

#[derive(Default)]
pub(super) struct Channel {
    pub(super) last_tag: u64,
    pub(super) unacked: BTreeMap<u64, Unacked>,
    /// Consumer tag → queue.
    pub(super) consumers: BTreeMap<Arc<str>, Arc<str>>,
    /// How many unsettled messages the next consumer may hold.
    pub(super) prefetch: usize,
    /// How many unsettled messages all consumers together may hold; 0 is no limit.
    pub(super) limit: usize,
    /// How many unsettled messages the consumers hold.
    pub(super) held: usize,
    /// With confirms: the number of the last publish.
    pub(super) published: Option<u64>,
    /// The queue that an empty name refers to.
    pub(super) last_queue: String,
}

/// A message that a client has and has not settled.
pub(super) struct Unacked {
    pub(super) queue: Arc<str>,
    pub(super) queue_id: u64,
    pub(super) consumer: Option<Arc<str>>,
    pub(super) entry: QueuedMessage,
}

/// A declaration of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct QueueSpec {
    pub(super) durable: bool,
    pub(super) exclusive: bool,
    pub(super) auto_delete: bool,
    pub(super) options: QueueOptions,
}

impl State {
    pub(super) fn new(vhost: String) -> Self {
        let predeclared = [
            ("", ExchangeKind::Direct),
            ("amq.direct", ExchangeKind::Direct),
            ("amq.topic", ExchangeKind::Topic),
            ("amq.fanout", ExchangeKind::Fanout),
        ];
        Self {
            vhost,
            exchanges: predeclared
                .map(|(name, kind)| (name.to_owned(), Exchange::new(kind)))
                .into(),
            queues: HashMap::new(),
            connections: HashMap::new(),
            faults: InjectedFaults::default(),
            held_confirms: BTreeMap::new(),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            timer: Arc::default(),
            idle: Arc::default(),
            last_id: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.events.receiver_count() > 0 {
            // It fails only when the last watcher has just gone.
            let _ = self.events.send(event());
        }
    }

    /// The exchange in error texts, with the virtual host.
    pub(super) fn exchange_label(&self, name: &str) -> String {
        format!("exchange '{name}' in vhost '{}'", self.vhost)
    }

    /// The queue in error texts, with the virtual host.
    pub(super) fn queue_label(&self, name: &str) -> String {
        format!("queue '{name}' in vhost '{}'", self.vhost)
    }

    pub(super) fn exchange(&mut self, name: &str) -> Outcome<&mut Exchange> {
        let missing = format!("no {}", self.exchange_label(name));
        self.exchanges
            .get_mut(name)
            .ok_or_else(|| AmqpError::not_found(missing))
    }

    /// The queue, unless it is missing or exclusive to another connection.
    pub(super) fn queue(&mut self, connection: u64, name: &str) -> Outcome<&mut Queue> {
        let label = self.queue_label(name);
        match self.queues.get_mut(name) {
            None => Err(AmqpError::not_found(format!("no {label}"))),
            Some(queue) if queue.owner.is_some_and(|owner| owner != connection) => {
                Err(locked(&label))
            }
            Some(queue) => Ok(queue),
        }
    }

    /// Whether clients may declare and delete what the label names.
    pub(super) fn may_configure(&self, user: &str, label: &str) -> Outcome {
        if self.faults.deny_configure {
            Err(refused(user, label))
        } else {
            Ok(())
        }
    }

    /// Whether clients may consume or publish to what the label names.
    pub(super) fn may_use(&self, user: &str, label: impl FnOnce(&Self) -> String) -> Outcome {
        if self.faults.deny_use {
            Err(refused(user, &label(self)))
        } else {
            Ok(())
        }
    }

    pub(super) fn declare_exchange(&mut self, name: &str, spec: Exchange) -> Outcome {
        let label = self.exchange_label(name);
        let Some(known) = self.exchanges.get(name) else {
            if name.starts_with("amq.") {
                return Err(AmqpError::access_refused(format!(
                    "exchange name '{name}' contains reserved prefix 'amq.*'"
                )));
            }
            self.exchanges.insert(name.to_owned(), spec);
            return Ok(());
        };
        if name.is_empty() {
            return Err(AmqpError::access_refused(
                "operation not permitted on the default exchange",
            ));
        }
        let alternate =
            |exchange: &Exchange| exchange.alternate.clone().unwrap_or_else(|| "none".into());
        let compared = [
            (
                "type",
                spec.kind.name().to_owned(),
                known.kind.name().to_owned(),
            ),
            (
                "durable",
                spec.durable.to_string(),
                known.durable.to_string(),
            ),
            (
                "auto_delete",
                spec.auto_delete.to_string(),
                known.auto_delete.to_string(),
            ),
            (
                "internal",
                spec.internal.to_string(),
                known.internal.to_string(),
            ),
            ("alternate-exchange", alternate(&spec), alternate(known)),
        ];
        inequivalent(&compared, &label)
    }

    pub(super) fn delete_exchange(&mut self, name: &str, if_unused: bool) -> Outcome {
        if name.is_empty() {
            return Err(AmqpError::access_refused(
                "operation not permitted on the default exchange",
            ));
        }
        if name.starts_with("amq.") {
            return Err(AmqpError::access_refused(format!(
                "exchange name '{name}' contains reserved prefix 'amq.*'"
            )));
        }
        // Deleting a missing exchange or queue succeeds, as in RabbitMQ.
        let Some(exchange) = self.exchanges.get(name) else {
            return Ok(());
        };
        if if_unused && !exchange.is_unused() {
            return Err(AmqpError::precondition(format!(
                "{} in use",
                self.exchange_label(name)
            )));
        }
        self.exchanges.remove(name);
        self.forget(&Destination::Exchange(name.to_owned()));
        Ok(())
    }

    pub(super) fn bind(&mut self, connection: u64, source: &str, binding: Binding) -> Outcome {
        self.check_binding(connection, source, &binding)?;
        self.exchange(source)?.bind(binding);
        Ok(())
    }

    pub(super) fn unbind(&mut self, connection: u64, source: &str, binding: &Binding) -> Outcome {
        self.check_binding(connection, source, binding)?;
        let exchange = self.exchange(source)?;
        exchange.unbind(binding);
        if exchange.auto_delete && exchange.is_unused() {
            self.delete_exchange(source, false)?;
        }
        Ok(())
    }

    /// Declares a queue and returns its name: an empty name is replaced by a new one.
    pub(super) fn declare_queue(
        &mut self,
        connection: u64,
        name: &str,
        spec: QueueSpec,
    ) -> Outcome<String> {
        let generated;
        let name = if name.is_empty() {
            generated = format!("amq.gen-{}", uuid::Uuid::new_v4().simple());
            &generated
        } else {
            name
        };
        if self.queues.contains_key(name) {
            self.check_equivalent(connection, name, &spec)?;
        } else {
            self.add_queue(connection, name, spec)?;
        }
        Ok(name.to_owned())
    }

    /// Whether a queue is as a later declaration says.
    fn check_equivalent(&mut self, connection: u64, name: &str, spec: &QueueSpec) -> Outcome {
        let label = self.queue_label(name);
        let known = self.queue(connection, name)?;
        if spec.exclusive != known.owner.is_some() {
            return Err(locked(&label));
        }
        let wanted = spec.options.to_arguments();
        let current = known.options.to_arguments();
        let flag = |name, wanted: bool, known: bool| (name, wanted.to_string(), known.to_string());
        let mut compared = vec![
            flag("durable", spec.durable, known.durable),
            flag("auto_delete", spec.auto_delete, known.auto_delete),
        ];
        let names = wanted
            .inner()
            .keys()
            .chain(current.inner().keys())
            .map(ShortString::as_str);
        compared
            .extend(names.map(|name| (name, argument(&wanted, name), argument(&current, name))));
        inequivalent(&compared, &label)
    }

    fn add_queue(&mut self, connection: u64, name: &str, spec: QueueSpec) -> Outcome {
        if name.starts_with("amq.") && !name.starts_with("amq.gen-") {
            return Err(AmqpError::access_refused(format!(
                "queue name '{name}' contains reserved prefix 'amq.*'"
            )));
        }
        let id = self.next_id();
        let mut queue = Queue::new(id, name, spec.options);
        queue.durable = spec.durable;
        queue.auto_delete = spec.auto_delete;
        queue.owner = spec.exclusive.then_some(connection);
        self.queues.insert(name.to_owned(), queue);
        Ok(())
    }

    /// Deletes a queue with its messages, and returns their number. Its consumers are cancelled.
    pub(super) fn delete_queue(
        &mut self,
        connection: u64,
        name: &str,
        if_unused: bool,
        if_empty: bool,
    ) -> Outcome<usize> {
        let label = self.queue_label(name);
        if !self.queues.contains_key(name) {
            return Ok(0);
        }
        let queue = self.queue(connection, name)?;
        if if_unused && !queue.consumers.is_empty() {
            return Err(AmqpError::precondition(format!("{label} in use")));
        }
        if if_empty && queue.len() > 0 {
            return Err(AmqpError::precondition(format!("{label} is not empty")));
        }
        Ok(self.remove_queue(name))
    }

    pub(super) fn remove_queue(&mut self, name: &str) -> usize {
        self.cancel_consumers(name);
        let Some(queue) = self.queues.remove(name) else {
            return 0;
        };
        self.forget(&Destination::Queue(queue.name.clone()));
        self.idle.notify_waiters();
        queue.len()
    }

    pub(super) fn purge(&mut self, connection: u64, name: &str) -> Outcome<usize> {
        let queue = self.queue(connection, name)?;
        let purged = queue.drain().len();
        self.notice_idle(name);
        Ok(purged)
    }

    /// Notifies those who wait for a queue to become idle.
    pub(super) fn notice_idle(&self, name: &str) {
        if self.queues.get(name).is_none_or(Queue::is_idle) {
            self.idle.notify_waiters();
        }
    }

    fn check_binding(&mut self, connection: u64, source: &str, binding: &Binding) -> Outcome {
        let to_default =
            matches!(&binding.destination, Destination::Exchange(name) if name.is_empty());
        if source.is_empty() || to_default {
            return Err(AmqpError::access_refused(
                "operation not permitted on the default exchange",
            ));
        }
        match &binding.destination {
            Destination::Queue(name) => drop(self.queue(connection, name)?),
            Destination::Exchange(name) => drop(self.exchange(name)?),
        }
        self.exchange(source).map(drop)
    }

    /// Removes the bindings to something deleted, and the auto-delete exchanges that have none left.
    fn forget(&mut self, destination: &Destination) {
        let mut unused = Vec::new();
        for (name, exchange) in &mut self.exchanges {
            if exchange.forget(destination) && exchange.auto_delete && exchange.is_unused() {
                unused.push(name.clone());
            }
        }
        for name in unused {
            self.exchanges.remove(&name);
            self.forget(&Destination::Exchange(name));
        }
    }
}

/// The error for a queue that is exclusive to another connection, or declared with another exclusivity.
fn locked(label: &str) -> AmqpError {
    AmqpError::locked(format!(
        "cannot obtain exclusive access to locked {label}. It could be originally declared on another connection or the \
         exclusive property value does not match that of the original declaration."
    ))
}

fn refused(user: &str, label: &str) -> AmqpError {
    AmqpError::access_refused(format!("access to {label} refused for user '{user}'"))
}

/// An error for the first `(name, received, current)` that differs.
fn inequivalent(compared: &[(&str, String, String)], label: &str) -> Outcome {
    let quote = |value: &str| {
        if value == "none" {
            "none".to_owned()
        } else {
            format!("'{value}'")
        }
    };
    match compared
        .iter()
        .find(|(_, received, current)| received != current)
    {
        None => Ok(()),
        Some((name, received, current)) => Err(AmqpError::precondition(format!(
            "inequivalent arg '{name}' for {label}: received {} but current is {}",
            quote(received),
            quote(current)
        ))),
    }
}

fn argument(table: &FieldTable, name: &str) -> String {
    match table.inner().get(name) {
        None => "none".to_owned(),
        Some(value) => value
            .as_long_string()
            .map(ToString::to_string)
            .or_else(|| value.as_long_long_int().map(|n| n.to_string()))
            .unwrap_or_default(),
    }
}
