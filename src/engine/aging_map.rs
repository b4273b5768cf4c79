//! A map in limited memory that forgets the oldest entries.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};
use tokio::time::Instant;

/// The number of entries that a hash table with 2^15 places holds before it grows.
pub(super) const SEGMENT_CAPACITY: usize = (1 << 15) / 8 * 7;

struct Segment<K, V> {
    began: Instant,
    entries: HashMap<K, V>,
}

/// Entries in segments by the time of their insertion. When the newest segment is full or old, the next insertion starts
/// another one, and the oldest is forgotten.
pub(super) struct AgingMap<K, V> {
    segments: VecDeque<Segment<K, V>>,
    max_segments: usize,
    max_age: Duration,
}

impl<K: Eq + Hash, V> AgingMap<K, V> {
    /// Creates a map that remembers at least the entries of all segments but one. `max_age` is the age of a segment after
    /// which no entry comes into it.
    pub(super) fn new(max_segments: usize, max_age: Duration) -> Self {
        Self {
            segments: VecDeque::new(),
            max_segments,
            max_age,
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let mut segments = self.segments.iter();
        segments.find_map(|segment| segment.entries.get(key))
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let mut segments = self.segments.iter_mut();
        segments.find_map(|segment| segment.entries.get_mut(key))
    }

    pub(super) fn remove(&mut self, key: &K) {
        for segment in &mut self.segments {
            segment.entries.remove(key);
        }
    }

    /// Inserts an entry into the newest segment, in place of the one with this key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        let is_over = |segment: &Segment<K, V>| {
            segment.entries.len() >= SEGMENT_CAPACITY || segment.began.elapsed() > self.max_age
        };
        if self.segments.front().is_none_or(is_over) {
            self.segments.truncate(self.max_segments - 1);
            self.segments.push_front(Segment {
                began: Instant::now(),
                entries: HashMap::new(),
            });
        }
        self.segments[0].entries.insert(key, value);
    }

    /// The places of all hash tables. A table keeps one in eight free.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        let segments = self.segments.iter();
        segments
            .map(|segment| segment.entries.capacity() / 7 * 8)
            .sum()
    }
}
