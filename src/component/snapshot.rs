//! Snapshots of polling triggers, within the 5 KB that the platform documents (wire-contract: Limits).
//!
//! How far polling has come is a [`Position`]: usually a time, and the items of that time that were emitted. APIs decide
//! how many these are, so a position has them as [`Fingerprints`]. [`Memory::save`] turns a position into a [`Snapshot`]
//! that is small enough, and the process remembers what the snapshot had no room for. [`Memory::recall`] returns the whole
//! position. A process that starts later knows only the snapshot. So what is forgotten must be harmless: an item that is
//! emitted once more, or an error that is reported once more, but never an item that is missed.
//!
//! A trigger whose `Snapshot` is [`Snapshot<P>`](Snapshot) cannot forget these steps: only `save` makes one, and only
//! `recall` opens one.
//!
//! ```
//! use sailor::{prelude::*, snapshot::{self, Fingerprint, Fingerprints, Memory, Snapshot}, testing::Harness};
//! use serde::{Deserialize, Serialize};
//! use serde_json::{Value, json};
//!
//! /// The time of the last change, and the items that changed at that time.
//! #[derive(Clone, Default, Deserialize, Serialize)]
//! struct Position { time: u64, seen: Fingerprints }
//!
//! impl snapshot::Position for Position {
//!     fn fingerprints(&mut self) -> Vec<&mut Fingerprints> { vec![&mut self.seen] }
//! }
//!
//! #[derive(Default)]
//! struct Orders { memory: Memory<Position> }
//!
//! impl Trigger for Orders {
//!     type Config = Value;
//!     type Snapshot = Snapshot<Position>;
//!     type Output = String;
//!
//!     async fn poll(
//!         &self,
//!         since: Option<Snapshot<Position>>,
//!         cx: Context<Value, String>,
//!     ) -> anyhow::Result<Option<Snapshot<Position>>> {
//!         let mut position = since.map(|since| self.memory.recall(since)).unwrap_or_default();
//!         for (time, id) in orders_since(position.time).await {
//!             if time > position.time {
//!                 position = Position { time, seen: Fingerprints::default() };
//!             }
//!             if position.seen.insert(Fingerprint::of(&id)) {
//!                 cx.data(&id).await?;
//!             }
//!         }
//!         Ok(Some(self.memory.save(position)?))
//!     }
//! }
//!
//! // Three thousand orders have changed at the same time.
//! async fn orders_since(_time: u64) -> impl Iterator<Item = (u64, String)> {
//!     (0..3_000).map(|id| (7, format!("order {id}")))
//! }
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
//! # let component = Component::new(r#"{"triggers": {"orders": {}}}"#)?.trigger("orders", Orders::default());
//! # use sailor::testing::Event;
//! # let harness = |since: Value| Harness::new(&component, "orders").snapshot(since);
//! # let first = harness(json!({})).run(json!({})).await?;
//! # let Some(Event::Snapshot(snapshot)) = first.events.last() else { panic!() };
//! # assert!(snapshot.to_string().len() <= snapshot::MAX_BYTES);
//! # let second = harness(snapshot.clone()).run(json!({})).await?;
//! # assert_eq!((first.data::<String>().len(), second.data::<String>().len()), (3_000, 0));
//! # Ok(()) }
//! ```

mod fingerprints;

pub use fingerprints::{Fingerprint, Fingerprints};

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use std::{
    fmt, mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// The largest snapshot as JSON, in bytes (wire-contract: Limits).
pub const MAX_BYTES: usize = 5_000;

/// The most fingerprints of a set that can be in a snapshot.
const MAX_SAVED: usize = MAX_BYTES / 10;

/// How far polling has come.
///
/// What an API decides the number or the length of belongs in [`Fingerprints`], or has a limit of its own.
pub trait Position: Clone + Serialize {
    /// The sets that may be cut: those of the position itself, in the same order each time. A set that is not among them is
    /// always stored as a whole.
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints>;
}

/// A position as the platform stores it, in at most [`MAX_BYTES`]. As JSON it is the position.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Snapshot<P>(P);

/// What the last snapshot of this process had no room for. A trigger has one, because a process runs one step.
pub struct Memory<P>(Mutex<Option<Cut<P>>>);

/// A position, and the snapshot that holds a part of it.
struct Cut<P> {
    snapshot: String,
    whole: P,
}

impl<P: Position> Memory<P> {
    /// Returns the snapshot of a position, and remembers what it has no room for. Each set keeps its newest fingerprints; small
    /// sets are kept as a whole.
    ///
    /// # Errors
    /// Returns an error if the position is too large without its fingerprints, or cannot be written as JSON.
    pub fn save(&self, mut position: P) -> anyhow::Result<Snapshot<P>> {
        let sets = position.fingerprints().into_iter();
        let sets: Vec<Fingerprints> = sets.map(mem::take).collect();
        // The position with so many fingerprints of each set, and its length.
        let with = |count: usize| -> anyhow::Result<(P, String)> {
            let mut cut = position.clone();
            for (cut, whole) in cut.fingerprints().into_iter().zip(&sets) {
                *cut = whole.newest(count);
            }
            let text = serde_json::to_string(&cut)?;
            Ok((cut, text))
        };
        let fits = |count| with(count).is_ok_and(|(_, text)| text.len() <= MAX_BYTES);
        let largest = sets.iter().map(Fingerprints::len).max().unwrap_or_default();
        let mut count = largest.min(MAX_SAVED);
        if !fits(count) {
            let counts: Vec<usize> = (1..count).collect();
            count = counts.partition_point(|count| fits(*count));
        }
        let (cut, snapshot) = with(count)?;
        ensure!(
            snapshot.len() <= MAX_BYTES,
            "a snapshot has room for {MAX_BYTES} bytes, and the position has {} without its fingerprints: reset it on the \
             platform",
            snapshot.len()
        );
        let mut whole = position;
        for (set, all) in whole.fingerprints().into_iter().zip(sets) {
            *set = all;
        }
        *self.last() = (count < largest).then_some(Cut { snapshot, whole });
        Ok(Snapshot(cut))
    }

    /// Returns the whole position of a snapshot if it is the last one that this process has saved, otherwise what is in the
    /// snapshot.
    pub fn recall(&self, snapshot: Snapshot<P>) -> P {
        match &*self.last() {
            Some(last)
                if serde_json::to_string(&snapshot).is_ok_and(|text| text == last.snapshot) =>
            {
                last.whole.clone()
            }
            _ => snapshot.0,
        }
    }
}

impl<P> Memory<P> {
    fn last(&self) -> MutexGuard<'_, Option<Cut<P>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> Default for Memory<P> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<P> fmt::Debug for Memory<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_rest = self.last().is_some();
        f.debug_struct("Memory").field("rest", &has_rest).finish()
    }
}

#[cfg(test)]
mod tests;
