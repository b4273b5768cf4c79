//! Measures the cost of a step in comparison with the Node sailor and with a bare loop on the AMQP client.
//! `docs/benchmarks.md` says what each figure means and how to get it.

pub mod bare_loop;
pub mod broker;
pub mod contestant;
pub mod hot_path;
pub mod platform;
pub mod process;
pub mod report;
pub mod rows;
pub mod running;
pub mod sample;
pub mod targets;
