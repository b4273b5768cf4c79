//! Starts components as processes, for the tests.
//!
//! [`Process`] is any command and its output. [`Rig`] is a step on the emulator, with the component that works on it, and
//! [`Running`] is that component's process, with its log. [`Health`] asks it for its metrics, and [`TraceCollector`] receives its
//! traces.
//! [`ACCOUNT`] is the account that it is connected with. [`tampering_proxy`] is a proxy between a component and its broker.

mod account;
mod health;
mod process;
mod rig;
pub mod tampering_proxy;
mod traces;

pub use account::{ACCOUNT, FLOW};
pub use health::{Health, Series};
pub use process::{Ended, PATIENCE, Process, command, signal, soon};
pub use rig::{Rig, Running, bodies};
pub use traces::{Kind, Span, TraceCollector};
