//! Header tables, as AMQP writes them, to JSON and back.
//!
//! Every type of value can be read. Numbers are written in the narrowest signed type that holds them, as the platform's
//! other sailors do (wire-contract: Header value types).

use super::guard::tables::{short_text, value_len};
use crate::protocol::Headers;
use lapin::types::ShortString;
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Reads a table as JSON. What cannot be read ends the table that it is in; the [guard](super::guard) has repaired it.
pub(super) fn to_json(table: &[u8]) -> Headers {
    let entries = entries(table);
    entries
        .map(|(name, value)| (text(name), value_to_json(value)))
        .collect()
}

/// Returns the value of a header.
pub(super) fn get(table: &[u8], name: &str) -> Option<Value> {
    let of_name = entries(table).filter(|(of, _)| *of == name.as_bytes());
    of_name.last().map(|(_, value)| value_to_json(value))
}

/// Returns a header that is a number, of any type. A text is not a number.
pub(super) fn get_number(table: &[u8], name: &str) -> Option<i64> {
    let number = get(table, name)?;
    number
        .as_i64()
        .or_else(|| number.as_f64().map(|float| float as i64))
}

/// Returns a table with these headers added, in place of those that have the same names. All others stay byte by byte. Of
/// headers with the same name, the last one stays.
pub(super) fn with(table: &[u8], added: &Headers) -> Vec<u8> {
    let mut others: BTreeMap<_, _> = entries(table).collect();
    others.retain(|name, _| !added.keys().any(|key| key.as_bytes() == *name));
    let mut bytes = Vec::with_capacity(table.len() + 64);
    with_length(&mut bytes, |bytes| {
        for (name, value) in others {
            bytes.push(name.len() as u8);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
        }
        write_entries(bytes, added);
    });
    bytes
}

/// Writes a table. Names that [`check_names`] does not allow are left out.
pub(super) fn write(bytes: &mut Vec<u8>, headers: &Headers) {
    with_length(bytes, |bytes| write_entries(bytes, headers));
}

/// Returns an error that names the first header whose name is too long for AMQP.
pub(super) fn check_names(headers: &Headers) -> Result<(), String> {
    headers.iter().try_for_each(|(name, value)| {
        check_short(name, "the header name")?;
        check_names_in(value)
    })
}

fn check_names_in(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_names_in),
        Value::Object(object) => check_names(object),
        _ => Ok(()),
    }
}

/// Converts a text to a short string. `what` names it in the error.
pub(super) fn short(text: &str, what: &str) -> Result<ShortString, String> {
    ShortString::try_new(text).map_err(|_| too_long(text, what))
}

/// The longest short string, in bytes.
const MAX_SHORT: usize = 255;

fn check_short(text: &str, what: &str) -> Result<(), String> {
    (text.len() <= MAX_SHORT)
        .then_some(())
        .ok_or_else(|| too_long(text, what))
}

fn too_long(text: &str, what: &str) -> String {
    let start: String = text.chars().take(40).collect();
    format!(
        "{what} \"{start}…\" has {} bytes, but AMQP allows {MAX_SHORT}: shorten it",
        text.len()
    )
}

/// The names and values of a table. Values begin with their type.
fn entries(table: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = table.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (name, after) = short_text(rest)?;
        let (value, after) = after.split_at_checked(value_len(after)?)?;
        rest = after;
        Some((name, value))
    })
}

/// The values of an array. Each begins with its type.
fn items(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = array.get(4..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (value, after) = rest.split_at_checked(value_len(rest)?)?;
        rest = after;
        Some(value)
    })
}

fn value_to_json(value: &[u8]) -> Value {
    let Some((kind, bytes)) = value.split_first() else {
        return Value::Null;
    };
    match kind {
        b't' => (bytes != [0]).into(),
        b'b' => i8::from_be_bytes(fixed(bytes)).into(),
        b'B' => u8::from_be_bytes(fixed(bytes)).into(),
        b's' | b'U' => i16::from_be_bytes(fixed(bytes)).into(),
        b'u' => u16::from_be_bytes(fixed(bytes)).into(),
        b'I' => i32::from_be_bytes(fixed(bytes)).into(),
        b'i' => u32::from_be_bytes(fixed(bytes)).into(),
        b'l' | b'L' => i64::from_be_bytes(fixed(bytes)).into(),
        b'T' => u64::from_be_bytes(fixed(bytes)).into(),
        b'f' => f64::from(f32::from_be_bytes(fixed(bytes))).into(),
        b'd' => f64::from_be_bytes(fixed(bytes)).into(),
        b'D' => decimal(fixed(bytes)),
        b'S' | b'x' => text(bytes.get(4..).unwrap_or_default()).into(),
        b'A' => items(bytes).map(value_to_json).collect(),
        b'F' => Value::Object(to_json(bytes)),
        _ => Value::Null,
    }
}

/// A value of fixed length.
fn fixed<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    bytes.first_chunk().copied().unwrap_or([0; LENGTH])
}

fn decimal([scale, value @ ..]: [u8; 5]) -> Value {
    let value = u32::from_be_bytes(value);
    match scale {
        0 => value.into(),
        _ => (f64::from(value) / 10f64.powi(scale.into())).into(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Writes what `write` does, and its length before it.
fn with_length(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; 4]);
    write(bytes);
    let length = (bytes.len() - start - 4) as u32;
    bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

fn write_entries(bytes: &mut Vec<u8>, headers: &Headers) {
    for (name, value) in headers {
        if let Ok(length) = u8::try_from(name.len()) {
            bytes.push(length);
            bytes.extend_from_slice(name.as_bytes());
            write_value(bytes, value);
        }
    }
}

fn write_value(bytes: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => bytes.push(b'V'),
        Value::Bool(b) => bytes.extend_from_slice(&[b't', u8::from(*b)]),
        Value::Number(number) => write_number(bytes, number),
        Value::String(text) => {
            bytes.push(b'S');
            with_length(bytes, |bytes| bytes.extend_from_slice(text.as_bytes()));
        }
        Value::Array(items) => {
            bytes.push(b'A');
            with_length(bytes, |bytes| {
                items.iter().for_each(|item| write_value(bytes, item));
            });
        }
        Value::Object(object) => {
            bytes.push(b'F');
            write(bytes, object);
        }
    }
}

/// By hand, because the sailors that read the table run on JavaScript, which does not distinguish 2 from 2.0.
fn write_number(bytes: &mut Vec<u8>, number: &Number) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(whole) = number.as_i64() {
        return write_integer(bytes, whole);
    }
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => {
            write_integer(bytes, float as i64);
        }
        Some(float) => {
            bytes.push(b'd');
            bytes.extend_from_slice(&float.to_be_bytes());
        }
        None => bytes.push(b'V'),
    }
}

/// Writes an integer in the narrowest signed type.
fn write_integer(bytes: &mut Vec<u8>, number: i64) {
    if let Ok(n) = i8::try_from(number) {
        bytes.extend_from_slice(&[b'b', n as u8]);
    } else if let Ok(n) = i16::try_from(number) {
        bytes.push(b's');
        bytes.extend_from_slice(&n.to_be_bytes());
    } else if let Ok(n) = i32::try_from(number) {
        bytes.push(b'I');
        bytes.extend_from_slice(&n.to_be_bytes());
    } else {
        bytes.push(b'l');
        bytes.extend_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests;
