//! Admits messages by the memory that they take.
//!
//! The broker limits how many deliveries are unsettled, but not their bytes. So the [`guard`](super::guard) asks here
//! before it reads the body of a delivery, and leaves the body out if there is no room for it. A message that fits later
//! goes back to the queue. A message that can never fit is rejected, and an error event says so. The contents that are read
//! wait here until the client hands their deliveries over.
//!
//! Bodies are left out only when messages become larger: [`PrefetchControl`] asks the broker for as many deliveries as the
//! sizes seen so far allow, and for more once they prove to be small.

use super::guard::{Contents, Deliveries};
use crate::{broker::message_memory::MessageMemory, codes, settings::MemoryShares};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::timeout;

/// The body that a step sends at most by default. The first deliveries are as few as fit if they all have this size.
const USUAL_MAXIMUM: usize = 10 << 20;
/// A wait for memory that takes longer than this causes a warning.
const WARNING: Duration = Duration::from_secs(300);
/// After as many small messages as the prefetch, it grows by this factor.
const GROWTH: usize = 10;

/// Why the body of a delivery was left out. Sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// It does not fit, even if it is the only message.
    TooLarge(usize),
    /// It does not fit beside the messages that are being processed.
    NoRoom(usize),
}

/// Admits the deliveries of one connection, and keeps their contents.
#[derive(Debug)]
pub(super) struct Intake {
    memory: Arc<MessageMemory>,
    /// Memory of deliveries that were admitted and that the client has not handed over.
    booked: AtomicUsize,
    /// What the client does not hand over, by the tags of the deliveries, which grow.
    waiting: Mutex<VecDeque<(u64, Waiting)>>,
}

/// What the client does not hand over of a delivery.
#[derive(Debug)]
enum Waiting {
    LeftOut(LeftOut),
    Contents(Contents),
}

impl Intake {
    pub(super) fn new(memory: Arc<MessageMemory>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            booked: AtomicUsize::new(0),
            waiting: Mutex::default(),
        })
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(u64, Waiting)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what waits for a delivery. What waits for earlier ones is dropped: the client has dropped them.
    fn take_waiting(&self, tag: u64) -> (Option<LeftOut>, Option<Contents>) {
        let (mut left_out, mut contents) = (None, None);
        let mut waiting = self.waiting();
        while let Some((of, what)) = waiting.pop_front_if(|(of, _)| *of <= tag) {
            match what {
                Waiting::LeftOut(reason) if of == tag => left_out = Some(reason),
                Waiting::Contents(taken) if of == tag => contents = Some(taken),
                Waiting::LeftOut(_) | Waiting::Contents(_) => {}
            }
        }
        (left_out, contents)
    }

    /// Returns how many bytes are free.
    pub(super) fn free(&self) -> usize {
        self.memory.free()
    }

    /// Waits until a body of `size` bytes fits.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn room_for(&self, size: usize) {
        let cost = MemoryShares::message_cost(size);
        let fits = || cost <= self.memory.free();
        let mut seconds = 0;
        while timeout(WARNING, self.memory.wait_until(fits))
            .await
            .is_err()
        {
            seconds += WARNING.as_secs();
            tracing::warn!(
                code = %codes::MEMORY_FULL,
                seconds,
                size,
                "No message is consumed: the next one does not fit in memory beside those that are processed. Give the \
                 container more memory"
            );
        }
    }
}

impl Deliveries for Intake {
    /// Books the memory of a body that is admitted.
    fn admit(&self, tag: u64, size: u64) -> bool {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let cost = MemoryShares::message_cost(size);
        let reason = if size > self.memory.largest_body() {
            LeftOut::TooLarge(size)
        } else if self.memory.take(cost) {
            self.booked.fetch_add(cost, SeqCst);
            return true;
        } else {
            LeftOut::NoRoom(size)
        };
        self.waiting().push_back((tag, Waiting::LeftOut(reason)));
        false
    }

    fn take(&self, tag: u64, contents: Contents) {
        self.waiting().push_back((tag, Waiting::Contents(contents)));
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // The connection is gone, and so are the deliveries that the client has not handed over.
        self.memory.give_back(*self.booked.get_mut());
    }
}

/// Counts the deliveries of one consumer that are not settled. The broker limits them by the prefetch, but it does not count
/// those of the consumers before.
#[derive(Debug)]
struct Unsettled {
    memory: Arc<MessageMemory>,
    count: AtomicUsize,
}

/// The consumers of one channel, one after the other.
#[derive(Debug)]
pub(super) struct Consumers {
    intake: Arc<Intake>,
    current: Arc<Unsettled>,
    /// Earlier ones whose deliveries are not all settled.
    earlier: Vec<Arc<Unsettled>>,
}

impl Consumers {
    pub(super) fn new(intake: Arc<Intake>) -> Self {
        Self {
            current: Self::first(&intake),
            earlier: Vec::new(),
            intake,
        }
    }

