//! A local platform for components: AMQP broker, REST API, object storage and OAuth2 provider on loopback.
//!
//! [`Emulator`] is one step of a flow with everything that its component needs. The command `emulator` runs a component
//! on it and prints what happens. [`broker`], [`platform`] and [`provider`] can be used on their own. Nothing leaves the
//! machine, and all state is in memory.

pub mod broker;
mod cargo;
mod child;
mod cli;
mod collector;
mod component_file;
mod config;
mod decode;
mod demo;
mod demo_notes;
mod emulator;
mod env_file;
mod event;
mod event_log;
mod input;
mod local_platform;
mod log_line;
mod new;
mod placeholders;
pub mod platform;
mod progress;
pub mod provider;
mod provider_command;
mod recording;
mod run;
mod save_keys;
mod send;
mod service;
mod standins;
mod timeline;
mod topology;
mod up;
mod variables;
mod watch;
mod webhook;

pub use cli::{command_line, main, main_with};
pub use config::{EmulatorConfig, StartError};
pub use emulator::Emulator;
pub use event::{Event, EventKind};
pub use event_log::Events;
/// What the doubles of this crate are built on: [`ScriptedDouble`](http_double::ScriptedDouble) responds as a test says.
pub use http_double;
pub use recording::{ReplayError, replay};
pub use topology::{Keys, Topology};
