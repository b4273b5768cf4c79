//! The ids of events.

use super::deduplication::DEDUPLICATION_ID;
use crate::protocol::{Headers, Json};
use serde_json::Value;

/// Writes the id of an event: its own, or the derived one, or a random one. The derived one has a header besides.
pub(super) fn write_ids(headers: &mut Headers, own: Option<String>, derived: Option<String>) {
    if let Some(derived) = &derived {
        headers.insert(DEDUPLICATION_ID.into(), derived.as_str().into());
    }
    let id = own.or(derived).unwrap_or_else(new_message_id);
    headers.insert("messageId".into(), id.into());
}

pub(super) fn new_message_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Returns a message's own id as a header: a text, or a number as text.
pub(super) fn message_id_text(id: &Json) -> Option<String> {
    match id.parse().ok()? {
        Value::String(id) if !id.is_empty() => Some(id),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}
