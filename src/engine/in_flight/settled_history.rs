//! The history of processed messages, in limited memory. It holds fingerprints instead of messages.

use super::REDELIVERY_WINDOW;
use crate::{
    broker::transport::{Delivery, Generation, Verdict},
    engine::aging_map::AgingMap,
};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Headers that a quorum queue changes with each delivery of a message.
const DELIVERY_COUNTERS: [&str; 2] = ["x-delivery-count", "x-acquired-count"];

/// A hash of all headers and the whole body in 127 bits, and one bit that says whether the message has an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Fingerprint([u8; 16]);

impl Fingerprint {
    pub(super) fn has_id(self) -> bool {
        self.0[0] & 1 == 1
    }
}

/// Computes fingerprints. Its key is random per process, so nobody can construct two messages with one fingerprint. SipHash
/// takes 0.4 ms for 1 MB on any processor; SHA-256 is as fast only with hardware support, and much slower elsewhere.
pub(super) struct Fingerprinter(SipHasher13);

impl Fingerprinter {
    pub(super) fn new() -> Self {
        let [low, high] = [(); 2].map(|()| RandomState::new().hash_one(()));
        Self(SipHasher13::new_with_keys(low, high))
    }

    /// All headers count: a message that was sent again on purpose differs in one of them (`retry`, `reboundIteration`,
    /// `x-death`).
    pub(super) fn of<O>(&self, delivery: &Delivery<O>) -> Fingerprint {
        let mut hasher = self.0;
        for header in &delivery.headers {
            if !DELIVERY_COUNTERS.contains(&header.0.as_str()) {
                header.hash(&mut hasher);
            }
        }
        hasher.write(&delivery.body);
        hasher.write_usize(delivery.body.len());
        delivery.withheld.hash(&mut hasher);
        // A body that was not read identifies nothing.
        let has_id = delivery.withheld.is_none()
            && delivery
                .headers
                .get("messageId")
                .is_some_and(|id| !id.is_null() && id.as_str() != Some(""));
        let fingerprint = hasher.finish128().as_u128() & !1 | u128::from(has_id);
        Fingerprint(fingerprint.to_le_bytes())
    }
}

/// What is remembered of all messages with the same fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remembered {
    Settled {
        generation: u32,
        sent: u32,
        verdict: Verdict,
    },
    /// More than one message has this fingerprint.
    Ambiguous,
}

/// Stands for a verdict that may not have been sent: no round trip proves that it arrived.
pub(super) const NOT_SENT: u32 = u32::MAX;

/// The messages that were processed last. New and used entries go into the newest segment. When that is full or old, a
/// new segment is started and the oldest is forgotten. If a broker is killed and forgets settlements, it redelivers
/// their messages in the old order. So entries are taken from the oldest segment first, and no entry displaces one
/// whose message may still be redelivered.
pub(super) struct SettledHistory(AgingMap<Fingerprint, Remembered>);

impl SettledHistory {
    /// Three full segments hold 86 016 entries, and four take 3.7 MiB.
    const SEGMENTS: usize = 4;
    /// A broker forgets only recent settlements, so a step with few messages need not remember messages for days.
    const MAX_AGE: Duration = REDELIVERY_WINDOW;

    pub(super) fn new() -> Self {
        Self(AgingMap::new(Self::SEGMENTS, Self::MAX_AGE))
    }

    pub(super) fn get(&self, fingerprint: Fingerprint) -> Option<Remembered> {
        let known = fingerprint.has_id().then(|| self.0.get(&fingerprint));
        known.flatten().copied()
    }

    pub(super) fn remove(&mut self, fingerprint: Fingerprint) {
        self.0.remove(&fingerprint);
    }

    pub(super) fn put(&mut self, fingerprint: Fingerprint, remembered: Remembered) {
        self.0.insert(fingerprint, remembered);
    }

    /// Notes that the verdict was sent, unless the entry has changed in the meantime.
    pub(super) fn sent(&mut self, fingerprint: Fingerprint, by: &Generation) {
        if let Some(Remembered::Settled {
            generation,
            sent: sent @ NOT_SENT,
            ..
        }) = self.0.get_mut(&fingerprint)
            && *generation == by.number
        {
            *sent = by.settlement_sent();
        }
    }
}

