//! Reads what servers send: JSON as far as it can be read, or a form, regardless of the content type.

use crate::protocol::without_lone_surrogates;
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, fmt};

/// The byte order mark that some servers write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// The members that a form of a token endpoint can have. Any text with an equals sign could be taken for a form, so a form
/// has at least one of these.
const FORM_MEMBERS: [&str; 2] = ["access_token", "error"];

/// Returns the members of a JSON object, of the first object in a list, or of a form of a token endpoint.
pub(crate) fn lenient_members(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return first_object(json);
    }
    // Another encoding of Unicode has a byte order mark. Bytes that fit no encoding become U+FFFD.
    let (text, _, _) = encoding_rs::UTF_8.decode(body);
    let members = parse_leniently(&text);
    if !members.is_empty() {
        return Some(members);
    }
    let text = text.trim();
    let decoded = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let form: Map<_, _> = pairs
        .map(|(name, value)| (decoded(name), Value::String(decoded(value))))
        .collect();
    let is_form = FORM_MEMBERS.iter().any(|name| form.contains_key(*name));
    is_form.then_some(form)
}

/// Returns whether a body begins as a JSON object.
pub(crate) fn begins_as_object(body: &[u8]) -> bool {
    let start = body.trim_ascii_start();
    let start = start.strip_prefix(BOM).unwrap_or(start);
    start.trim_ascii_start().starts_with(b"{")
}

fn first_object(json: Value) -> Option<Map<String, Value>> {
    match json {
        Value::Object(members) => Some(members),
        Value::Array(items) => items.into_iter().find_map(first_object),
        _ => None,
    }
}

/// Reads a JSON object up to its first mistake. Members that are nested too deep are left out.
fn parse_leniently(text: &str) -> Map<String, Value> {
    let mut members = Map::new();
    let repaired = repaired(text);
    // The position and the reason of the mistake do not matter.
    let _ = MembersVisitor(&mut members)
        .deserialize(&mut serde_json::Deserializer::from_str(&repaired));
    members
}

/// Keeps the members that were read before a mistake.
struct MembersVisitor<'a>(&'a mut Map<String, Value>);

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            if let Ok(value) = serde_json::from_str(value.get()) {
                self.0.insert(name, value);
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for MembersVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

/// Repairs what lenient JSON readers accept: halves of surrogate pairs, and control characters in texts.
fn repaired(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_ascii_control();
    let text: Cow<'_, str> = if text.contains(is_control) {
        text.replace(is_control, " ").into()
    } else {
        text.into()
    };
    match without_lone_surrogates(text.as_bytes()).map(String::from_utf8) {
        Some(Ok(repaired)) => repaired.into(),
        _ => text,
    }
}
