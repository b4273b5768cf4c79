//! Signals to processes that this program has started.

use anyhow::Context as _;
use rustix::process::{Pid, kill_process, kill_process_group};

pub use rustix::process::Signal;

/// Sends a signal to the process `id`.
///
/// # Errors
/// When there is no such process.
pub fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    kill_process(pid(id)?, signal).with_context(|| format!("signalling the process {id}"))
}

/// Sends a signal to all processes of the group `id`.
///
/// # Errors
/// When there is no such group.
pub fn send_to_group(id: u32, signal: Signal) -> anyhow::Result<()> {
    kill_process_group(pid(id)?, signal).with_context(|| format!("signalling the group {id}"))
}

fn pid(id: u32) -> anyhow::Result<Pid> {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw);
    id.context("the id of a process")
}

/// Waits until this program is asked to end.
pub async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