    fn first(intake: &Intake) -> Arc<Unsettled> {
        Arc::new(Unsettled {
            memory: intake.memory.clone(),
            count: AtomicUsize::new(0),
        })
    }

    pub(super) fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Another consumer begins.
    pub(super) fn next(&mut self) {
        let next = Self::first(&self.intake);
        self.earlier
            .push(std::mem::replace(&mut self.current, next));
    }

    /// Takes over a delivery. `size` is the size of the body that the client hands over, in bytes.
    pub(super) fn receive(&self, tag: u64, size: usize) -> Received {
        let (left_out, contents) = self.intake.take_waiting(tag);
        self.current.count.fetch_add(1, SeqCst);
        let booked = match &contents {
            Some(contents) if left_out.is_none() => {
                let cost = MemoryShares::message_cost(size.max(contents.body.len()));
                self.intake.booked.fetch_sub(cost, SeqCst);
                cost
            }
            _ => 0,
        };
        let room = Room {
            unsettled: self.current.clone(),
            bytes: booked,
            is_held: AtomicBool::new(true),
        };
        Received {
            room,
            left_out,
            contents,
        }
    }

    /// Returns whether so many deliveries are unsettled because of earlier consumers.
    pub(super) fn are_at(&mut self, limit: u16) -> bool {
        self.earlier
            .retain(|earlier| earlier.count.load(SeqCst) > 0);
        !self.earlier.is_empty() && self.unsettled() >= usize::from(limit)
    }

    /// Waits until fewer deliveries are unsettled.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn below(&self, limit: u16) {
        let is_below = || self.unsettled() < usize::from(limit);
        self.intake.memory.wait_until(is_below).await;
    }

    fn unsettled(&self) -> usize {
        let all = self.earlier.iter().chain([&self.current]);
        all.map(|consumer| consumer.count.load(SeqCst)).sum()
    }
}

/// A delivery that was taken over.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) room: Room,
    /// Why its body was left out.
    pub(super) left_out: Option<LeftOut>,
    /// What the client does not hand over. Without it, the message is not processed.
    pub(super) contents: Option<Contents>,
}

/// The memory of one message. It is given back when this is released or dropped.
pub(super) struct Room {
    unsettled: Arc<Unsettled>,
    bytes: usize,
    is_held: AtomicBool,
}

impl Room {
    /// Gives the memory back. The broker may send the next message as soon as this one is settled, so call this before.
    pub(super) fn release(&self) {
        if self.is_held.swap(false, SeqCst) {
            self.unsettled.count.fetch_sub(1, SeqCst);
            self.unsettled.memory.give_back(self.bytes);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.release();
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Room({} bytes)", self.bytes)
    }
}

/// How many deliveries the broker may hand out at once: as many as fit, by the sizes seen so far, and never more than the
/// setting.
#[derive(Debug)]
pub(super) struct PrefetchControl {
    setting: u16,
    current: u16,
    /// How many messages arrived since the last change, and the largest of them.
    seen: u16,
    largest: usize,
}

impl PrefetchControl {
    pub(super) fn new(shares: &MemoryShares, setting: u16) -> Self {
        let mut control = Self {
            setting,
            current: setting,
            seen: 0,
            largest: 0,
        };
        control.current = control.fitting(shares.messages, USUAL_MAXIMUM);
        control
    }

    pub(super) fn current(&self) -> u16 {
        self.current
    }

    /// How many messages of this size fit into so many bytes.
    fn fitting(&self, free: usize, size: usize) -> u16 {
        let count = free / MemoryShares::message_cost(size);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        count.clamp(1, self.setting.max(1))
    }

    /// Notes a message that was admitted, while so many bytes are free. Returns true if the prefetch grows.
    pub(super) fn admitted(&mut self, size: usize, free: usize) -> bool {
        if self.current >= self.setting {
            return false;
        }
        self.seen = self.seen.saturating_add(1);
        self.largest = self.largest.max(size);
        if self.seen < self.current {
            return false;
        }
        let grown = usize::from(self.current) * GROWTH;
        let grown = u16::try_from(grown).unwrap_or(u16::MAX);
        // Messages of earlier consumers are not among those that the broker counts.
        let next = self.fitting(free, self.largest).min(grown);
        let grows = next > self.current;
        self.current = next.max(self.current);
        (self.seen, self.largest) = (0, 0);
        grows
    }

    /// Notes that a message did not fit beside the others. Only as many are asked for as fit into the free bytes: the broker
    /// does not count those that are being processed.
    pub(super) fn left_out(&mut self, size: usize, free: usize) {
        self.current = self.fitting(free, size).min(self.current);
        (self.seen, self.largest) = (0, 0);
    }
}

#[cfg(test)]
mod tests;
