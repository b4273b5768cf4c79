//! How far polling has come.

use super::order::{Kind, compare};
use sailor::snapshot::{self, Fingerprint, Fingerprints};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::cmp::Ordering;

/// The longest time of a change as JSON, in bytes: a snapshot has two of them.
pub const MAX_TIME: usize = 500;

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
    /// The ids of the items that changed at `since`.
    #[serde(default, deserialize_with = "ids")]
    seen: Fingerprints,
    /// The changes after this position that a poll has emitted before it failed.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    emitted: Fingerprints,
    /// What was reported. It is not reported again.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    reported: Fingerprints,
}

impl snapshot::Position for Position {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.seen, &mut self.emitted, &mut self.reported]
    }
}

/// Reads ids. Snapshots of earlier versions have the ids themselves.
fn ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprints, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Ids(Vec<Value>),
        Fingerprints(Fingerprints),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Ids(ids) => ids.iter().map(fingerprint).collect(),
        Stored::Fingerprints(fingerprints) => fingerprints,
    })
}

fn fingerprint(id: &Value) -> Fingerprint {
    Fingerprint::of(&id.to_string())
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
    pub fn is_new(&self, changed: &Value, id: &Value, change: Fingerprint) -> bool {
        let is_after = match self.order(changed) {
            Ordering::Greater => true,
            Ordering::Equal => !self.seen.contains(fingerprint(id)),
            Ordering::Less => false,
        };
        is_after && !self.emitted.contains(change)
    }

    /// Moves the position past a change.
    pub fn advance(&mut self, changed: &Value, id: &Value) {
        match self.order(changed) {
            Ordering::Greater => {
                let before = std::mem::replace(&mut self.since, changed.clone());
                self.before = before;
                self.seen.clear();
                self.seen.insert(fingerprint(id));
            }
            Ordering::Equal => {
                self.seen.insert(fingerprint(id));
            }
            Ordering::Less => {}
        }
    }

    /// Remembers changes that were emitted before the poll failed.
    pub fn remember_emitted(&mut self, changes: impl IntoIterator<Item = Fingerprint>) {
        self.emitted.extend(changes);
    }

    /// Forgets these changes: the position is past them.
    pub fn forget_emitted(&mut self) {
        self.emitted.clear();
    }

    pub fn is_reported(&self, report: Fingerprint) -> bool {
        self.reported.contains(report)
    }

    /// Remembers a report.
    pub fn remember_reported(&mut self, report: Fingerprint) {
        self.reported.insert(report);
    }

    /// Takes over the reports of another position.
    pub fn with_reports_of(mut self, other: &Self) -> Self {
        self.reported.clone_from(&other.reported);
        self
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
    fn a_position_is_written_with_short_ids() {
        let mut position = Position::from_start_value(Some("2026-01-31"));
        position.advance(&json!("2026-01-31"), &json!(7));
        let expected =
            json!({ "before": "2026-01-31", "since": "2026-01-31", "seen": "r2OqTIYBl5Y" });
        assert_eq!(json!(position), expected);
    }

    #[test]
    fn snapshots_of_earlier_versions_mean_the_same() {
        let (time, later) = (json!("2026-01-31T10:00:00Z"), json!("2026-01-31T11:00:00Z"));
        // 16 hexadecimal digits can be an id.
        for id in [json!(7), json!("seven"), json!("00c0ffee00c0ffee")] {
            let fault = Fingerprint::of("fault");
            let change = Fingerprint::of(&format!("{later} {id}"));
            let position: Position = serde_json::from_value(json!({
                "before": null, "since": time, "seen": [1, id],
                "emitted": [change.to_string()], "reported": [fault.to_string()],
            }))
            .unwrap();
            let unknown = Fingerprint::of("");
            assert!(!position.is_new(&time, &id, unknown), "{id}");
            assert!(position.is_new(&time, &json!("8"), unknown));
            assert!(!position.is_new(&later, &id, change));
            assert!(position.is_reported(fault) && !position.is_reported(change));
            let again: Position = serde_json::from_value(json!(position)).unwrap();
            assert!(again == position);
        }
    }
}
