//! What component authors write against: a [`Component`], its modules, and what a module receives and emits.
//!
//! Everything here is the same in a container and in a test. It knows no engine, and of the broker only the confirm of a publish. The engine reaches a module
//! through the traits [`emitter::EventSink`] and [`module::Module`].

mod check;
pub(crate) mod context;
pub(crate) mod emitter;
pub(crate) mod error;
pub mod fields;
pub mod http;
pub(crate) mod message;
pub(crate) mod module;
mod registry;
mod schema;

pub use check::Mismatch;
pub(crate) use check::SchemaPair;
pub use registry::{Component, Verified};
