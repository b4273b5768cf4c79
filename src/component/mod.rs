//! What component authors write against: a [`Component`], its modules, and what a module receives and emits.
//!
//! Everything here is the same in a container and in a test. It knows no broker and no engine: both reach a module
//! through the traits [`context::EventSink`] and [`module::Module`].

pub(crate) mod context;
pub(crate) mod error;
pub mod fields;
pub mod http;
pub(crate) mod message;
pub(crate) mod module;
mod registry;
mod schema;

pub use registry::{Component, Mismatch, Verified};
