//! Stand-ins for the APIs of well-known services, on loopback and behind the emulator's [`Provider`](crate::provider):
//! enough of each to run a component end to end. Written from the services' public documentation; what a stand-in does
//! not have it refuses by name.

mod calls;
pub mod graph;
mod named;
pub mod salesforce;
mod server;

pub(crate) use named::{Name, Standin};
