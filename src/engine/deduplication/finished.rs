//! The finished messages that this process knows of, in limited memory.

use crate::{broker::finished_log::MessageKey, engine::aging_map::AgingMap};
use std::time::Duration;

/// Which process has finished a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinishedBy {
    ThisProcess,
    /// Another replica, or an earlier process of the step.
    Another,
}

/// Remembers at least the last 100 000 messages, and none for longer than thirty hours while others are finished.
pub(super) struct FinishedMessages(AgingMap<MessageKey, FinishedBy>);

impl FinishedMessages {
    /// Four full segments hold 114 688 entries, and five take 2.9 MB.
    const SEGMENTS: usize = 5;
    const SEGMENT_AGE: Duration = Duration::from_secs(6 * 3600);

    pub(super) fn new() -> Self {
        Self(AgingMap::new(Self::SEGMENTS, Self::SEGMENT_AGE))
    }

    pub(super) fn get(&self, key: MessageKey) -> Option<FinishedBy> {
        self.0.get(&key).copied()
    }

    /// Adds a message. The log repeats what this process has added, which changes nothing.
    pub(super) fn add(&mut self, key: MessageKey, by: FinishedBy) {
        if by == FinishedBy::ThisProcess || self.get(key).is_none() {
            self.0.insert(key, by);
        }
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
        let bytes = finished.0.places() * (size_of::<(MessageKey, FinishedBy)>() + 1);
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
