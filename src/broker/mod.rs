//! How messages are delivered and events are published: the interface that the engine uses, and its adapters.
//!
//! An adapter knows routing keys, properties, retries, reconnects and rebound delays. It knows no components and no engine.

pub(crate) mod amqp;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod transport;
