//! What a message is, by its headers and its members (wire-contract: Headers and events).

use crate::protocol::{Headers, Json};
use serde_json::Value;

/// Returns what an encrypted body is.
pub(super) fn of_encrypted(json: &Json, headers: Option<&Headers>) -> &'static str {
    let has = |name: &str| headers.is_some_and(|headers| headers.contains_key(name));
    let Some(members) = json.members() else {
        return "not a message (JSON, but no object)";
    };
    let all = |names: &[&str]| names.iter().all(|name| members.get(name).is_some());
    if has("x-eio-error-response") {
        "error reply"
    } else if has("reboundIteration") {
        "rebound (a message that comes again)"
    } else if all(&["name", "message", "stack"]) && members.get("body").is_none() {
        "error report"
    } else if all(&["statusCode"]) {
        "HTTP reply"
    } else if all(&["accountId", "keys"]) {
        "key update"
    } else {
        "message"
    }
}

/// Returns what a body is that is not encrypted: an error event, whose members are, or a snapshot.
pub(super) fn of_plain(json: &Json, headers: Option<&Headers>) -> &'static str {
    let snapshot = headers.and_then(|headers| headers.get("snapshotEvent"));
    match snapshot.and_then(Value::as_str) {
        Some("updateSnapshot") => "snapshot (members that change)",
        Some(_) => "snapshot",
        None if is_error_event(json) => "error event",
        None => "JSON without encryption (snapshots are the only such events)",
    }
}

pub(super) fn is_error_event(json: &Json) -> bool {
    let members = json.members();
    let error = members.and_then(|members| members.get("error")?.parse::<String>().ok());
    error.is_some_and(|error| !error.is_empty())
}

/// Returns what a message is by its headers alone.
pub(super) fn of_headers(headers: &Headers) -> &'static str {
    let has = |name: &str| headers.contains_key(name);
    if has("snapshotEvent") {
        "headers of a snapshot"
    } else if has("x-eio-error-response") {
        "headers of an error reply"
    } else if has("reboundIteration") {
        "headers of a rebound"
    } else if has("protocolVersion") {
        "headers of a message, a reply or a key update"
    } else if has("end") {
        "headers of an error event"
    } else {
        "headers of a message"
    }
}

/// The headers of the contract. Their values are ids, times and numbers, so they are shown.
const SHOWN: [&str; 22] = [
    "messageId",
    "parentMessageId",
    "threadId",
    "stepId",
    "taskId",
    "execId",
    "userId",
    "workspaceId",
    "containerId",
    "compId",
    "function",
    "reply_to",
    "protocolVersion",
    "reboundIteration",
    "snapshotEvent",
    "start",
    "end",
    "retry",
    "x-eio-error-response",
    "deduplicationId",
    "x-delivery-count",
    "x-eio-meta-trace-id",
];

/// Whether the value of a header is shown without being asked for.
pub(super) fn is_shown(name: &str, value: &Value) -> bool {
    SHOWN.contains(&name) && !value.is_object() && !value.is_array()
}
