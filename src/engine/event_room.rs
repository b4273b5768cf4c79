//! The memory of events on their way to the broker.
//!
//! A module can emit faster than the broker confirms, and it need not await what it emits. So an event takes room until it
//! is confirmed, and waits for room before it is encrypted.
//!
//! An event may go ahead as soon as there is any room, whatever its size: otherwise small events would keep a large one
//! waiting for ever. So the share can be exceeded by one event. And nothing waits for an event that itself waits: no room is
//! held by a future that a module may have stopped polling.

use crate::monitoring::Waits;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::Notify;

/// What an event takes beside its body: headers in two forms, channels, and the frames of the client.
const PER_EVENT: usize = 8 * 1024;

/// A bit of `used`: the room was full, and nothing is taken until it is half empty. Otherwise those that come later would keep
/// those that wait from it.
const DRAINING: usize = 1 << (usize::BITS - 1);

/// The room for all events of a step, in bytes.
#[derive(Debug)]
pub(super) struct EventRoom {
    size: usize,
    /// The bytes that are taken, and [`DRAINING`].
    used: AtomicUsize,
    freed: Notify,
    waits: Waits,
}

impl EventRoom {
    pub(super) fn new(size: usize, waits: Waits) -> Arc<Self> {
        Arc::new(Self {
            size,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
            waits,
        })
    }

    /// Waits for room, and takes it for an event with a body of `body` bytes.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(super) async fn take(self: &Arc<Self>, body: usize) -> TakenRoom {
        let bytes = body.saturating_add(PER_EVENT);
        let mut waiting = None;
        loop {
            // Created first, so that no wake-up between the check and the wait is missed.
            let freed = self.freed.notified();
            if let Some(taken) = self.try_take(bytes) {
                return taken;
            }
            waiting.get_or_insert_with(|| self.waits.begin());
            freed.await;
        }
    }

    fn try_take(self: &Arc<Self>, bytes: usize) -> Option<TakenRoom> {
        let more = |used: usize| match used {
            used if used & DRAINING != 0 => None,
            used if used >= self.size => Some(used | DRAINING),
            used => Some(used.saturating_add(bytes)),
        };
        let before = self.used.fetch_update(SeqCst, SeqCst, more).ok()?;
        (before < self.size).then(|| TakenRoom {
            room: self.clone(),
            bytes,
        })
    }
}

/// The room of one event. It is given back when this is dropped.
#[derive(Debug)]
pub(super) struct TakenRoom {
    room: Arc<EventRoom>,
    bytes: usize,
}

impl Drop for TakenRoom {
    fn drop(&mut self) {
        let half = self.room.size / 2;
        let less = |used: usize| {
            let left = used - self.bytes;
            Some(if left & !DRAINING <= half {
                left & !DRAINING
            } else {
                left
            })
        };
        let before = self.room.used.fetch_update(SeqCst, SeqCst, less);
        let is_over =
            |before: usize| before & DRAINING != 0 && (before & !DRAINING) - self.bytes <= half;
        // All that wait are woken, and rarely: one that is not polled must not swallow a wake-up.
        if before.is_ok_and(is_over) {
            self.room.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
