//! How far polling has come.

use super::timestamp::compare;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The time of the last change, the items that changed at that time, and the time of the change before it.
///
/// A poll asks for changes since the time before the last one. So the API returns the items of the last time again,
/// whether its "since" includes the given time or not, and also items that have changed at that time since the last
/// poll. Items that were emitted are skipped.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Position {
    #[serde(default)]
    before: Value,
    since: Value,
    #[serde(default)]
    seen: Vec<Value>,
}

impl Position {
    /// The position before every change at `start` or later.
    pub fn from_start_value(start: Option<&str>) -> Self {
        Self {
            before: start.into(),
            since: start.into(),
            seen: vec![],
        }
    }

    /// The time to send in the query; `None` requests all items.
    pub fn query_value(&self) -> Option<&Value> {
        non_empty(&self.before)
    }

    /// Whether a change comes after this position.
    pub fn is_after(&self, changed: &Value, id: &Value) -> bool {
        match self.order(changed) {
            Ordering::Greater => true,
            Ordering::Equal => !self.seen.contains(id),
            Ordering::Less => false,
        }
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

    fn order(&self, changed: &Value) -> Ordering {
        non_empty(&self.since).map_or(Ordering::Greater, |since| compare(changed, since))
    }
}

/// Snapshots of earlier versions can hold an empty text.
fn non_empty(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null() && value.as_str() != Some(""))
}
