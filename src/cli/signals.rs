//! SIGTERM and SIGINT stop the process.

use crate::{codes, engine::Shutdown};
use anyhow::Context as _;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// The margin after the limit. The engine ends messages at the limit; the immediate stop is needed only if that fails. The
/// margin is long enough to abandon tasks (1 s), save a token (1 s) and close a connection (2 s). With the default limit
/// the process ends within 29 s, before Kubernetes kills it.
const MARGIN: Duration = Duration::from_secs(4);

static IS_STOPPED_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Returns tokens that signals cancel. The first signal starts a graceful stop. The second one, or the end of `limit` with
/// a margin, starts an immediate stop.
///
/// Signals are handled on a thread of their own, so that they work even if a module blocks every other thread.
pub(super) fn shutdown_on_signals(limit: Duration) -> anyhow::Result<Shutdown> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting tokio")?;
    let signals = Signals::listen(&runtime)?;
    let shutdown = Shutdown::default();
    let watch = watch(signals, shutdown.clone(), limit);
    // The thread lives as long as the process.
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watch))
        .context("starting the thread for signals")?;
    Ok(shutdown)
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen(runtime: &Runtime) -> anyhow::Result<Self> {
        let _entered = runtime.enter();
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn watch(mut signals: Signals, shutdown: Shutdown, limit: Duration) {
    signals.next().await;
    shutdown.graceful.cancel();
    let limit = limit.saturating_add(MARGIN);
    if timeout(limit, signals.next()).await.is_err() {
        tracing::warn!(
            code = %codes::STOPPED_AT_ONCE,
            seconds = limit.as_secs(),
            "The process has not ended in time by itself; it ends now. A module may compute without awaiting"
        );
    }
    IS_STOPPED_AT_ONCE.store(true, Relaxed);
    shutdown.immediate.cancel();
}

/// Returns whether the process has to end at once.
pub(super) fn is_stopped_at_once() -> bool {
    IS_STOPPED_AT_ONCE.load(Relaxed)
}
