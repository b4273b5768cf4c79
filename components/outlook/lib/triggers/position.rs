//! How far polling has come: the snapshot of both triggers.

use super::change::{Change, version_fingerprint};
use jiff::Timestamp;
use sailor::snapshot::{self, Fingerprint, Fingerprints};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The time of the last change, and what was emitted or passed over from this time on.
///
/// Snapshots of the Node component have the first member only, which means the same.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    last_modified_date_time: Timestamp,
    /// The emitted versions of items of this time.
    #[serde(default, deserialize_with = "versions")]
    seen: Fingerprints,
    /// What must not move the time: reported faults, and emitted items from the future.
    #[serde(default, skip_serializing_if = "Fingerprints::is_empty")]
    passed: Fingerprints,
}

impl snapshot::Position for Position {
    fn fingerprints(&mut self) -> Vec<&mut Fingerprints> {
        vec![&mut self.seen, &mut self.passed]
    }
}

/// Reads versions of items. Snapshots of earlier versions have the ids, with the version of each.
fn versions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fingerprints, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Versions(BTreeMap<String, String>),
        Fingerprints(Fingerprints),
    }
    Ok(match Stored::deserialize(deserializer)? {
        Stored::Versions(versions) => {
            let versions = versions.iter();
            versions
                .map(|(id, version)| version_fingerprint(id, version))
                .collect()
        }
        Stored::Fingerprints(fingerprints) => fingerprints,
    })
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
        let version = change.fingerprint();
        !self.seen.contains(version) && !self.is_passed(version)
    }

    /// Moves the position past an item that was emitted, or that can never be emitted and was reported.
    pub fn advance(&mut self, change: &Change) {
        if change.is_in_the_future() {
            return self.pass([change.fingerprint()]);
        }
        if change.at > self.last_modified_date_time {
            self.last_modified_date_time = change.at;
            self.seen.clear();
        }
        self.seen.insert(change.fingerprint());
    }

    /// Whether this was passed over.
    pub fn is_passed(&self, fault: Fingerprint) -> bool {
        self.passed.contains(fault)
    }

    /// Remembers what was passed over.
    pub fn pass(&mut self, faults: impl IntoIterator<Item = Fingerprint>) {
        self.passed.extend(faults);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn snapshots_of_earlier_versions_mean_the_same() {
        let time = "2024-05-01T10:00:00Z";
        let item = |id: &str, version: &str, time: &str| {
            let item = json!({ "id": id, "changeKey": version, "lastModifiedDateTime": time });
            let Ok(change) = Change::of(item) else {
                panic!("{id} is a change")
            };
            change
        };
        let fault = Fingerprint::of("fault");
        let position: Position = serde_json::from_value(json!({
            "lastModifiedDateTime": time, "seen": { "a": "v1", "b": "" },
            "passed": [fault.to_string(), item("c", "v1", time).fingerprint().to_string()],
        }))
        .unwrap();
        let is_new = |id, version| position.is_new(&item(id, version, time));
        assert!(!is_new("a", "v1") && !is_new("b", "") && !is_new("c", "v1"));
        assert!(is_new("a", "v2") && is_new("d", "v1"));
        assert!(position.is_passed(fault));
        let again: Position = serde_json::from_value(json!(position)).unwrap();
        assert_eq!(again, position);
        // The snapshot of the Node component.
        let node: Position =
            serde_json::from_value(json!({ "lastModifiedDateTime": time })).unwrap();
        assert_eq!(node, Position::from(time.parse().unwrap()));
    }
}
