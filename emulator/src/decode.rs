//! Decodes messages: header tables to and from JSON, and encrypted bodies.

use crate::broker::{AMQPValue, BasicProperties, FieldTable};
use sailor::protocol::{Cipher, Encoding, Headers, Json};
use serde_json::{Map, Value};

/// The header table of a message as JSON.
pub(crate) fn headers_of(properties: &BasicProperties) -> Headers {
    properties
        .headers()
        .as_ref()
        .map(object)
        .unwrap_or_default()
}

fn object(table: &FieldTable) -> Map<String, Value> {
    table
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), json(value)))
        .collect()
}

fn json(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => (*value).into(),
        AMQPValue::ShortShortInt(value) => (*value).into(),
        AMQPValue::ShortShortUInt(value) => (*value).into(),
        AMQPValue::ShortInt(value) => (*value).into(),
        AMQPValue::ShortUInt(value) => (*value).into(),
        AMQPValue::LongInt(value) => (*value).into(),
        AMQPValue::LongUInt(value) => (*value).into(),
        AMQPValue::LongLongInt(value) => (*value).into(),
        AMQPValue::Float(value) => (*value).into(),
        AMQPValue::Double(value) => (*value).into(),
        AMQPValue::DecimalValue(value) => {
            (f64::from(value.value) / 10f64.powi(i32::from(value.scale))).into()
        }
        AMQPValue::ShortString(value) => value.as_str().into(),
        AMQPValue::LongString(value) => value.to_string().into(),
        AMQPValue::FieldArray(values) => values.as_slice().iter().map(json).collect(),
        AMQPValue::Timestamp(value) => (*value).into(),
        AMQPValue::FieldTable(table) => object(table).into(),
        AMQPValue::ByteArray(bytes) => String::from_utf8_lossy(bytes.as_slice()).into(),
        AMQPValue::Void => Value::Null,
    }
}

/// A header table of JSON values, without members that are null and names that are too long for AMQP.
pub(crate) fn table(headers: &Map<String, Value>) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers
        .iter()
        .filter(|(name, value)| !value.is_null() && name.len() < 256)
    {
        table.insert(name.as_str().into(), amqp(value));
    }
    table
}

fn amqp(value: &Value) -> AMQPValue {
    match value {
        Value::Null => AMQPValue::Void,
        Value::Bool(value) => AMQPValue::Boolean(*value),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => {
                i32::try_from(integer).map_or(AMQPValue::LongLongInt(integer), AMQPValue::LongInt)
            }
            (None, fraction) => AMQPValue::Double(fraction.unwrap_or_default()),
        },
        Value::String(text) => AMQPValue::LongString(text.as_str().into()),
        Value::Array(values) => {
            AMQPValue::FieldArray(values.iter().map(amqp).collect::<Vec<_>>().into())
        }
        Value::Object(members) => AMQPValue::FieldTable(table(members)),
    }
}

/// The encoding of a body with these headers.
pub(crate) fn encoding_of(headers: &Headers) -> Encoding {
    Encoding::of(
        headers
            .get("protocolVersion")
            .and_then(Value::as_i64)
            .unwrap_or(1),
    )
}

/// Decrypts a body and parses its JSON. The error does not contain any of it.
pub(crate) fn open(cipher: &Cipher, body: &[u8], encoding: Encoding) -> Result<Value, String> {
    let plain = cipher
        .decrypt(body, encoding)
        .map_err(|error| error.to_string())?;
    plain_json(&plain)
}

/// Parses JSON that is not encrypted.
pub(crate) fn plain_json(text: &[u8]) -> Result<Value, String> {
    let json = Json::from_text(text.to_vec().into()).map_err(|error| error.to_string())?;
    json.parse().map_err(|error| error.to_string())
}

/// Reads the body of an error event: both members are encrypted (wire-contract: Error event body). An input that cannot be
/// decrypted stays unchanged: it may be the cause of the error.
pub(crate) fn open_error(cipher: &Cipher, body: &[u8]) -> Result<Value, String> {
    let Value::Object(mut members) = plain_json(body)? else {
        return Err("an error event must be a JSON object".into());
    };
    for (name, member) in &mut members {
        let Value::String(sealed) = &*member else {
            continue;
        };
        match open(cipher, sealed.as_bytes(), Encoding::Base64) {
            Ok(plain) => *member = plain,
            Err(_) if name == "errorInput" => {}
            Err(why) => return Err(format!("{name}: {why}")),
        }
    }
    Ok(members.into())
}
