//! The memory of all messages in the process.
//!
//! A message takes memory for its delivery, and for a body in object storage that it refers to. Both are of one share
//! ([`MemoryShares::messages`]), and are taken before the bytes are read.

use crate::settings::MemoryShares;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::{Mutex, Notify};

/// Counts the memory of all messages, in bytes. Connections come and go, and the messages of a lost one are still processed.
#[derive(Debug)]
pub(crate) struct MessageMemory {
    shares: MemoryShares,
    used: AtomicUsize,
    /// Something may wait for `freed`.
    is_awaited: AtomicBool,
    freed: Notify,
    /// The part of `used` that is taken by bodies in object storage.
    bodies: AtomicUsize,
    /// How many messages wait for memory for their bodies.
    waiting: AtomicUsize,
    /// Held by the message that gets memory for its body next.
    next_body: Mutex<()>,
}

impl MessageMemory {
    pub(crate) fn new(shares: MemoryShares) -> Arc<Self> {
        Arc::new(Self {
            shares,
            used: AtomicUsize::new(0),
            is_awaited: AtomicBool::new(false),
            freed: Notify::new(),
            bodies: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            next_body: Mutex::new(()),
        })
    }

    /// Returns the size in bytes of the largest body that fits.
    pub(crate) fn largest_body(&self) -> usize {
        self.shares.largest_body()
    }

    /// Returns how many bytes are taken.
    pub(crate) fn used(&self) -> usize {
        self.used.load(SeqCst)
    }

    /// Returns how many messages wait for memory for their bodies.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns how many bytes are free.
    pub(crate) fn free(&self) -> usize {
        self.shares.messages.saturating_sub(self.used())
    }

    /// Takes memory if there is enough.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| {
            let sum = used.checked_add(bytes)?;
            (sum <= self.shares.messages).then_some(sum)
        };
        self.used.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, SeqCst);
        // Mostly nothing waits, and then no lock is taken.
        if self.is_awaited.load(SeqCst) && self.is_awaited.swap(false, SeqCst) {
            self.freed.notify_waiters();
        }
    }

    /// Waits until `condition` holds. It is checked whenever memory is given back.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn wait_until(&self, condition: impl Fn() -> bool) {
        loop {
            // Created before the check: what is given back after the check ends the wait.
            let freed = self.freed.notified();
            self.is_awaited.store(true, SeqCst);
            if condition() {
                return;
            }
            freed.await;
        }
    }

    /// Waits for memory for a body of `size` bytes that a message refers to. Messages get memory in the order of these calls.
    ///
    /// One body at a time is let in whether it fits or not, so that nothing waits for ever: deliveries that count as taken may
    /// themselves wait for the message that waits here. Those that have their bodies wait for no other message. So at most
    /// twice the share is taken, which is the whole budget.
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing.
    pub(crate) async fn room_for_body(self: &Arc<Self>, size: usize) -> BodyRoom {
        let bytes = self.cost(size);
        let _waiting = Waiting::begin(&self.waiting);
        let _next = self.next_body.lock().await;
        self.wait_until(|| self.take_for_body(bytes) || self.take_for_only_body(bytes))
            .await;
        BodyRoom {
            memory: self.clone(),
            bytes: AtomicUsize::new(bytes),
        }
    }

    fn take_for_body(&self, bytes: usize) -> bool {
        let is_taken = self.take(bytes);
        if is_taken {
            self.bodies.fetch_add(bytes, SeqCst);
        }
        is_taken
    }

    fn take_for_only_body(&self, bytes: usize) -> bool {
        let only = self.bodies.compare_exchange(0, bytes, SeqCst, SeqCst);
        if only.is_ok() {
            self.used.fetch_add(bytes, SeqCst);
        }
        only.is_ok()
    }

    fn give_back_of_body(&self, bytes: usize) {
        self.bodies.fetch_sub(bytes, SeqCst);
        self.give_back(bytes);
    }

    /// What a body of `size` bytes takes, at most the whole share.
    fn cost(&self, size: usize) -> usize {
        MemoryShares::message_cost(size).min(self.shares.messages)
    }
}

/// Counts a message as one that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// The memory of a body that a message refers to. It is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct BodyRoom {
    memory: Arc<MessageMemory>,
    bytes: AtomicUsize,
}

impl BodyRoom {
    /// Takes nothing yet.
    pub(crate) fn empty(memory: &Arc<MessageMemory>) -> Self {
        Self {
            memory: memory.clone(),
            bytes: AtomicUsize::new(0),
        }
    }

    /// Takes memory for a body of `size` bytes in all, if there is enough now and no other message waits for it.
    pub(crate) fn grow_to(&self, size: usize) -> bool {
        let memory = &self.memory;
        let more = memory.cost(size).saturating_sub(self.bytes.load(SeqCst));
        let may_take = || memory.waiting.load(SeqCst) == 0 && memory.take_for_body(more);
        let is_taken = more == 0 || may_take();
        if is_taken {
            self.bytes.fetch_add(more, SeqCst);
        }
        is_taken
    }

    /// Gives back what a body of `size` bytes does not need.
    pub(crate) fn shrink_to(&self, size: usize) {
        let needed = self.memory.cost(size);
        let before = self.bytes.fetch_min(needed, SeqCst);
        if before > needed {
            self.memory.give_back_of_body(before - needed);
        }
    }
}

impl Drop for BodyRoom {
    fn drop(&mut self) {
        self.memory.give_back_of_body(*self.bytes.get_mut());
    }
}

#[cfg(test)]
mod tests;
