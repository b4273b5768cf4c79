//! Publishes that wait for their next attempt.

use super::pending_publish::PendingPublish;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::Instant;

/// Publishes that wait for their next attempt, ordered by time and then by insertion.
#[derive(Default)]
pub(super) struct RetryQueue {
    waiting: BTreeMap<(Instant, u64), Box<PendingPublish>>,
    inserts: u64,
}

impl RetryQueue {
    pub(super) fn insert(&mut self, pending: Box<PendingPublish>, delay: Duration) {
        self.insert_at(pending, Instant::now() + delay);
    }

    /// Inserts a publish before all others.
    pub(super) fn insert_first(&mut self, pending: Box<PendingPublish>) {
        let now = Instant::now();
        let first = self.next_due().map_or(now, |due| due.min(now));
        let before = first.checked_sub(Duration::from_nanos(1));
        self.insert_at(pending, before.unwrap_or(first));
    }

    /// Makes the first publish go alone.
    pub(super) fn isolate_first(&mut self) {
        if let Some(mut first) = self.waiting.first_entry() {
            first.get_mut().isolate();
        }
    }

    /// When the next publish is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// Takes out the next publish if it is due.
    pub(super) fn pop_due(&mut self) -> Option<Box<PendingPublish>> {
        self.first_due()?;
        self.waiting.pop_first().map(|(_, pending)| pending)
    }

    /// Returns whether a publish is due that must be sent alone.
    pub(super) fn next_must_go_alone(&self) -> bool {
        self.first_due().is_some_and(PendingPublish::must_go_alone)
    }

    /// Takes out all publishes, in order.
    pub(super) fn into_all(self) -> impl Iterator<Item = Box<PendingPublish>> {
        self.waiting.into_values()
    }

    fn insert_at(&mut self, pending: Box<PendingPublish>, due: Instant) {
        self.inserts += 1;
        self.waiting.insert((due, self.inserts), pending);
    }

    fn first_due(&self) -> Option<&PendingPublish> {
        let ((due, _), pending) = self.waiting.first_key_value()?;
        (*due <= Instant::now()).then_some(pending)
    }
}
