//! Header tables: AMQP field tables to JSON and back.
//!
//! Every type of value can be read. Numbers are written in the narrowest signed type that holds them, as the platform's
//! other sailors do (wire-contract: Header value types).

use crate::protocol::Headers;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use serde_json::{Number, Value};
use std::collections::BTreeMap;

/// Converts a field table to JSON.
pub(super) fn to_json(table: &FieldTable) -> Headers {
    table
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), value_to_json(value)))
        .collect()
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

/// Converts JSON to a field table. Names that [`check_names`] does not allow are left out.
pub(super) fn from_json(headers: &Headers) -> FieldTable {
    let members = headers.iter().filter_map(|(name, value)| {
        let name = ShortString::try_new(name.as_str()).ok()?;
        Some((name, value_from_json(value)))
    });
    members.collect::<BTreeMap<_, _>>().into()
}

/// Converts an integer to the narrowest signed type.
pub(super) fn integer(number: i64) -> AMQPValue {
    if let Ok(n) = i8::try_from(number) {
        AMQPValue::ShortShortInt(n)
    } else if let Ok(n) = i16::try_from(number) {
        AMQPValue::ShortInt(n)
    } else if let Ok(n) = i32::try_from(number) {
        AMQPValue::LongInt(n)
    } else {
        AMQPValue::LongLongInt(number)
    }
}

/// Reads a number of any type on the wire. A text is not a number.
pub(super) fn as_number(value: &AMQPValue) -> Option<i64> {
    match value_to_json(value) {
        Value::Number(number) => number
            .as_i64()
            .or_else(|| number.as_f64().map(|float| float as i64)),
        _ => None,
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

/// The length of a table on the wire, in bytes.
pub(super) fn encoded_len(table: &FieldTable) -> usize {
    4 + table
        .into_iter()
        .map(|(name, value)| 1 + name.as_str().len() + encoded_value_len(value))
        .sum::<usize>()
}

fn encoded_value_len(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(text) => 4 + text.as_str().len(),
        AMQPValue::LongString(text) => 4 + text.len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.len(),
        AMQPValue::FieldArray(items) => {
            4 + items
                .as_slice()
                .iter()
                .map(encoded_value_len)
                .sum::<usize>()
        }
        AMQPValue::FieldTable(table) => encoded_len(table),
    }
}

fn value_to_json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Void => Value::Null,
        AMQPValue::Boolean(b) => (*b).into(),
        AMQPValue::ShortShortInt(n) => (*n).into(),
        AMQPValue::ShortShortUInt(n) => (*n).into(),
        AMQPValue::ShortInt(n) => (*n).into(),
        AMQPValue::ShortUInt(n) => (*n).into(),
        AMQPValue::LongInt(n) => (*n).into(),
        AMQPValue::LongUInt(n) => (*n).into(),
        AMQPValue::LongLongInt(n) => (*n).into(),
        AMQPValue::Timestamp(n) => (*n).into(),
        AMQPValue::Float(n) => f64::from(*n).into(),
        AMQPValue::Double(n) => (*n).into(),
        AMQPValue::DecimalValue(n) if n.scale == 0 => n.value.into(),
        AMQPValue::DecimalValue(n) => (f64::from(n.value) / 10f64.powi(n.scale.into())).into(),
        AMQPValue::ShortString(text) => text.as_str().into(),
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(value_to_json).collect(),
        AMQPValue::FieldTable(table) => Value::Object(to_json(table)),
    }
}

fn value_from_json(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(b) => AMQPValue::Boolean(*b),
        Value::Number(number) => number_from_json(number),
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(value_from_json).collect();
            AMQPValue::FieldArray(FieldArray::from(items))
        }
        Value::Object(object) => AMQPValue::FieldTable(from_json(object)),
    }
}

