//! The exchanges, queues and routing keys of one step, made and named as the platform makes and names them
//! (wire-contract: Queues and bindings).

use crate::{
    broker::{Broker, ExchangeKind, QueueOptions},
    config::EmulatorConfig,
};
use std::time::Duration;

/// How many messages each queue keeps that nobody consumes; older ones are dropped.
const KEPT: usize = 1000;
const COLLECTOR: &str = "component-events-collector";
/// How long a rebound waits at most.
const REBOUND_LIMIT: Duration = Duration::from_secs(600);
/// The step that comes after this one, where there is one.
const NEXT_STEP: &str = "next_step";

/// Names of everything that a step's component meets on the broker.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Everything is published to this topic exchange.
    pub exchange: String,
    /// The queue that the component consumes.
    pub input: String,
    /// The routing key that leads to the input queue: the previous step's data key.
    pub input_key: String,
    /// Another one that leads there: the step's own, for what does not come from a step.
    pub own_key: String,
    /// Where rebounds wait until they expire and go back to the input queue.
    pub rebounds: String,
    /// The routing key under which rebounds go back.
    pub requeue_key: String,
    /// The routing key that rejected messages get. Nothing is bound to it.
    pub dead_key: String,
    /// Where data lies, when there is a next step.
    pub next: String,
    /// The exchange that gets all events of the flow as well, for services to take errors and snapshots from.
    pub collector: String,
    /// Where error events lie, when they are collected.
    pub errors: String,
    /// Where snapshots lie, when they are collected.
    pub snapshots: String,
    /// The step's routing keys.
    pub keys: Keys,
    /// Whom answers go to that wait for a reply: for the header `reply_to`.
    pub reply_key: String,
}

/// A step's routing keys, one for each kind of event.
#[derive(Clone, Debug)]
pub struct Keys {
    /// `ELASTICIO_DATA_ROUTING_KEY`
    pub data: String,
    /// `ELASTICIO_ERROR_ROUTING_KEY`
    pub error: String,
    /// `ELASTICIO_REBOUND_ROUTING_KEY`
    pub rebound: String,
    /// `ELASTICIO_SNAPSHOT_ROUTING_KEY`
    pub snapshot: String,
    /// `ELASTICIO_UPDATE_KEYS_ROUTING_KEY`
    pub update_keys: String,
}

impl Topology {
    /// The names for a step of a flow in a workspace.
    #[must_use]
    pub fn new(workspace: &str, flow: &str, step: &str, previous_step: &str) -> Self {
        let queue = |step: &str, what: &str| format!("{workspace}:{flow}/ordinary:{step}:{what}");
        let key = |step: &str, what: &str| format!("{workspace}.{flow}/ordinary.{step}.{what}");
        Self {
            exchange: format!("{workspace}_org"),
            input: queue(step, "messages"),
            input_key: key(previous_step, "message"),
            own_key: key(step, "input"),
            rebounds: queue(step, "rebounds"),
            requeue_key: key(step, "requeue"),
            dead_key: key(step, "deadletter"),
            next: queue(NEXT_STEP, "messages"),
            collector: COLLECTOR.to_owned(),
            errors: format!("{COLLECTOR}:errors"),
            snapshots: format!("{COLLECTOR}:snapshots"),
            keys: Keys {
                data: key(step, "message"),
                error: key(step, "error"),
                rebound: key(step, "rebound"),
                snapshot: key(step, "snapshot"),
                update_keys: key(step, "update_keys"),
            },
            reply_key: key(step, "reply"),
        }
    }

    /// Declares it all. A step's queue is bound to the data key of the step before it, so nothing is bound to the last
    /// one's.
    pub(crate) fn declare(&self, broker: &Broker, config: &EmulatorConfig) {
        broker.declare_exchange(&self.exchange, ExchangeKind::Topic);
        broker.declare_exchange(&self.collector, ExchangeKind::Topic);
        broker.bind_exchange(&self.collector, &self.exchange, "#");
        broker.declare_queue(&self.input, self.dead_lettering(&self.dead_key));
        for key in [&self.own_key, &self.requeue_key, &self.input_key] {
            broker.bind_queue(&self.input, &self.exchange, key);
        }
        // The shorter of this and what a rebound brings along counts, so both are sped up alike.
        let message_ttl = Some(REBOUND_LIMIT / config.rebound_speed_up.max(1));
        broker.declare_queue(
            &self.rebounds,
            QueueOptions {
                message_ttl,
                ..self.dead_lettering(&self.requeue_key)
            },
        );
        broker.bind_queue(&self.rebounds, &self.exchange, &self.keys.rebound);
        if config.collector {
            for (queue, keys) in [(&self.errors, "#.error"), (&self.snapshots, "#.snapshot")] {
                broker.declare_queue(queue, capped());
                broker.bind_queue(queue, &self.collector, keys);
            }
        }
        if config.next_step {
            broker.declare_queue(&self.next, capped());
            broker.bind_queue(&self.next, &self.exchange, &self.keys.data);
        }
        if config.update_keys_over_broker {
            self.capture(broker, &self.keys.update_keys);
        }
        self.capture(broker, &self.reply_key);
        for key in &config.routing_keys {
            self.capture(broker, key);
        }
    }

    /// Gives what is published with `key` a queue to lie in, called like the key.
    pub(crate) fn capture(&self, broker: &Broker, key: &str) {
        broker.declare_queue(key, capped());
        broker.bind_queue(key, &self.exchange, key);
    }

    fn dead_lettering(&self, key: &str) -> QueueOptions {
        QueueOptions {
            dead_letter_exchange: Some(self.exchange.clone()),
            dead_letter_routing_key: Some(key.to_owned()),
            ..QueueOptions::default()
        }
    }
}

fn capped() -> QueueOptions {
    QueueOptions {
        max_length: Some(KEPT),
        ..QueueOptions::default()
    }
}
