//! Sailor.
pub(crate) mod http;
pub mod object_storage;
pub mod platform;
pub mod protocol;
pub mod settings;
pub mod telemetry;
pub(crate) mod transport;