/// Written by hand, because the sailors that read the table run on JavaScript, which does not distinguish 2 from 2.0.
fn number_from_json(number: &Number) -> AMQPValue {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if let Some(whole) = number.as_i64() {
        return integer(whole);
    }
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() <= EXACT => integer(float as i64),
        Some(float) => AMQPValue::Double(float),
        None => AMQPValue::Void,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::{ByteArray, DecimalValue};
    use serde_json::json;

    fn table(value: AMQPValue) -> FieldTable {
        let mut table = FieldTable::default();
        table.insert("h".into(), value);
        table
    }

    #[test]
    fn every_amqp_value_type_is_read_as_json() {
        let nested = AMQPValue::FieldTable(table(AMQPValue::FieldArray(FieldArray::from(vec![
            AMQPValue::Boolean(true),
            AMQPValue::Void,
        ]))));
        for (wire, expected) in [
            (AMQPValue::ShortShortInt(-3), json!(-3)),
            (AMQPValue::ShortShortUInt(200), json!(200)),
            (AMQPValue::ShortInt(-300), json!(-300)),
            (AMQPValue::ShortUInt(60_000), json!(60_000)),
            (AMQPValue::LongInt(-70_000), json!(-70_000)),
            (AMQPValue::LongUInt(4_000_000_000), json!(4_000_000_000_u32)),
            (AMQPValue::LongLongInt(i64::MIN), json!(i64::MIN)),
            (AMQPValue::Timestamp(u64::MAX), json!(u64::MAX)),
            (AMQPValue::Float(0.5), json!(0.5)),
            (AMQPValue::Double(1.25), json!(1.25)),
            (AMQPValue::Double(f64::NAN), json!(null)),
            (
                AMQPValue::DecimalValue(DecimalValue {
                    scale: 2,
                    value: 275,
                }),
                json!(2.75),
            ),
            (
                AMQPValue::DecimalValue(DecimalValue { scale: 0, value: 7 }),
                json!(7),
            ),
            (AMQPValue::ShortString("s".into()), json!("s")),
            (AMQPValue::LongString("ü".into()), json!("ü")),
            (
                AMQPValue::LongString(vec![0xff_u8].into()),
                json!("\u{fffd}"),
            ),
            (
                AMQPValue::ByteArray(ByteArray::from(b"x".as_slice())),
                json!("x"),
            ),
            (AMQPValue::Void, json!(null)),
            (nested, json!({"h": [true, null]})),
        ] {
            assert_eq!(to_json(&table(wire.clone()))["h"], expected, "{wire:?}");
        }
    }

    #[test]
    fn json_numbers_are_written_in_the_narrowest_type() {
        for (value, expected) in [
            (json!(0), AMQPValue::ShortShortInt(0)),
            (json!(127), AMQPValue::ShortShortInt(127)),
            (json!(-128), AMQPValue::ShortShortInt(-128)),
            (json!(128), AMQPValue::ShortInt(128)),
            (json!(-32_768), AMQPValue::ShortInt(-32_768)),
            (json!(32_768), AMQPValue::LongInt(32_768)),
            (
                json!(2_147_483_648_i64),
                AMQPValue::LongLongInt(2_147_483_648),
            ),
            (
                json!(1_700_000_000_000_i64),
                AMQPValue::LongLongInt(1_700_000_000_000),
            ),
            (json!(2.0), AMQPValue::ShortShortInt(2)),
            (json!(2.5), AMQPValue::Double(2.5)),
            (
                json!(u64::MAX),
                AMQPValue::Double(18_446_744_073_709_551_615.0),
            ),
            (json!(true), AMQPValue::Boolean(true)),
            (json!("ü"), AMQPValue::LongString("ü".into())),
            (json!(null), AMQPValue::Void),
            (
                json!([1]),
                AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::ShortShortInt(1)])),
            ),
            (
                json!({"h": 1}),
                AMQPValue::FieldTable(table(AMQPValue::ShortShortInt(1))),
            ),
        ] {
            let Value::Object(headers) = json!({ "h": value }) else {
                unreachable!()
            };
            assert_eq!(from_json(&headers), table(expected), "{value}");
        }
    }

    #[test]
    fn a_header_name_over_255_bytes_is_named_in_the_error() {
        let headers = Headers::from_iter([("n".repeat(256), json!(1))]);
        let error = check_names(&headers).unwrap_err();
        assert!(
            error.contains("nnnn") && error.contains("256 bytes"),
            "{error}"
        );
    }

    #[test]
    fn only_numeric_values_are_read_as_numbers() {
        for (value, expected) in [
            (AMQPValue::ShortShortUInt(3), Some(3)),
            (AMQPValue::LongLongInt(3), Some(3)),
            (AMQPValue::Double(3.0), Some(3)),
            (AMQPValue::LongString("3".into()), None),
            (AMQPValue::Boolean(true), None),
        ] {
            assert_eq!(as_number(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn the_measured_table_length_equals_the_encoded_length() {
        let Value::Object(headers) =
            json!({"a": "xyz", "n": 1, "l": [null, 300], "t": {"b": true}})
        else {
            unreachable!()
        };
        // 4 + (1+1+1+4+3) + (1+1+1+1) + (1+1+1+4+1+3) + (1+1+1+4+(1+1+1+1))
        assert_eq!(encoded_len(&from_json(&headers)), 4 + 10 + 4 + 11 + 11);
    }
}
