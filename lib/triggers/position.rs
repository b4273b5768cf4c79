//! How far polling has come.

use super::order::{Kind, compare};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    cmp::Ordering,
    collections::{HashSet, VecDeque},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The most items that this process remembers of a poll that failed.
const MAX_EMITTED: usize = 20_000;
/// The most reports that this process remembers.
const MAX_REPORTED: usize = 1_000;
/// The most of both that a snapshot holds: the platform's snapshots have at most 5 KB (wire-contract: Limits).
const MAX_SAVED_EMITTED: usize = 120;
const MAX_SAVED_REPORTED: usize = 60;

/// The time of the last change, the items that changed at that time, and the time of the change before it.
///
/// A poll asks for changes since the time before the last one. So the API returns the items of the last time again,
/// whether its "since" includes the given time or not, and also items that have changed at that time since the last
/// poll. Items that were emitted are skipped.
#[derive(Clone, Default, Deserialize, PartialEq, Serialize)]
pub struct Position {
    #[serde(default)]
    before: Value,
    since: Value,
    #[serde(default)]
    seen: Vec<Value>,
    /// The changes after this position that a poll has emitted before it failed.
    #[serde(default, skip_serializing_if = "HashSet::is_empty")]
    emitted: HashSet<Key>,
    /// What was reported, the oldest first. It is not reported again.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    reported: VecDeque<Key>,
}

/// What the last snapshot of this process had no room for.
#[derive(Default)]
pub struct Memory(Mutex<Option<(Position, Position)>>);

impl Memory {
    /// Returns the snapshot for a position, and remembers the rest of it.
    pub fn save(&self, position: Position) -> Position {
        let saved = position.saved();
        *self.last() = (saved != position).then(|| (saved.clone(), position));
        saved
    }

    /// Returns the whole position of a snapshot, if this process has saved it.
    pub fn recall(&self, snapshot: Position) -> Position {
        match &*self.last() {
            Some((saved, position)) if *saved == snapshot => position.clone(),
            _ => snapshot,
        }
    }

    fn last(&self) -> MutexGuard<'_, Option<(Position, Position)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash that identifies a change, an item or a fault in snapshots.
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

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Position {
    /// The position before every change at `start` or later.
    pub fn from_start_value(start: Option<&str>) -> Self {
        Self {
            before: start.into(),
            since: start.into(),
            ..Self::default()
        }
    }

    /// The time to send in the query; `None` requests all items.
    pub fn query_value(&self) -> Option<&Value> {
        non_empty(&self.before)
    }

    /// What the times of its changes are; `None` before the first change, because the start can be given in another way.
    pub fn kind(&self) -> Option<Kind> {
        self.has_changes().then(|| Kind::of(&self.since))
    }

    /// Whether a change was emitted before.
    pub fn has_changes(&self) -> bool {
        !self.seen.is_empty()
    }

    /// Whether a change comes after this position, and was not emitted by a poll that failed.
    pub fn is_new(&self, changed: &Value, id: &Value, key: &Key) -> bool {
        let is_after = match self.order(changed) {
            Ordering::Greater => true,
            Ordering::Equal => !self.seen.contains(id),
            Ordering::Less => false,
        };
        is_after && !self.emitted.contains(key)
    }

    /// Moves the position past a change.
    pub fn advance(&mut self, changed: &Value, id: &Value) {
        match self.order(changed) {
            Ordering::Greater => {
                let before = std::mem::replace(&mut self.since, changed.clone());
                (self.before, self.seen) = (before, vec![id.clone()]);
            }
            Ordering::Equal if !self.seen.contains(id) => self.seen.push(id.clone()),
            Ordering::Equal | Ordering::Less => {}
        }
    }

    /// Remembers changes that were emitted before the poll failed.
    pub fn remember_emitted(&mut self, keys: impl IntoIterator<Item = Key>) {
        let room = MAX_EMITTED.saturating_sub(self.emitted.len());
        self.emitted.extend(keys.into_iter().take(room));
    }

    /// Forgets these changes: the position is past them.
    pub fn forget_emitted(&mut self) {
        self.emitted.clear();
    }

    pub fn is_reported(&self, key: &Key) -> bool {
        self.reported.contains(key)
    }

    /// Remembers a report.
    pub fn remember_reported(&mut self, key: Key) {
        if self.is_reported(&key) {
            return;
        }
        if self.reported.len() == MAX_REPORTED {
            self.reported.pop_front();
        }
        self.reported.push_back(key);
    }

    /// Takes over the reports of another position.
    pub fn with_reports_of(mut self, other: &Self) -> Self {
        self.reported.clone_from(&other.reported);
        self
    }

    /// The position as a snapshot holds it: it forgets what a snapshot has no room for.
    pub fn saved(&self) -> Self {
        let mut saved = self.clone();
        saved.emitted = saved.emitted.into_iter().take(MAX_SAVED_EMITTED).collect();
        let excess = saved.reported.len().saturating_sub(MAX_SAVED_REPORTED);
        saved.reported.drain(..excess);
        saved
    }

    fn order(&self, changed: &Value) -> Ordering {
        non_empty(&self.since).map_or(Ordering::Greater, |since| compare(changed, since))
    }
}

/// Snapshots of earlier versions can hold an empty text.
fn non_empty(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null() && value.as_str() != Some(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_snapshot_is_small_and_this_process_knows_the_rest() {
        let key = |number: u32| Key::of(&number.to_string());
        let mut position = Position::default();
        position.remember_emitted((0..20_001).map(key));
        for number in 0..1_001 {
            position.remember_reported(key(number));
        }
        let memory = Memory::default();
        let snapshot = memory.save(position);
        assert!(json!(snapshot).to_string().len() < 4_000);
        // The latest reports are kept.
        assert!(snapshot.is_reported(&key(1_000)) && !snapshot.is_reported(&key(900)));
        let is_new =
            |position: &Position, number| position.is_new(&json!(1), &json!(1), &key(number));
        let known = |position: &Position| {
            (0..20_001)
                .filter(|number| !is_new(position, *number))
                .count()
        };
        assert_eq!(known(&snapshot), 120);
        let recalled = memory.recall(snapshot.clone());
        assert_eq!(known(&recalled), 20_000);
        assert!(recalled.is_reported(&key(1)) && !recalled.is_reported(&key(0)));
        // Another process has saved in between.
        let mut other = snapshot;
        other.remember_reported(key(5_000));
        assert_eq!(known(&memory.recall(other)), 120);
    }

    #[test]
    fn a_small_position_is_saved_as_it_is() {
        let mut position = Position::from_start_value(Some("2026-01-31"));
        position.advance(&json!("2026-01-31"), &json!(7));
        let memory = Memory::default();
        assert!(memory.save(position.clone()) == position);
        assert_eq!(
            json!(position),
            json!({ "before": "2026-01-31", "since": "2026-01-31", "seen": [7] })
        );
    }
}
