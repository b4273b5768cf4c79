//! How far the polling has come.

use super::moment::compare;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The time of the last change, the items that changed at that very time, and the time of the last change before them.
///
/// The API is asked for what changed after the one before: it lists the items of the last time again, whether it takes
/// "since" to be later than or not earlier than, and with them such as have come to that time since then. Those that were
/// seen are left out.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Position {
    #[serde(default)]
    before: Value,
    since: Value,
    #[serde(default)]
    seen: Vec<Value>,
}

impl Position {
    /// Before everything that changed at `start` or later.
    pub fn starting(start: Option<&str>) -> Self {
        Self {
            before: start.into(),
            since: start.into(),
            seen: vec![],
        }
    }

    /// What to ask the API for changes since; none for all it has.
    pub fn asked(&self) -> Option<&Value> {
        given(&self.before)
    }

    /// Whether an item that changed then has not been emitted yet.
    pub fn is_behind(&self, changed: &Value, id: &Value) -> bool {
        match self.order(changed) {
            Ordering::Greater => true,
            Ordering::Equal => !self.seen.contains(id),
            Ordering::Less => false,
        }
    }

    /// Counts an item as emitted.
    pub fn pass(&mut self, changed: &Value, id: &Value) {
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
        given(&self.since).map_or(Ordering::Greater, |since| compare(changed, since))
    }
}

/// Snapshots of earlier versions may hold an empty text.
fn given(value: &Value) -> Option<&Value> {
    Some(value).filter(|value| !value.is_null() && value.as_str() != Some(""))
}
