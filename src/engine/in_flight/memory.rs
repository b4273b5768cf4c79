//! What was finished, in bounded memory: hashes instead of messages, forgotten a whole set at a time.

use super::PATIENCE;
use crate::broker::transport::{Delivery, Generation, Verdict};
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};
use tokio::time::Instant;

/// What a quorum queue counts in the headers of a message each time it delivers it.
const COUNTED_BY_THE_BROKER: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// What a message looks like: its headers and body, whole, in 127 bits, and one for whether it has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Mark([u8; 16]);

impl Mark {
    pub(super) fn has_id(self) -> bool {
        self.0[0] & 1 == 1
    }
}

/// Makes marks. Its keys are of this process alone: nobody can send two messages that differ and have one mark. Twice
/// SipHash costs 0.8 ms for 1 MB on any processor; SHA-256 is as fast only where the processor knows it, and seven times
/// slower elsewhere.
pub(super) struct Marks([RandomState; 2]);

impl Marks {
    pub(super) fn new() -> Self {
        Self([RandomState::new(), RandomState::new()])
    }

    /// All headers count: what a message was sent with again on purpose differs in one (`retry`, `reboundIteration`,
    /// `x-death`).
    pub(super) fn of<O>(&self, delivery: &Delivery<O>) -> Mark {
        let mut halves = self.0.each_ref().map(BuildHasher::build_hasher);
        for hasher in &mut halves {
            for header in &delivery.headers {
                if !COUNTED_BY_THE_BROKER.contains(&header.0.as_str()) {
                    header.hash(hasher);
                }
            }
            hasher.write(&delivery.body);
            hasher.write_usize(delivery.body.len());
        }
        let has_id = delivery
            .headers
            .get("messageId")
            .is_some_and(|id| !id.is_null() && id.as_str() != Some(""));
        let [low, high] = halves.map(|hasher| hasher.finish());
        let mark = (u128::from(high) << 64 | u128::from(low)) & !1 | u128::from(has_id);
        Mark(mark.to_le_bytes())
    }
}

/// What is remembered of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    Finished {
        generation: u32,
        sent: u32,
        verdict: Verdict,
    },
    /// More than one message looks like this.
    Twins,
}

/// Stands for a verdict that is not known to have been sent: no question proves that it arrived.
pub(super) const UNSENT: u32 = u32::MAX;

struct Set {
    began: Instant,
    entries: HashMap<Mark, Remembered>,
}

/// What was finished last. What is used or put anew goes into the newest set; a full or old one makes room for another,
/// and the oldest of all is forgotten as a whole. When a broker that was killed delivers again what it had forgotten, in
/// the order of old, this takes each from the oldest sets in turn: none makes another go that is still to come.
pub(super) struct Memory(VecDeque<Set>);

impl Memory {
    const SETS: usize = 4;
    /// As many as 2^15 places hold before the set doubles: three full sets are 86 016, and four take 3.7 MiB.
    const FULL: usize = (1 << 15) / 8 * 7;
    /// A step with little to do need not remember messages of days ago: a broker forgets only what is fresh.
    const OLD: std::time::Duration = PATIENCE;

    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn get(&self, mark: Mark) -> Option<Remembered> {
        if !mark.has_id() {
            return None;
        }
        self.0
            .iter()
            .find_map(|set| set.entries.get(&mark))
            .copied()
    }

    pub(super) fn remove(&mut self, mark: Mark) {
        for set in &mut self.0 {
            set.entries.remove(&mark);
        }
    }

    pub(super) fn put(&mut self, mark: Mark, remembered: Remembered) {
        self.remove(mark);
        if self
            .0
            .front()
            .is_none_or(|set| set.entries.len() >= Self::FULL || set.began.elapsed() > Self::OLD)
        {
            self.0.truncate(Self::SETS - 1);
            self.0.push_front(Set {
                began: Instant::now(),
                entries: HashMap::new(),
            });
        }
        self.0[0].entries.insert(mark, remembered);
    }

    /// Notes that the verdict was sent, unless something else has become of it meanwhile.
    pub(super) fn sent(&mut self, mark: Mark, by: &Generation) {
        for set in &mut self.0 {
            if let Some(Remembered::Finished {
                generation,
                sent: sent @ UNSENT,
                ..
            }) = set.entries.get_mut(&mark)
                && *generation == by.number
            {
                *sent = by.settlement_sent();
            }
        }
    }
}

