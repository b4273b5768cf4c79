//! How far polling has come: the snapshot of both triggers.

use super::change::Change;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// The most bad items that are remembered.
const MAX_PASSED: usize = 1_000;

/// The time of the last change, and what was emitted or passed over from this time on.
///
/// Snapshots of the Node component have the first member only, which means the same.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    last_modified_date_time: Timestamp,
    /// The emitted items of this time: their ids, with the version that was emitted.
    #[serde(default)]
    seen: BTreeMap<String, String>,
    /// What must not move the time: reported faults, and emitted items from the future. The oldest come first.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    passed: VecDeque<Key>,
}

/// A hash that identifies a version of an item, or a fault, in snapshots.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Key(String);

impl Key {
    /// The key of a text.
    pub fn of(text: &str) -> Self {
        // FNV-1a: the hash must be the same in every version of the program.
        let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(format!("{hash:016x}"))
    }
}

impl Position {
    /// All items that changed at this time or later are new.
    pub fn from(time: Timestamp) -> Self {
        Self {
            last_modified_date_time: time,
            ..Self::default()
        }
    }

    /// The time of the last change.
    pub fn time(&self) -> Timestamp {
        self.last_modified_date_time
    }

    /// Whether this version of an item was neither emitted nor passed over.
    pub fn is_new(&self, change: &Change) -> bool {
        let is_passed = !self.passed.is_empty() && self.is_passed(&change.key());
        !is_passed && self.seen.get(&change.id) != Some(&change.version)
    }

    /// Moves the position past an item that was emitted, or that can never be emitted and was reported.
    pub fn advance(&mut self, change: &Change) {
        if change.is_in_the_future() {
            return self.pass([change.key()]);
        }
        if change.at > self.last_modified_date_time {
            self.last_modified_date_time = change.at;
            self.seen.clear();
        }
        self.seen.insert(change.id.clone(), change.version.clone());
    }

    /// Whether this was passed over.
    pub fn is_passed(&self, key: &Key) -> bool {
        self.passed.contains(key)
    }

    /// Remembers what was passed over.
    pub fn pass(&mut self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            if self.is_passed(&key) {
                continue;
            }
            if self.passed.len() == MAX_PASSED {
                self.passed.pop_front();
            }
            self.passed.push_back(key);
        }
    }
}
