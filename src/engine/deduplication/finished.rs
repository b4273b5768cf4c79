//! The finished messages that this process knows of, in limited memory.

use crate::broker::finished_log::MessageKey;
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};
use tokio::time::Instant;

/// Which process has finished a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishedBy {
    ThisProcess,
    /// Another replica, or an earlier process of the step.
    Another,
}

struct Segment {
    began: Instant,
    keys: HashMap<MessageKey, FinishedBy>,
}

/// Remembers at least the last 100 000 messages, and none for longer than thirty hours while others are finished. It
/// forgets a whole segment at a time.
pub(super) struct FinishedMessages(VecDeque<Segment>);

impl FinishedMessages {
    const SEGMENTS: usize = 5;
    /// The number of entries that a hash table with 2^15 places holds before it grows. Four full segments hold 114 688
    /// entries, and five take 2.9 MB.
    const SEGMENT_CAPACITY: usize = (1 << 15) / 8 * 7;
    const SEGMENT_AGE: Duration = Duration::from_secs(6 * 3600);

    pub(super) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn get(&self, key: MessageKey) -> Option<FinishedBy> {
        self.0
            .iter()
            .find_map(|segment| segment.keys.get(&key))
            .copied()
    }

    /// Adds a message. The log repeats what this process has added, which changes nothing.
    pub(super) fn add(&mut self, key: MessageKey, by: FinishedBy) {
        if by == FinishedBy::Another && self.get(key).is_some() {
            return;
        }
        if self.0.front().is_none_or(|segment| {
            segment.keys.len() >= Self::SEGMENT_CAPACITY
                || segment.began.elapsed() > Self::SEGMENT_AGE
        }) {
            self.0.truncate(Self::SEGMENTS - 1);
            self.0.push_front(Segment {
                began: Instant::now(),
                keys: HashMap::new(),
            });
        }
        self.0[0].keys.insert(key, by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u128) -> MessageKey {
        n.to_le_bytes()
    }

    #[test]
    fn the_last_100_000_messages_are_remembered_in_3_mb() {
        let mut finished = FinishedMessages::new();
        for n in 0..400_000 {
            finished.add(key(n), FinishedBy::Another);
            assert!(n < 100_000 || n % 1_000 != 0 || finished.get(key(n - 99_999)).is_some());
        }
        assert_eq!(finished.get(key(0)), None);
        let places: usize = finished
            .0
            .iter()
            .map(|segment| segment.keys.capacity() / 7 * 8)
            .sum();
        let bytes = places * (size_of::<(MessageKey, FinishedBy)>() + 1);
        assert!(bytes <= 3_000_000, "{bytes} bytes");
    }

    #[tokio::test(start_paused = true)]
    async fn finished_messages_are_remembered_for_a_day() {
        let mut finished = FinishedMessages::new();
        finished.add(key(0), FinishedBy::Another);
        for hour in 1..=23 {
            tokio::time::advance(Duration::from_secs(3600)).await;
            finished.add(key(hour), FinishedBy::Another);
        }
        assert!(finished.get(key(0)).is_some());
        for hour in 24..=48 {
            tokio::time::advance(Duration::from_secs(3600)).await;
            finished.add(key(hour), FinishedBy::Another);
        }
        assert_eq!(finished.get(key(0)), None);
    }

    #[test]
    fn the_log_does_not_take_over_a_message_of_this_process() {
        let mut finished = FinishedMessages::new();
        finished.add(key(1), FinishedBy::ThisProcess);
        finished.add(key(1), FinishedBy::Another);
        assert_eq!(finished.get(key(1)), Some(FinishedBy::ThisProcess));
    }
}
