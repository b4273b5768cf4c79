//! What a simulation does with its broker: queues, bindings and messages, without a connection.

use super::{
    SimulatedBroker,
    frames::{Binding, Publish, QueueLimits},
};
use crate::{broker::amqp::properties, protocol::Headers};
use bytes::Bytes;
use lapin::BasicProperties;

impl SimulatedBroker {
    /// Declares a queue. Its dead letters go to another one.
    pub(crate) fn declare_queue(&self, name: &str, dead_letters_to: Option<&str>) {
        let limits = QueueLimits {
            max_length: None,
            dead_letters_to: dead_letters_to.map(ToOwned::to_owned),
        };
        self.change(|rules| rules.declare_queue(name.to_owned(), limits));
    }

    pub(crate) fn delete_queue(&self, name: &str) {
        self.change(|rules| rules.delete_queue(name));
    }

    pub(crate) fn declare_exchange(&self, name: &str) {
        self.change(|rules| rules.declare_exchange(name));
    }

    /// Binds a queue, or removes the binding.
    pub(crate) fn set_bound(&self, exchange: &str, key: &str, queue: &str, is_bound: bool) {
        let [exchange, key, queue] = [exchange, key, queue].map(ToOwned::to_owned);
        let binding = Binding {
            exchange,
            key,
            queue,
        };
        self.change(|rules| rules.set_bound(binding, is_bound));
    }

    /// Makes a queue refuse publishes, or accept them again.
    pub(crate) fn set_full(&self, queue: &str, is_full: bool) {
        self.change(|rules| rules.set_full(queue, is_full));
    }

    pub(crate) fn cancel_consumers(&self, queue: &str) {
        self.change(|rules| rules.cancel_consumers(queue));
    }

    /// Puts a message into a queue.
    pub(crate) fn put(&self, queue: &str, headers: &Headers, body: Bytes) {
        let event = properties::of_event(headers, false).expect("AMQP allows the names");
        let headers = properties::for_client(&event).headers().clone();
        let publish = Publish {
            exchange: String::new(),
            key: queue.to_owned(),
            mandatory: false,
            properties: BasicProperties::default().with_headers(headers.unwrap_or_default()),
            body,
        };
        self.change(|rules| rules.put(queue, publish));
    }

    /// How many messages of a queue are ready, and how many are delivered and not settled.
    pub(crate) fn count(&self, queue: &str) -> (usize, usize) {
        self.change(|rules| rules.count(queue))
    }
}
