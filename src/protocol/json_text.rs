//! Reads JSON as JavaScript does where `serde_json` is stricter: it allows 1 000 levels of nesting, lone surrogates, and
//! bytes that are not UTF-8.
//!
//! Ordinary messages cost nothing extra: a text is examined again only after `serde_json` has rejected it.

use memchr::{memchr, memchr2};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::Formatter};
use std::{
    borrow::Cow,
    io::{self, Write},
};

/// How many levels of arrays and objects a message may have, the message itself included.
pub(super) const MAX_DEPTH: usize = 1_000;

/// `serde_json` reads only texts with fewer levels than this.
const SERDE_JSON_DEPTH: usize = 127;

/// The stack for reading 1 000 levels into any type. Without optimisation, common types take 4 KB per level. Only the part
/// that is used takes memory.
const STACK: usize = 64 * 1024 * 1024;

/// The stack for writing, which needs less. If the thread has this much left, no new stack is needed.
const STACK_TO_WRITE: usize = 1536 * 1024;

/// Returns the number of levels of arrays and objects in `text`: 0 for a number, 2 for `[[]]`.
pub(super) fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at = end_of_string(text, at + 1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Returns the position of the closing quotation mark of the string whose content begins at `start`.
pub(super) fn end_of_string(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
    text.len()
}

/// Returns the depth of `text` if it is more than [`MAX_DEPTH`].
pub(super) fn excessive_depth(text: &[u8]) -> Option<usize> {
    // A level needs two brackets, and counting brackets is fast. This rules out almost every text.
    let may_be_deep = text.len() > 2 * MAX_DEPTH && opening_brackets(text) > MAX_DEPTH;
    may_be_deep
        .then(|| depth(text))
        .filter(|depth| *depth > MAX_DEPTH)
}

/// Counts opening brackets, those in strings included. The chunks are so short that their counts fit into a byte, which
/// lets the compiler vectorize the loop.
fn opening_brackets(text: &[u8]) -> usize {
    let count = |chunk: &[u8]| {
        chunk
            .iter()
            .map(|byte| u8::from(matches!(byte, b'[' | b'{')))
            .sum::<u8>()
    };
    text.chunks(u8::MAX.into())
        .map(|chunk| usize::from(count(chunk)))
        .sum()
}

/// Replaces every lone surrogate in `text` with U+FFFD. Returns `None` if there is none. The escapes have the same length,
/// so all other bytes keep their positions.
pub(crate) fn without_lone_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut replaced: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                replaced.get_or_insert_with(|| text.to_vec())[at..at + 6]
                    .copy_from_slice(br"\ufffd");
                6
            }
            _ => 2,
        };
    }
    replaced
}

/// Replaces bytes of `text` that are not UTF-8 with U+FFFD. Returns `None` if there are none.
pub(super) fn with_valid_utf8(text: &[u8]) -> Option<String> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(replaced) => Some(replaced),
    }
}

/// Parses a JSON text of up to [`MAX_DEPTH`] levels as a `T`.
pub(super) fn read<T: DeserializeOwned>(
    text: &[u8],
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    // Following the path takes as long as reading itself, so only a text that does not fit is read with its path.
    if let Ok(value) = serde_json::from_slice(text) {
        return Ok(value);
    }
    let error =
        match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
    let depth = depth(text);
    let replaced = without_lone_surrogates(text);
    if depth > MAX_DEPTH || (depth < SERDE_JSON_DEPTH && replaced.is_none()) {
        return Err(error);
    }
    stacker::grow(STACK, || {
        let mut deserializer =
            serde_json::Deserializer::from_slice(replaced.as_deref().unwrap_or(text));
        deserializer.disable_recursion_limit();
        serde_path_to_error::deserialize(&mut deserializer)
    })
}

/// Converts a value of up to [`MAX_DEPTH`] levels into a `T`.
pub(crate) fn read_value<T: DeserializeOwned>(
    value: &Value,
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    if exceeds_depth(value, SERDE_JSON_DEPTH) {
        stacker::grow(STACK, || serde_path_to_error::deserialize(value))
    } else {
        T::deserialize(value).or_else(|_| serde_path_to_error::deserialize(value))
    }
}

fn exceeds_depth(value: &Value, levels: usize) -> bool {
    let deeper = |item: &Value| levels == 0 || exceeds_depth(item, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(members) => members.values().any(deeper),
        _ => false,
    }
}

/// Writes `value` as JSON, up to [`MAX_DEPTH`] levels.
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, DepthLimiter(0));
    stacker::maybe_grow(STACK_TO_WRITE, STACK, || value.serialize(&mut serializer))?;
    Ok(text)
}

/// Writes JSON without white space. A value that is too deep is an error, rather than a stack overflow.
struct DepthLimiter(usize);

impl DepthLimiter {
    fn enter(&mut self) -> io::Result<()> {
        self.0 += 1;
        if self.0 > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "it is nested more than {MAX_DEPTH} levels deep; send it flatter"
            )));
        }
        Ok(())
    }
}

impl Formatter for DepthLimiter {
    fn begin_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"[")
    }

    fn end_array<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0 -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter()?;
        writer.write_all(b"{")
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0 -= 1;
        writer.write_all(b"}")
    }
}

#[cfg(test)]
mod tests;
