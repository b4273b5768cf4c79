//! Published messages in clear text.

use super::record::Published;
use lapin::{
    BasicProperties,
    message::BasicGetMessage,
    types::{AMQPValue, FieldTable, ShortString},
};
use sailor::protocol::{Cipher, Encoding};
use serde_json::{Value, json};

/// A message in the terms of the recordings. `inputs` are the payloads that the component was sent.
pub(super) fn published(
    message: &BasicGetMessage,
    cipher: &Cipher,
    inputs: &[Vec<u8>],
) -> Published {
    let delivery = &message.delivery;
    let headers = delivery.properties.headers().as_ref();
    let headers = headers.map_or(json!({}), table);
    let key = delivery.routing_key.to_string();
    Published {
        body: body(&key, &headers, &delivery.data, cipher, inputs),
        props: properties(&delivery.properties),
        headers,
        key,
    }
}

/// A body in clear text, by the rules of the event that the routing key stands for.
fn body(key: &str, headers: &Value, bytes: &[u8], cipher: &Cipher, inputs: &[Vec<u8>]) -> Value {
    let undecodable = || json!("<undecodable>");
    let open = |bytes: &[u8], protocol| {
        let plain = cipher
            .decrypt(bytes, Encoding::of(protocol))
            .unwrap_or_default();
        serde_json::from_slice(&plain).unwrap_or_else(|_| undecodable())
    };
    let protocol = headers
        .get("protocolVersion")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    match key {
        "error.key" => match serde_json::from_slice(bytes) {
            Ok(Value::Object(parts)) => {
                let part = |value: Value| {
                    value
                        .as_str()
                        .map(|text| open(text.as_bytes(), 1))
                        .unwrap_or(value)
                };
                parts
                    .into_iter()
                    .map(|(name, value)| (name, part(value)))
                    .collect()
            }
            _ => undecodable(),
        },
        "snapshot.key" => serde_json::from_slice(bytes).unwrap_or_else(|_| undecodable()),
        "rebound.key" => {
            json!({ "same_bytes_as_input": inputs.iter().any(|input| input == bytes) })
        }
        _ if headers.get("x-eio-error-response").is_some() => open(bytes, 1),
        _ => open(bytes, protocol),
    }
}

fn properties(properties: &BasicProperties) -> Value {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| json!(text.as_str()));
    let number = |value: &Option<u8>| value.map(|number| json!(number));
    [
        ("content_type", text(properties.content_type())),
        ("content_encoding", text(properties.content_encoding())),
        ("delivery_mode", number(properties.delivery_mode())),
        ("expiration", text(properties.expiration())),
        ("correlation_id", text(properties.correlation_id())),
        ("reply_to", text(properties.reply_to())),
        ("message_id", text(properties.message_id())),
        ("priority", number(properties.priority())),
        ("type", text(properties.kind())),
        ("app_id", text(properties.app_id())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn table(table: &FieldTable) -> Value {
    table
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), header(value)))
        .collect()
}

fn header(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::FieldTable(value) => table(value),
        AMQPValue::Void => Value::Null,
        other => json!(format!("<unexpected type: {:?}>", other.get_type())),
    }
}
