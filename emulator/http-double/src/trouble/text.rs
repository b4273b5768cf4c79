//! The text of JSON bodies: what their lists contain, and how they are encoded.

use super::Encoding;
use serde_json::Value;

/// Stands for half a surrogate pair until the text is written: Rust's texts cannot contain one. It is a character for
/// private use, which no test needs.
const HALF: char = '\u{f8ff}';
/// The first half of the pairs of most emojis.
const HALF_ESCAPED: &str = "\\ud83d";

/// Whether an object at any depth has one of these ids.
pub(super) fn contains_id(value: &Value, ids: &[String]) -> bool {
    match value {
        Value::Array(values) => values.iter().any(|value| contains_id(value, ids)),
        Value::Object(members) => members.iter().any(|(name, value)| {
            (name.eq_ignore_ascii_case("id") && is_one_of(value, ids)) || contains_id(value, ids)
        }),
        _ => false,
    }
}

fn is_one_of(value: &Value, ids: &[String]) -> bool {
    match value {
        Value::String(text) => ids.contains(text),
        Value::Number(number) => ids.contains(&number.to_string()),
        _ => false,
    }
}

/// Whether the arrays nearest to the top of a body are empty. False when there are none.
pub(super) fn has_empty_list(body: &Value) -> bool {
    let mut level = vec![body];
    while !level.is_empty() {
        let mut lists = level.iter().filter_map(|value| value.as_array()).peekable();
        if lists.peek().is_some() {
            return lists.all(Vec::is_empty);
        }
        let objects = level.iter().filter_map(|value| value.as_object());
        level = objects.flat_map(|members| members.values()).collect();
    }
    false
}

/// Removes the empty arrays, and the objects that were left without members by it.
pub(super) fn without_empty_lists(body: &mut Value) {
    let Value::Object(members) = body else {
        *body = Value::Object(Default::default());
        return;
    };
    members.retain(|_, value| !value.as_array().is_some_and(Vec::is_empty));
    let objects = members.values_mut().filter(|value| value.is_object());
    objects.for_each(without_empty_lists);
}

/// Lets the texts of these members end with half a surrogate pair. [`written`] writes it.
pub(super) fn cut_texts(value: &mut Value, names: &[String]) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| cut_texts(value, names)),
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(text) if names.contains(name) => text.push(HALF),
                    value => cut_texts(value, names),
                }
            }
        }
        _ => {}
    }
}

/// A body as JSON, with the halves of surrogate pairs.
pub(super) fn written(body: &Value) -> String {
    body.to_string().replace(HALF, HALF_ESCAPED)
}

/// JSON in this encoding.
pub(super) fn encoded(text: &str, encoding: Encoding) -> Vec<u8> {
    let utf_16 = |bom: &str, bytes: fn(u16) -> [u8; 2]| {
        let units = bom.encode_utf16().chain(text.encode_utf16());
        units.flat_map(bytes).collect()
    };
    const BOM: &str = "\u{feff}";
    match encoding {
        Encoding::Utf8Bom => [BOM, text].concat().into_bytes(),
        Encoding::Utf16Le => utf_16("", u16::to_le_bytes),
        Encoding::Utf16LeBom => utf_16(BOM, u16::to_le_bytes),
        Encoding::Utf16Be => utf_16("", u16::to_be_bytes),
        Encoding::Utf16BeBom => utf_16(BOM, u16::to_be_bytes),
        Encoding::Latin1 | Encoding::Latin1Undeclared => latin_1(text),
    }
}

/// JSON in ISO-8859-1. Characters that it does not have can only be in texts, where they are escaped.
fn latin_1(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u8::try_from(character) {
            Ok(byte) => bytes.push(byte),
            Err(_) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    bytes.extend(format!("\\u{unit:04x}").bytes());
                }
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_are_found_at_any_depth() {
        let ids = ["7".to_owned(), "b".to_owned()];
        for (body, found) in [
            (json!({ "items": [{ "id": 7 }] }), true),
            (json!([[{ "x": { "Id": "b" } }]]), true),
            (json!({ "items": [{ "id": 8, "name": "b" }] }), false),
            (json!("b"), false),
        ] {
            assert_eq!(contains_id(&body, &ids), found, "{body}");
        }
    }

    #[test]
    fn the_list_is_nearest_to_the_top() {
        for (body, empty) in [
            (json!([]), true),
            (json!({ "records": [], "total": 0 }), true),
            (json!({ "QueryResponse": { "Item": [] } }), true),
            (json!({ "a": [], "b": [1] }), false),
            (json!({ "a": [{ "tags": [] }] }), false),
            (json!({ "total": 0 }), false),
        ] {
            assert_eq!(has_empty_list(&body), empty, "{body}");
        }
    }

    #[test]
    fn latin_1_escapes_what_it_does_not_have() {
        let expected = b"\"\xe9 \\u20ac \\ud83d\\ude00\"";
        assert_eq!(encoded("\"é € 😀\"", Encoding::Latin1), expected);
    }
}
