//! A local platform for components: AMQP broker, REST API, object storage and OAuth2 provider on loopback.
//!
//! [`Emulator`] is one step of a flow with all that its component needs; the command `emulator` runs a component
//! against it and prints what happens. [`broker`], [`platform`] and [`provider`] can be used on their own. Nothing leaves the
//! machine, and all state is in memory.

pub mod broker;
mod cargo;
mod child;
mod cli;
mod collector;
mod config;
mod demo;
mod emulator;
mod event;
mod input;
mod keep;
mod log;
pub mod platform;
pub mod provider;
mod run;
mod serve;
mod service;
mod stage;
mod standins;
mod story;
mod tally;
mod timeline;
mod topology;
mod up;
mod webhook;
mod wire;

pub use cli::{main, main_with};
pub use config::{EmulatorConfig, StartError};
pub use emulator::Emulator;
pub use event::{Event, EventKind};
pub use log::Events;
pub use topology::{Keys, Topology};
