//! All events so far, for any number of readers. Each reader sees all of them.

use crate::event::Event;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

#[derive(Default)]
pub(crate) struct EventLog {
    events: Mutex<Vec<Arc<Event>>>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    ended: bool,
}

impl EventLog {
    pub(crate) fn push(&self, event: Event) {
        self.lock().push(event.into());
        self.progress.send_modify(|_| ());
    }

    /// Marks the end: no more events follow.
    pub(crate) fn end(&self) {
        self.progress.send_modify(|progress| progress.ended = true);
    }

    pub(crate) fn read(self: &Arc<Self>) -> Events {
        Events {
            next: 0,
            progress: self.progress.subscribe(),
            log: self.clone(),
        }
    }

    /// Like [`Self::read`], but only with events from now on.
    pub(crate) fn read_on(self: &Arc<Self>) -> Events {
        let next = self.lock().len();
        Events {
            next,
            ..self.read()
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Event>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads events one by one, from the emulator's start.
pub struct Events {
    next: usize,
    progress: watch::Receiver<Progress>,
    log: Arc<EventLog>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Events {
    /// Waits for the next event; none when the emulator has stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            let ended = self.progress.borrow_and_update().ended;
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if ended || self.progress.changed().await.is_err() {
                return None;
            }
        }
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Arc<Event>> {
        let event = self.log.lock().get(self.next).cloned()?;
        self.next += 1;
        Some(event)
    }

    /// Waits for the next event that `wanted` accepts, and skips those before it. None when the emulator has stopped. Cancel
    /// safe, except that skipped events stay skipped.
    pub async fn find(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Option<Arc<Event>> {
        loop {
            let event = self.next().await?;
            if wanted(&event) {
                return Some(event);
            }
        }
    }
}
