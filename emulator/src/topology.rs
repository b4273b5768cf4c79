//! The exchanges, queues and routing keys of one step, with the names and arguments that the platform uses
//! (wire-contract: Queues and bindings).

use crate::{
    broker::{Broker, ExchangeKind, QueueOptions},
    config::EmulatorConfig,
};
use std::time::Duration;

/// How many messages a queue without consumers keeps; older ones are dropped.
const KEPT: usize = 1000;
const COLLECTOR: &str = "component-events-collector";
/// The longest delay of a rebound.
const REBOUND_LIMIT: Duration = Duration::from_secs(600);
/// The step after this one.
const NEXT_STEP: &str = "next_step";

/// The names of a step's exchanges, queues and routing keys.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Everything is published to this topic exchange.
    pub exchange: String,
    /// The queue that the component consumes.
    pub input: String,
    /// The routing key to the input queue: the previous step's data key.
    pub input_key: String,
    /// The step's own routing key to the input queue, for messages that do not come from a step.
    pub own_key: String,
    /// The queue where rebounds wait until they expire and go back to the input queue.
    pub rebounds: String,
    /// The routing key of rebounds that go back.
    pub requeue_key: String,
    /// The routing key of rejected messages. Nothing is bound to it.
    pub dead_key: String,
    /// The queue for data, when there is a next step.
    pub next: String,
    /// The exchange that gets all events of the flow too: services collect errors and snapshots from it.
    pub collector: String,
    /// The queue for error events, when they are collected.
    pub errors: String,
    /// The queue for snapshots, when they are collected.
    pub snapshots: String,
    /// The step's routing keys.
    pub keys: Keys,
    /// The routing key for replies to webhook requests, for the header `reply_to`.
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

    /// Declares everything. A step's queue is bound to the data key of the step before it, so nothing is bound to that of
    /// the last step.
    pub(crate) fn declare(&self, broker: &Broker, config: &EmulatorConfig) {
        broker.declare_exchange(&self.exchange, ExchangeKind::Topic);
        broker.declare_exchange(&self.collector, ExchangeKind::Topic);
        broker.bind_exchange(&self.collector, &self.exchange, "#");
        broker.declare_queue(&self.input, self.dead_lettering(&self.dead_key));
        for key in [&self.own_key, &self.requeue_key, &self.input_key] {
            broker.bind_queue(&self.input, &self.exchange, key);
        }
        // The shorter of this and the rebound's own expiration counts, so both are sped up.
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

    /// Declares a queue for messages with this routing key. The key is also its name.
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