/// Earlier generations whose deliveries may still be redelivered.
pub(super) struct GenerationHistory {
    generations: VecDeque<Arc<Generation>>,
    last_redelivery: Instant,
    outages: u32,
    /// The last outage of the broker came after the generations with a lower number than this.
    outage_before: u32,
}

impl GenerationHistory {
    /// How many generations are remembered. There are more only if many connections break one after the other;
    /// redelivered messages of older generations are processed again.
    const KEPT: usize = 64;

    pub(super) fn new() -> Self {
        Self {
            generations: VecDeque::new(),
            last_redelivery: Instant::now(),
            outages: 0,
            outage_before: 0,
        }
    }

    /// Notes the generation of a delivery. Returns true for the first delivery of a generation.
    pub(super) fn observe(&mut self, generation: &Arc<Generation>) -> bool {
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
            self.outage_before = generation.number;
        }
        if self.generations.len() == Self::KEPT {
            self.generations.pop_front();
        }
        self.generations.push_back(generation.clone());
        self.last_redelivery = Instant::now();
        true
    }

    /// Returns whether the broker may lack a verdict, so that it redelivers the message.
    pub(super) fn may_be_unknown(&mut self, generation: u32, sent: u32) -> bool {
        self.forget();
        let is_unproven = || {
            self.generations
                .iter()
                .any(|g| g.number == generation && !g.has_received(sent))
        };
        let may_be_unknown = generation < self.outage_before || is_unproven();
        if may_be_unknown {
            self.last_redelivery = Instant::now();
        }
        may_be_unknown
    }

    /// Forgets generations that had no redeliveries for a while. Redeliveries of the newest may still arrive.
    fn forget(&mut self) {
        if self.last_redelivery.elapsed() > REDELIVERY_WINDOW {
            self.outage_before = 0;
            self.generations
                .drain(..self.generations.len().saturating_sub(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(n: usize) -> Fingerprint {
        Fingerprint(((n as u128) << 64 | 1).to_le_bytes())
    }

    fn settled(generation: u32) -> Remembered {
        Remembered::Settled {
            generation,
            sent: 0,
            verdict: Verdict::Acknowledged,
        }
    }

    #[test]
    fn the_history_holds_65536_messages_in_4_mib() {
        let mut history = SettledHistory::new();
        for n in 0..200_000 {
            history.put(fingerprint(n), settled(1));
            if n % 256 != 0 {
                continue;
            }
            // A table needs one extra byte for each place.
            let bytes = history.0.places() * (size_of::<(Fingerprint, Remembered)>() + 1);
            assert!(bytes <= 4 << 20, "{bytes} bytes after {n}");
            assert!(
                n < 65_536 || history.get(fingerprint(n - 65_535)).is_some(),
                "after {n} the last 65 536 are not there"
            );
        }
    }

    #[test]
    fn a_replay_finds_every_remembered_message() {
        const ALL: usize = 65_536;
        let mut history = SettledHistory::new();
        for n in 0..ALL + 50_000 {
            history.put(fingerprint(n), settled(1));
        }
        for n in 50_000..ALL + 50_000 {
            assert_eq!(history.get(fingerprint(n)), Some(settled(1)), "{n}");
            history.put(fingerprint(n), settled(2));
            // New messages are processed meanwhile.
            history.put(fingerprint(1_000_000 + n / 4), settled(2));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn old_entries_are_forgotten_while_new_ones_are_added() {
        let mut history = SettledHistory::new();
        history.put(fingerprint(0), settled(1));
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert!(
            history.get(fingerprint(0)).is_some(),
            "idle time does not count"
        );
        for n in 1..=4 {
            history.put(fingerprint(n), settled(1));
            tokio::time::advance(SettledHistory::MAX_AGE + Duration::from_secs(1)).await;
        }
        assert!(history.get(fingerprint(0)).is_none() && history.get(fingerprint(4)).is_some());
    }

    #[test]
    fn unstable_connections_take_no_memory() {
        let mut history = GenerationHistory::new();
        for number in 1..100_000 {
            assert!(history.observe(&Arc::new(Generation::new(number, 0))));
        }
        assert_eq!(history.generations.len(), GenerationHistory::KEPT);
    }
}
