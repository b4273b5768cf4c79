//! A broker in memory with the client to it, for simulations: everything happens in one thread, at times that a seed
//! chooses.
//!
//! The adapter runs on it unchanged: [`client`] has the types of lapin that the adapter uses, and each is lapin's own or a
//! simulated one. lapin itself cannot be simulated, because it reads and writes in a thread of its own.
//!
//! `session` keeps what lapin keeps of a connection. `network` moves frames, and loses them. `rules`, `publishing` and
//! `queue` are the broker. `tests/scripts` runs the same scripts on RabbitMQ and on this broker.

mod calls;
pub(super) mod client;
mod deliveries;
mod frames;
mod network;
mod observed;
mod publishing;
mod queue;
mod rules;
mod session;
mod world;

pub(crate) use frames::Settlement;
pub(crate) use network::{Sabotage, SimulatedBroker};
pub(crate) use observed::{Observed, Outcome};

use std::cell::RefCell;

thread_local! {
    static CURRENT: RefCell<Option<SimulatedBroker>> = const { RefCell::new(None) };
}

/// The broker that this thread simulates.
pub(super) fn current() -> Option<SimulatedBroker> {
    CURRENT.with_borrow(Clone::clone)
}

/// Connections that this thread opens lead to `broker` until this is dropped.
pub(crate) struct Simulation(());

impl Simulation {
    pub(crate) fn of(broker: SimulatedBroker) -> Self {
        CURRENT.set(Some(broker));
        Self(())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}
