//! The API for component authors: a [`Component`], its modules, and what a module receives and emits.
//!
//! Everything here works the same in a container and in a test. It does not depend on the engine, and uses only the
//! confirm of a publish from the broker. The engine calls a module through [`module::Module`], and receives its events
//! through [`emitter::EventSink`].

pub mod bounds;
mod check;
mod config_type;
pub(crate) mod context;
pub(crate) mod emitter;
pub(crate) mod error;
pub mod fields;
pub(crate) mod message;
pub(crate) mod module;
mod registry;
mod schema;
pub mod snapshot;

pub use check::Mismatch;
pub(crate) use check::SchemaPair;
pub use registry::{Component, Verified};
