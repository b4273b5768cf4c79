//! How far the polling has come.

use super::moment::compare;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The time of the last change, and the items that changed at that very time.
#[derive(Clone, Default, Deserialize, Serialize, PartialEq)]
pub struct Position {
    since: Value,
    #[serde(default)]
    seen: Vec<Value>,
}

impl Position {
    /// Before everything that changed before `since`.
    pub fn starting(since: Option<&str>) -> Self {
        Self { since: since.into(), seen: vec![] }
    }

    /// The time of the last change; none at the beginning.
    pub fn since(&self) -> Option<&Value> {
        Some(&self.since).filter(|since| !since.is_null() && since.as_str() != Some(""))
    }

    /// Whether an item that changed then has not been emitted yet.
    pub fn is_behind(&self, changed: &Value, id: &Value) -> bool {
        match self.since().map(|since| compare(changed, since)) {
            None | Some(Ordering::Greater) => true,
            Some(Ordering::Equal) => !self.seen.contains(id),
            Some(Ordering::Less) => false,
        }
    }

    /// Counts an item as emitted.
    pub fn pass(&mut self, changed: &Value, id: &Value) {
        match self.since().map(|since| compare(changed, since)) {
            None | Some(Ordering::Greater) => *self = Self { since: changed.clone(), seen: vec![id.clone()] },
            Some(Ordering::Equal) if !self.seen.contains(id) => self.seen.push(id.clone()),
            Some(Ordering::Equal | Ordering::Less) => {}
        }
    }
}
