//! Sailor.
pub mod protocol;
pub mod settings;
pub(crate) mod transport;
