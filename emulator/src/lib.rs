//! Emulator.

pub mod broker;
