//! JSON text as JavaScript reads it, where serde_json is stricter: nested up to a thousand levels, with halves of
//! surrogate pairs, with bytes that are not UTF-8.
//!
//! What most messages hold costs nothing here: a text is looked at again only when serde_json has refused it.

use memchr::{memchr, memchr2};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, ser::Formatter};
use std::{
    borrow::Cow,
    io::{self, Write},
};

/// How deep arrays and objects may be nested in a message, the message itself included.
pub(super) const MAX_DEPTH: usize = 1_000;

/// Below this, serde_json reads what it is given.
const DEEP: usize = 127;

/// Room to read a thousand levels into any type: without optimisation, usual ones take 4 KB for each. Only what is used
/// of it becomes memory.
const STACK: usize = 64 * 1024 * 1024;

/// Writing takes less: what is left of a thread's stack will do, when it is this much.
const ROOM_TO_WRITE: usize = 1536 * 1024;

/// How deep arrays and objects are nested in `text`: 0 for a number, 2 for `[[]]`.
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

/// Where the string ends that begins at `start`, behind its quotation mark.
fn end_of_string(text: &[u8], start: usize) -> usize {
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

/// The depth of `text`, when it is more than [`MAX_DEPTH`].
pub(super) fn excessive_depth(text: &[u8]) -> Option<usize> {
    // Every level takes a bracket at both ends. Most texts are too short for that, or have too few, and counting is quick.
    let may_be = text.len() > 2 * MAX_DEPTH && opening_brackets(text) > MAX_DEPTH;
    may_be
        .then(|| depth(text))
        .filter(|depth| *depth > MAX_DEPTH)
}

/// How many there are, in strings too. In chunks whose counts fit a byte, which compilers make vectors of.
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

/// `text` with U+FFFD in the place of every half of a surrogate pair that stands alone; none when there is none. All
/// else stays where it is: an escape is as long as another.
pub(crate) fn without_lone_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(br"\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut mended: Option<Vec<u8>> = None;
    let mut at = 0;
    while let Some(found) = text.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += found;
        at += match unit(at) {
            Some(0xd800..=0xdbff) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            Some(0xd800..=0xdfff) => {
                mended.get_or_insert_with(|| text.to_vec())[at..at + 6].copy_from_slice(br"\ufffd");
                6
            }
            _ => 2,
        };
    }
    mended
}

/// `text` with U+FFFD for bytes that are not UTF-8; none when there are none.
pub(super) fn with_valid_utf8(text: &[u8]) -> Option<String> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(_) => None,
        Cow::Owned(mended) => Some(mended),
    }
}

/// Reads a `T` from a text that is JSON, at any depth up to [`MAX_DEPTH`].
pub(super) fn read<T: DeserializeOwned>(
    text: &[u8],
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    let error =
        match serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(text)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
    let depth = depth(text);
    let mended = without_lone_surrogates(text);
    if depth > MAX_DEPTH || (depth < DEEP && mended.is_none()) {
        return Err(error);
    }
    stacker::grow(STACK, || {
        let mut deserializer =
            serde_json::Deserializer::from_slice(mended.as_deref().unwrap_or(text));
        deserializer.disable_recursion_limit();
        serde_path_to_error::deserialize(&mut deserializer)
    })
}

/// Reads a `T` from a value that was read from such a text.
pub(crate) fn read_value<T: DeserializeOwned>(
    value: &Value,
) -> Result<T, serde_path_to_error::Error<serde_json::Error>> {
    if !deeper_than(value, DEEP) {
        serde_path_to_error::deserialize(value)
    } else {
        stacker::grow(STACK, || serde_path_to_error::deserialize(value))
    }
}

fn deeper_than(value: &Value, levels: usize) -> bool {
    let deeper = |item: &Value| levels == 0 || deeper_than(item, levels - 1);
    match value {
        Value::Array(items) => items.iter().any(deeper),
        Value::Object(members) => members.values().any(deeper),
        _ => false,
    }
}

/// Writes `value` as JSON, up to [`MAX_DEPTH`].
pub(super) fn write<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Shallow(0));
    stacker::maybe_grow(ROOM_TO_WRITE, STACK, || value.serialize(&mut serializer))?;
    Ok(text)
}

/// Writes JSON without white space, and refuses to go too deep: a value of any depth is an error, not the end of the stack.
struct Shallow(usize);

impl Shallow {
    fn enter(&mut self) -> io::Result<()> {
        self.0 += 1;
        if self.0 > MAX_DEPTH {
            return Err(io::Error::other(format!(
                "it is nested more than {MAX_DEPTH} levels deep: send it flatter"
            )));
        }
        Ok(())
    }
}

impl Formatter for Shallow {
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
