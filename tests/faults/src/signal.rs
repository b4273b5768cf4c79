//! Signals to processes that this program has started.

use anyhow::Context as _;
use rustix::process::{Pid, kill_process};

pub use rustix::process::Signal;

/// SIGKILL
pub const KILL: Signal = Signal::KILL;

/// Sends a signal to the process `id`.
///
/// # Errors
/// When there is no such process.
pub fn send(id: u32, signal: Signal) -> anyhow::Result<()> {
    let id = i32::try_from(id)
        .ok()
        .and_then(Pid::from_raw)
        .context("the id of a process")?;
    kill_process(id, signal).with_context(|| format!("signalling the process {id:?}"))
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
