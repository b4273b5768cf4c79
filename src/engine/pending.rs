//! Events that are not confirmed yet: they keep their message from finishing, and slow down a module that has too many.

use crate::broker::transport::Confirm;
use anyhow::Context as _;
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::JoinHandle,
};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};
use tracing::Instrument;

/// How many events of one message may wait before the module is slowed down.
const MAX_WAITING: usize = 1000;
/// How long each further event holds the thread of a module that does not await what it emits.
const SLOW_DOWN: Duration = Duration::from_millis(10);

/// The events of one message that were emitted and are not published.
#[derive(Debug, Default)]
pub(super) struct WaitingEvents(AtomicUsize);

impl WaitingEvents {
    /// Counts an event until the result is dropped. A module that awaits its events has few of them. One that awaits none
    /// would fill the memory with futures, which no share counts, so its thread is held for a moment per event. It is never
    /// held for long: other events, which it has to poll, may have to go first.
    pub(super) fn enter(&self) -> WaitingEvent<'_> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        let waiting = WaitingEvent(&self.0);
        if before >= MAX_WAITING
            && let Ok(runtime) = Handle::try_current()
            && runtime.runtime_flavor() == RuntimeFlavor::MultiThread
        {
            tokio::task::block_in_place(|| std::thread::sleep(SLOW_DOWN));
        }
        waiting
    }
}

/// An event that is not published yet.
pub(super) struct WaitingEvent<'a>(&'a AtomicUsize);

impl Drop for WaitingEvent<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Keeps its tracker from finishing until an event is confirmed.
#[derive(Clone)]
pub(super) struct PendingGuard {
    tracker: TaskTracker,
    _token: TaskTrackerToken,
}

impl PendingGuard {
    pub(super) fn new(tracker: &TaskTracker) -> Self {
        Self {
            tracker: tracker.clone(),
            _token: tracker.token(),
        }
    }

    /// Runs `work` in its own task: it continues even if the module does not wait for it.
    pub(super) fn spawn<R: Send + 'static>(
        self,
        work: impl Future<Output = R> + Send + 'static,
    ) -> JoinHandle<R> {
        self.tracker.spawn(work.in_current_span())
    }

    /// Runs `work` in its own task on another thread's runtime.
    pub(super) fn spawn_on(
        self,
        work: impl Future<Output = ()> + Send + 'static,
        runtime: &Handle,
    ) {
        self.tracker.spawn_on(work, runtime);
    }

    /// Runs `work` to its end in a task, for events that need more than one publish. They are confirmed when it ends.
    pub(super) async fn finish(
        self,
        work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) -> anyhow::Result<Confirm> {
        self.spawn(work)
            .await
            .context("waiting for an event to be confirmed")??;
        Ok(Confirm::ready(Ok(())))
    }
}
