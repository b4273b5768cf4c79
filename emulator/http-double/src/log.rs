//! What happened at a double, in order, for tests to read, to wait for, and to watch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{broadcast, watch};

/// How many entries a watcher can fall behind before it loses the oldest.
const WATCH_BACKLOG: usize = 4096;

/// All entries so far. A call enters when it arrives, and goes to watchers when it is finished.
#[derive(Debug)]
pub struct Log<T> {
    entries: Mutex<Vec<T>>,
    changed: watch::Sender<()>,
    watchers: broadcast::Sender<T>,
}

/// The place of an entry in its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryId(usize);

impl<T: Clone> Default for Log<T> {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            changed: watch::Sender::new(()),
            watchers: broadcast::Sender::new(WATCH_BACKLOG),
        }
    }
}

impl<T: Clone> Log<T> {
    /// Adds an entry that is still open; [`finish`](Self::finish) completes it.
    pub fn open(&self, entry: T) -> EntryId {
        let mut entries = self.lock();
        entries.push(entry);
        let id = EntryId(entries.len() - 1);
        drop(entries);
        self.changed.send_replace(());
        id
    }

    /// Completes an entry and shows it to watchers.
    pub fn finish(&self, id: EntryId, complete: impl FnOnce(&mut T)) {
        let mut entries = self.lock();
        complete(&mut entries[id.0]);
        // Within the lock, so that watchers see entries in their order. It fails when there are none, which is fine.
        let _ = self.watchers.send(entries[id.0].clone());
        drop(entries);
        self.changed.send_replace(());
    }

    /// Adds an entry that is complete.
    pub fn push(&self, entry: T) {
        let mut entries = self.lock();
        entries.push(entry.clone());
        let _ = self.watchers.send(entry);
        drop(entries);
        self.changed.send_replace(());
    }

    /// All entries so far.
    #[must_use]
    pub fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// The entries so far that `wanted` accepts.
    #[must_use]
    pub fn matching(&self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let entries = self.lock();
        entries
            .iter()
            .filter(|entry| wanted(entry))
            .cloned()
            .collect()
    }

    /// How many entries `wanted` accepts.
    #[must_use]
    pub fn count(&self, wanted: impl Fn(&T) -> bool) -> usize {
        self.lock().iter().filter(|entry| wanted(entry)).count()
    }

    /// Waits until `wanted` accepts `count` entries. Cancel safe.
    pub async fn wait_for(&self, count: usize, wanted: impl Fn(&T) -> bool) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.count(&wanted) >= count {
                return;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// Entries from now on, each when it is complete. A slow reader loses the oldest, and its `recv` says so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<T> {
        self.watchers.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
