//! What the emulator's tests share: a component on plain AMQP, one with a sailor, processes and their
//! terminal, and software that may not be installed.

mod component;
mod installed;
pub mod orders;
mod process;
mod terminal;

pub use component::{Component, Env};
pub use installed::installed;
pub use process::{Background, Outcome, run};
pub use terminal::{shown, terminal};
