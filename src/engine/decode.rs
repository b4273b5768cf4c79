//! Turns a delivery's bytes into the message that the module sees (wire-contract: Payloads).

use crate::protocol::{
    Cipher, CipherError, Encoding, Headers, IncomingHeaders, Json, Object,
    headers::{OBJECT_ID_HEADER, ROUTING_KEY_HEADER},
};
use anyhow::Context as _;
use bytes::Bytes;
use serde_json::{Map, Value};

/// Reads a decrypted message. Its `headers` become an object that contains the transport's `reply_to`; the text of all other
/// members is unchanged.
pub(super) fn message(
    incoming: &IncomingHeaders,
    payload: Result<Bytes, CipherError>,
) -> anyhow::Result<Object> {
    const READING: &str = "reading the incoming message";
    // With another vector, only the beginning of a decrypted message is wrong.
    const PARSING: &str = "reading the incoming message; if each one fails so, compare ELASTICIO_MESSAGE_CRYPTO_IV and \
                           ELASTICIO_MESSAGE_CRYPTO_PASSWORD with those of the step before";
    let mut message = Object::read(payload.context(READING)?).context(PARSING)?;
    let headers = message.get("headers").filter(|headers| headers.is_object());
    if headers.is_none() || incoming.reply_to.is_some() {
        let mut headers = header_texts(&message);
        if let Some(reply_to) = &incoming.reply_to {
            headers.set("reply_to", Json::of(reply_to)?);
        }
        message.set("headers", headers.to_json());
    }
    Ok(message)
}

/// Reads an error event as the input of an error handler step (wire-contract: Error events as input). `error` and
/// `errorInput` are decrypted, other members stay, and the transport's headers become the message's.
pub(super) fn error_event(
    cipher: &Cipher,
    headers: &Headers,
    body: &Bytes,
) -> anyhow::Result<Object> {
    let mut event = Object::read(body.clone()).context("reading the incoming error event")?;
    for name in ["error", "errorInput"] {
        let Some(sealed) = event.get(name).filter(|json| !json.is_empty()) else {
            continue;
        };
        // Serde's own error text would contain the value.
        let Ok(sealed) = sealed.parse::<String>() else {
            anyhow::bail!("`{name}` of the incoming error event is not a text")
        };
        let plain = cipher
            .decrypt(sealed.as_bytes(), Encoding::Base64)
            .with_context(|| format!("`{name}` of the incoming error event"))?;
        let plain = Json::from_text(plain.into())
            .with_context(|| format!("`{name}` of the incoming error event"))?;
        event.set(name, plain);
    }
    let mut message = Object::new();
    message.set("headers", Json::of(headers)?);
    message.set("body", event.to_json());
    Ok(message)
}

/// Returns a message's own headers. Headers that are not an object count as none.
pub(super) fn headers_of(message: &Object) -> Map<String, Value> {
    message
        .get("headers")
        .and_then(|headers| headers.parse().ok())
        .unwrap_or_default()
}

/// Returns a message's own headers as they are written, to change one of them.
pub(super) fn header_texts(message: &Object) -> Object {
    message
        .get("headers")
        .and_then(Json::members)
        .unwrap_or_default()
}

/// Returns the id of a message's body in object storage.
pub(super) fn object_id(message: &Object) -> Option<String> {
    let headers = header_texts(message);
    let id = headers.get(OBJECT_ID_HEADER)?.parse::<String>().ok();
    id.filter(|id| !id.is_empty())
}

/// Removes the module's own routing key from a message's headers and returns it. Its name is not case-sensitive.
pub(super) fn take_routing_key(headers: &mut Map<String, Value>) -> Option<String> {
    let names: Vec<_> = headers
        .keys()
        .filter(|n| n.eq_ignore_ascii_case(ROUTING_KEY_HEADER))
        .cloned()
        .collect();
    let mut key = None;
    for name in names {
        key = headers
            .remove(&name)
            .and_then(|value| value.as_str().map(str::to_owned))
            .or(key);
    }
    key.filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cipher() -> Cipher {
        Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap()
    }

    fn decoded(plain: &str, reply_to: Option<&str>) -> Object {
        let mut headers = Headers::from_iter([("protocolVersion".to_owned(), 2.into())]);
        headers.extend(reply_to.map(|key| ("reply_to".to_owned(), key.into())));
        let plain = Bytes::copy_from_slice(plain.as_bytes());
        message(&IncomingHeaders::read(&headers), Ok(plain)).unwrap()
    }

    #[test]
    fn a_lone_surrogate_in_a_header_is_passed_on_unchanged() {
        let plain = r#"{"headers":{"a":1,"b":"\ud83d","\ude00":[2]},"body":{"c":"\ud83d"}}"#;
        let message = decoded(plain, None);
        assert_eq!(message.to_vec(), plain.as_bytes());
        assert_eq!(
            Value::from(headers_of(&message)),
            json!({ "a": 1, "b": "\u{fffd}", "\u{fffd}": [2] })
        );
        let message = decoded(plain, Some("reply.here"));
        let headers = message.get("headers").unwrap();
        assert!(
            headers.as_bytes().starts_with(br#"{"a":1,"b":"\ud83d","#),
            "{:?}",
            headers.bytes()
        );
        assert_eq!(headers_of(&message)["reply_to"], "reply.here");
    }

    #[test]
    fn headers_that_are_not_an_object_count_as_none() {
        for headers in ["[1]", "null", "7", r#""x""#] {
            let message = decoded(&format!(r#"{{"headers":{headers}}}"#), Some("key"));
            assert_eq!(
                Value::from(headers_of(&message)),
                json!({ "reply_to": "key" }),
                "{headers}"
            );
            assert_eq!(
                decoded(&format!(r#"{{"headers":{headers}}}"#), None).to_vec(),
                br#"{"headers":{}}"#
            );
        }
        assert_eq!(
            decoded(r#"{"body":1}"#, None).to_vec(),
            br#"{"body":1,"headers":{}}"#
        );
    }

    #[test]
    fn the_input_in_an_error_event_is_read_like_a_message() {
        let deep = |levels: usize| {
            format!(
                r#"{{"a":"\ud83d","b":{}{}}}"#,
                "[".repeat(levels - 1),
                "]".repeat(levels - 1)
            )
        };
        let event = |input: String| {
            let sealed = |plain: String| {
                String::from_utf8(cipher().encrypt(plain.into(), Encoding::Base64)).unwrap()
            };
            let body = json!({ "error": sealed(r#"{"message":"x"}"#.into()), "errorInput": sealed(input) });
            error_event(&cipher(), &Headers::new(), &body.to_string().into())
        };
        let body = event(deep(1_000))
            .unwrap()
            .get("body")
            .unwrap()
            .members()
            .unwrap();
        assert_eq!(
            body.get("errorInput").unwrap().as_bytes(),
            deep(1_000).as_bytes()
        );
        let error = format!("{:#}", event(deep(1_001)).unwrap_err());
        assert!(
            error.contains("`errorInput`") && error.contains("1001 levels"),
            "{error}"
        );
    }
}
