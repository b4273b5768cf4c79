//! A hash of what an event says, whatever the order of its members.
//!
//! A module that fills a `HashMap` writes its members in another order in each process. So an object's hash is that of
//! its members in the order of their names. Everything else counts as it is written.

use crate::protocol::{Object, without_lone_surrogates};
use bytes::Bytes;
use memchr::memchr;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A hash of an event's content.
pub(in crate::engine) type ContentHash = [u8; 32];

/// Objects below this depth count as they are written. Each level is parsed by itself, so a text is read as often as it is
/// deep.
const SORTED_LEVELS: u32 = 16;

/// Returns the hash of a message or an error report, without copying it.
pub(in crate::engine) fn content_hash(content: &Object) -> ContentHash {
    hash_members(content, |value| {
        // Two names with different halves of surrogate pairs would be read as the same.
        let levels = match without_lone_surrogates(value) {
            Some(_) => 0,
            None => SORTED_LEVELS,
        };
        hash_value(value, levels)
    })
}

fn hash_value(text: &Bytes, levels: u32) -> ContentHash {
    // Most values have no objects inside.
    let sorted = match text.first() {
        Some(b'{') if levels > 0 => hash_object(text, levels - 1),
        Some(b'[') if levels > 0 && memchr(b'{', text).is_some() => hash_array(text, levels - 1),
        _ => None,
    };
    sorted.unwrap_or_else(|| hash(b'=', &[text]))
}

fn hash_object(text: &Bytes, levels: u32) -> Option<ContentHash> {
    let object = Object::read(text.clone()).ok()?;
    Some(hash_members(&object, |value| hash_value(value, levels)))
}

fn hash_members(object: &Object, hash_value: impl Fn(&Bytes) -> ContentHash) -> ContentHash {
    let mut members: Vec<_> = object
        .iter()
        .map(|(name, value)| (name, hash_value(&value.bytes())))
        .collect();
    members.sort_unstable();
    let parts: Vec<&[u8]> = members
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value])
        .collect();
    hash(b'{', &parts)
}

fn hash_array(text: &Bytes, levels: u32) -> Option<ContentHash> {
    let items: Vec<&RawValue> = serde_json::from_slice(text).ok()?;
    let hashes: Vec<_> = items
        .iter()
        .map(|item| hash_value(&text.slice_ref(item.get().as_bytes()), levels))
        .collect();
    let parts: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    Some(hash(b'[', &parts))
}

/// Hashes parts with their lengths, so that no two lists of parts are the same bytes.
pub(super) fn hash(kind: u8, parts: &[&[u8]]) -> ContentHash {
    let mut sha = Sha256::new_with_prefix([kind]);
    for part in parts {
        sha.update((part.len() as u64).to_le_bytes());
        sha.update(part);
    }
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> ContentHash {
        let message = format!(r#"{{"body":{text}}}"#);
        content_hash(&Object::read(message.into()).unwrap())
    }

    #[test]
    fn the_order_of_members_does_not_count() {
        for (one, other) in [
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#),
            (r#"{"x":[{"a":1,"b":2}]}"#, r#"{"x":[{"b":2,"a":1}]}"#),
            (r#"[{"a":{"c":1,"d":2}}]"#, r#"[{"a":{"d":2,"c":1}}]"#),
        ] {
            assert_eq!(of(one), of(other), "{one}");
        }
    }

    #[test]
    fn the_order_of_a_messages_own_members_does_not_count() {
        let of = |text: &'static str| content_hash(&Object::read(text.into()).unwrap());
        assert_eq!(of(r#"{"body":1,"id":"x"}"#), of(r#"{"id":"x","body":1}"#));
        assert_ne!(of(r#"{"body":1,"id":"x"}"#), of(r#"{"id":"y","body":1}"#));
    }

    #[test]
    fn everything_else_counts() {
        let texts = [
            "{}",
            "[]",
            "null",
            "1",
            "1.0",
            r#""1""#,
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            r#"[{"a":1},{"b":1}]"#,
            r#"[{"b":1},{"a":1}]"#,
            "[1,2]",
            "[2,1]",
            r#"[{},1,2]"#,
            r#"[{},2,1]"#,
            r#"{"a":[1,2]}"#,
            r#"{"a":[2,1]}"#,
            r#"{"a":12}"#,
            r#"{"a1":2}"#,
            r#"{"a":{},"b":{}}"#,
            r#"{"a":{"b":{}}}"#,
            r#"{"n":123456789012345678901234567890}"#,
            r#"{"n":123456789012345678901234567891}"#,
            r#"{"\ud83d":1}"#,
            r#"{"\ud83e":1}"#,
        ];
        let hashes: std::collections::HashSet<_> = texts.into_iter().map(of).collect();
        assert_eq!(hashes.len(), texts.len());
    }

    #[test]
    fn a_deep_text_is_hashed_in_time() {
        let nested = |deepest: &str| {
            let mut text = deepest.to_owned();
            for _ in 0..990 {
                text = format!(r#"{{"a":{text}}}"#);
            }
            text
        };
        assert_eq!(of(&nested("1")), of(&nested("1")));
        assert_ne!(of(&nested("1")), of(&nested("2")));
    }
}
