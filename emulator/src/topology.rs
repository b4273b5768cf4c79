//! The exchange, queues and routing keys of one step, named as the platform names them (contract §3.1).

use crate::broker::{Broker, ExchangeKind, QueueOptions};

/// How many captured messages each capture queue keeps; older ones are dropped.
const KEPT: usize = 1000;

/// Names of everything that a step's component meets on the broker.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Everything is published to this topic exchange.
    pub exchange: String,
    /// The queue that the component consumes.
    pub input: String,
    /// The routing key that leads to the input queue: the previous step's data key.
    pub input_key: String,
    /// Where messages go that the component rejects.
    pub dead: String,
    /// Where rebounds wait until they expire and go back to the input queue.
    pub rebounds: String,
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
        let queue = |what: &str| format!("{workspace}:{flow}/ordinary:{step}:{what}");
        let key = |step: &str, what: &str| format!("{workspace}.{flow}/ordinary.{step}.{what}");
        Self {
            exchange: format!("{workspace}_org"),
            input: queue("messages"),
            input_key: key(previous_step, "message"),
            dead: queue("rejected"),
            rebounds: queue("rebounds"),
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

    /// Declares it all. `custom_keys` are routing keys of the component's own choice that shall lead somewhere.
    pub(crate) fn declare(&self, broker: &Broker, custom_keys: &[String]) {
        let to_default_exchange = |queue: &str| QueueOptions {
            dead_letter_exchange: Some(String::new()),
            dead_letter_routing_key: Some(queue.to_owned()),
            ..QueueOptions::default()
        };
        broker.declare_exchange(&self.exchange, ExchangeKind::Topic);
        broker.declare_queue(&self.dead, capped());
        broker.declare_queue(&self.input, to_default_exchange(&self.dead));
        broker.bind_queue(&self.input, &self.exchange, &self.input_key);
        broker.declare_queue(&self.rebounds, to_default_exchange(&self.input));
        broker.bind_queue(&self.rebounds, &self.exchange, &self.keys.rebound);
        for key in [&self.keys.data, &self.keys.error, &self.keys.snapshot, &self.keys.update_keys, &self.reply_key] {
            self.capture(broker, key);
        }
        for key in custom_keys {
            self.capture(broker, key);
        }
    }

    /// Gives what is published with `key` a queue to lie in, called like the key.
    pub(crate) fn capture(&self, broker: &Broker, key: &str) {
        broker.declare_queue(key, capped());
        broker.bind_queue(key, &self.exchange, key);
    }
}

fn capped() -> QueueOptions {
    QueueOptions { max_length: Some(KEPT), ..QueueOptions::default() }
}
