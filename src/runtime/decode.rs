//! From a delivery's bytes to the message that the module sees (contract §4).

use crate::protocol::{
    Cipher, Encoding, Headers, Incoming, Json, Object,
    headers::{OBJECT_ID_HEADER, ROUTING_KEY_HEADER},
};
use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Decrypts a message. Its `headers` are an object afterwards, with the transport's `reply_to` among them.
pub(super) fn message(cipher: &Cipher, incoming: &Incoming, body: &Bytes) -> anyhow::Result<Object> {
    let plain = cipher.open(body, Encoding::of(incoming.protocol_version)).context("reading the incoming message")?;
    let mut message = Object::read(plain.into()).context("reading the incoming message")?;
    let mut headers = headers_of(&message);
    if let Some(reply_to) = &incoming.reply_to {
        headers.insert("reply_to".to_owned(), reply_to.as_str().into());
    }
    message.set("headers", Json::of(&headers)?);
    Ok(message)
}

/// Reads an error event as the input of an error handler step (contract §4.4): `error` and `errorInput` are
/// decrypted, other members stay, and the transport's headers become the message's.
pub(super) fn error_event(cipher: &Cipher, headers: &Headers, body: &Bytes) -> anyhow::Result<Object> {
    let mut event = Object::read(body.clone()).context("reading the incoming error event")?;
    for name in ["error", "errorInput"] {
        let Some(sealed) = event.get(name).filter(|json| !json.is_empty()) else { continue };
        // Without serde's own words: they repeat the value.
        let Ok(sealed) = sealed.parse::<String>() else {
            anyhow::bail!("`{name}` of the incoming error event is no text")
        };
        let plain = cipher
            .open(sealed.as_bytes(), Encoding::Base64)
            .with_context(|| format!("`{name}` of the incoming error event"))?;
        let plain = Json::checked(plain.into()).with_context(|| format!("`{name}` of the incoming error event"))?;
        event.set(name, plain);
    }
    let mut message = Object::new();
    message.set("headers", Json::of(headers)?);
    message.set("body", event.to_json());
    Ok(message)
}

/// A message's own headers; whatever is no object counts as none.
pub(super) fn headers_of(message: &Object) -> Map<String, Value> {
    message.get("headers").and_then(|headers| headers.parse().ok()).unwrap_or_default()
}

/// The id of a body that is kept in object storage.
pub(super) fn object_id(headers: &Map<String, Value>) -> Option<&str> {
    headers.get(OBJECT_ID_HEADER).and_then(Value::as_str).filter(|id| !id.is_empty())
}

/// Takes the module's own routing key out of a message's headers, whatever its letter case.
pub(super) fn take_routing_key(headers: &mut Map<String, Value>) -> Option<String> {
    let names: Vec<_> = headers.keys().filter(|n| n.eq_ignore_ascii_case(ROUTING_KEY_HEADER)).cloned().collect();
    let mut key = None;
    for name in names {
        key = headers.remove(&name).and_then(|value| value.as_str().map(str::to_owned)).or(key);
    }
    key.filter(|key| !key.is_empty())
}
