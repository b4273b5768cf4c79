//! What identifies a record: in the snapshot, and in the error for one that is passed over.

use crate::{
    api::Record,
    sorted_list::{Content, Entry},
};

/// Names the records of a list one after the other. A record without an id is named by the one before it.
pub struct Names {
    /// The id of the last record that has one.
    before: String,
    /// The records since then.
    since: usize,
}

/// What identifies a record.
pub struct Name {
    /// Identifies it in its state, in snapshots.
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

/// The hash of a record (FNV-1a: it must be the same in every version of the program).
pub fn hash(record: &Record) -> String {
    let text = serde_json::to_string(record).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
