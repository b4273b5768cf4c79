//! How messages come in and go out: the seam that the engine works against, and what fills it.
//!
//! An adapter knows routing keys, properties, retries, reconnects and the arithmetic of rebounds. It knows no components
//! and no engine.

pub(crate) mod amqp;
pub(crate) mod transport;