/// The generations of before, as far as their deliveries may still come again.
pub(super) struct Past {
    generations: VecDeque<Arc<Generation>>,
    /// The last sign of anything coming again.
    heard: Instant,
    outages: u32,
    /// The broker has been away after all generations below this one.
    away_after: u32,
}

impl Past {
    /// More are between two outages only where connections do not hold; what the older ones left is worked on again.
    const KEPT: usize = 64;

    pub(super) fn new() -> Self {
        Self {
            generations: VecDeque::new(),
            heard: Instant::now(),
            outages: 0,
            away_after: 0,
        }
    }

    /// Returns true at the first delivery of a generation.
    pub(super) fn begins(&mut self, generation: &Arc<Generation>) -> bool {
        if self
            .generations
            .back()
            .is_some_and(|last| last.number >= generation.number)
        {
            return false;
        }
        self.forget();
        if generation.outages > self.outages {
            self.outages = generation.outages;
            self.away_after = generation.number;
        }
        if self.generations.len() == Self::KEPT {
            self.generations.pop_front();
        }
        self.generations.push_back(generation.clone());
        self.heard = Instant::now();
        true
    }

    /// Whether the broker may not have a verdict, and so the message comes again.
    pub(super) fn is_in_doubt(&mut self, generation: u32, sent: u32) -> bool {
        self.forget();
        let unproven = || {
            self.generations
                .iter()
                .any(|g| g.number == generation && !g.has_received(sent))
        };
        let in_doubt = generation < self.away_after || unproven();
        if in_doubt {
            self.heard = Instant::now();
        }
        in_doubt
    }

    /// What has not come again for long does not come any more; of the newest generation it still may.
    fn forget(&mut self) {
        if self.heard.elapsed() > PATIENCE {
            self.away_after = 0;
            self.generations
                .drain(..self.generations.len().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn mark(n: usize) -> Mark {
        Mark(((n as u128) << 64 | 1).to_le_bytes())
    }

    fn finished(generation: u32) -> Remembered {
        Remembered::Finished {
            generation,
            sent: 0,
            verdict: Verdict::Acknowledged,
        }
    }

    #[test]
    fn the_history_holds_65536_messages_in_4_mib() {
        let mut memory = Memory::new();
        for n in 0..200_000 {
            memory.put(mark(n), finished(1));
            if n % 256 != 0 {
                continue;
            }
            let bytes: usize = memory
                .0
                .iter()
                // A table grows to its next size with one place in eight left free, and takes a byte more for each.
                .map(|set| set.entries.capacity() / 7 * 8 * (size_of::<(Mark, Remembered)>() + 1))
                .sum();
            assert!(bytes <= 4 << 20, "{bytes} bytes after {n}");
            assert!(
                n < 65_536 || memory.get(mark(n - 65_535)).is_some(),
                "after {n} the last 65 536 are not there"
            );
        }
    }

    #[test]
    fn a_replay_finds_every_remembered_message() {
        const ALL: usize = 65_536;
        let mut memory = Memory::new();
        for n in 0..ALL + 50_000 {
            memory.put(mark(n), finished(1));
        }
        for n in 50_000..ALL + 50_000 {
            assert_eq!(memory.get(mark(n)), Some(finished(1)), "{n}");
            memory.put(mark(n), finished(2));
            // New work goes on beside.
            memory.put(mark(1_000_000 + n / 4), finished(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_finished_long_ago_is_forgotten_while_work_goes_on() {
        let mut memory = Memory::new();
        memory.put(mark(0), finished(1));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(memory.get(mark(0)).is_some(), "a pause does not count");
        for n in 1..=4 {
            memory.put(mark(n), finished(1));
            tokio::time::advance(Memory::OLD + Duration::from_secs(1)).await;
        }
        assert!(memory.get(mark(0)).is_none() && memory.get(mark(4)).is_some());
    }

    #[test]
    fn connections_that_do_not_hold_take_no_memory() {
        let mut past = Past::new();
        for number in 1..100_000 {
            assert!(past.begins(&Arc::new(Generation::new(number, 0))));
        }
        assert_eq!(past.generations.len(), Past::KEPT);
    }
}
