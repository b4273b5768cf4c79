//! Delivers messages and publishes events: the interface that the engine uses, and its adapters.
//!
//! An adapter handles routing keys, properties, retries, reconnects and rebound delays. It does not depend on
//! components or the engine.

pub(crate) mod amqp;
pub(crate) mod finished_log;
pub(crate) mod memory;
pub(crate) mod message_memory;
pub(crate) mod transport;
