//! Sailor.
pub(crate) mod amqp;
pub mod protocol;
pub mod settings;
pub(crate) mod transport;
