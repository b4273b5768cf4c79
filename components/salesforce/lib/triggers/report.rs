//! What identifies a record that is passed over.

use crate::{
    api::Record,
    sorted_list::{Content, Entry},
};

/// Identifies a record in its state, in the snapshot.
pub fn key(entry: &Entry, before: &str, at: usize) -> String {
    let time = entry
        .position
        .as_ref()
        .map(|position| &position.last_modification_time);
    match (&entry.id, &entry.content) {
        (Some(id), _) => time
            .filter(|time| !time.is_empty())
            .map_or_else(|| id.clone(), |time| format!("{id} {time}")),
        (None, Content::Record(record)) => hash(record),
        (None, Content::Unreadable(_)) => format!("{at} behind {before}"),
    }
}

/// A record, as errors name it.
pub fn shown(id: Option<&str>, before: &str) -> String {
    id.map_or_else(
        || format!("a record behind {before}"),
        |id| format!("record {id}"),
    )
}

/// The hash of a record without an id (FNV-1a: it must be the same in every version of the program).
pub fn hash(record: &Record) -> String {
    let text = serde_json::to_string(record).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
