//! What identifies a record: in the snapshot, and in the error for one that is passed over.

use crate::{
    api::Record,
    sorted_list::{Content, Entry},
};
use sailor::snapshot::Fingerprint;

/// Names the records of a list one after the other. A record without an id is named by the one before it.
pub struct Names {
    /// The id of the last record that has one.
    before: String,
    /// The records since then.
    since: usize,
}

/// What identifies a record.
pub struct Name {
    /// Identifies it in its state.
    pub key: String,
    /// As errors name it.
    pub shown: String,
}

impl Names {
    /// The names of the records behind this one.
    pub fn behind(id: Option<&str>) -> Self {
        Self {
            before: id.unwrap_or("the start").to_owned(),
            since: 0,
        }
    }

    pub fn next(&mut self, entry: &Entry) -> Name {
        let Some(id) = &entry.id else {
            let key = match &entry.content {
                Content::Record(record) => hash(record),
                Content::Unreadable(_) => format!("{} behind {}", self.since, self.before),
            };
            self.since += 1;
            return Name {
                key,
                shown: format!("a record behind {}", self.before),
            };
        };
        (self.before, self.since) = (id.clone(), 0);
        let position = entry.position.as_ref();
        let time = position.map(|position| &position.last_modification_time);
        Name {
            key: time
                .filter(|time| !time.is_empty())
                .map_or_else(|| id.clone(), |time| format!("{id} {time}")),
            shown: format!("record {id}"),
        }
    }
}

impl Name {
    /// Identifies the record in snapshots.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.key)
    }

    /// What an error says about the record if it is passed over.
    pub fn passed_over(&self, reason: &str) -> String {
        format!("{} is passed over: {reason}", self.shown)
    }

    /// The error for a record that Salesforce cannot return.
    pub fn unreadable(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(self.passed_over("Salesforce cannot return it"))
    }

    /// The error for a record that can never be emitted.
    pub fn not_emitted(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(self.passed_over("it cannot be emitted"))
    }
}

/// The hash of a record.
pub fn hash(record: &Record) -> String {
    let text = serde_json::to_string(record).unwrap_or_default();
    Fingerprint::of(&text).to_string()
}
