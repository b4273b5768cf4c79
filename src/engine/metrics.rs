//! Counters of what the process has done. They are logged when it ends.

use crate::oauth2::SessionMetrics;
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) received: Counter,
    pub(crate) acknowledged: Counter,
    pub(crate) rejected: Counter,
    /// Redeliveries that got the same verdict as before, without processing.
    pub(crate) repeats: Counter,
    /// Messages that were acknowledged without processing, because the step had finished them before.
    pub(crate) duplicates: Counter,
    /// Verdicts that did not reach the broker.
    pub(crate) unsettled: Counter,
    pub(crate) data: Counter,
    pub(crate) errors: Counter,
    pub(crate) rebounds: Counter,
    pub(crate) snapshots: Counter,
}

impl Metrics {
    /// Logs all counters, and those of OAuth2 if the component uses it.
    pub(crate) fn log(&self, oauth: Option<SessionMetrics>) {
        if let Some(oauth) = oauth {
            tracing::info!(
                refreshes = oauth.refreshes,
                failures = oauth.failures,
                adopted = oauth.adopted,
                unsaved = oauth.unsaved,
                narrowed = oauth.narrowed,
                "What this process has done with access tokens"
            );
        }
        tracing::info!(
            received = self.received.get(),
            acknowledged = self.acknowledged.get(),
            rejected = self.rejected.get(),
            repeats = self.repeats.get(),
            duplicates = self.duplicates.get(),
            unsettled = self.unsettled.get(),
            data = self.data.get(),
            errors = self.errors.get(),
            rebounds = self.rebounds.get(),
            snapshots = self.snapshots.get(),
            "What this process has done"
        );
    }
}
