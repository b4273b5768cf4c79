//! A body in a recording: as readable as its bytes allow.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The content of a request or a response.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Body {
    #[default]
    Empty,
    Json(Value),
    Text(String),
    Base64(String),
}

impl Body {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return Self::Base64(base64_simd::STANDARD.encode_to_string(bytes));
        };
        if text.is_empty() {
            return Self::Empty;
        }
        match serde_json::from_str(text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) if is_whole(text, &value) => {
                Self::Json(value)
            }
            _ => Self::Text(text.to_owned()),
        }
    }

    /// The bytes; none if the text is not base64.
    pub(super) fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Empty => Some(Bytes::new()),
            Self::Json(value) => Some(value.to_string().into()),
            Self::Text(text) => Some(text.clone().into()),
            Self::Base64(text) => {
                let bytes = base64_simd::STANDARD.decode_to_vec(text.as_bytes());
                bytes.ok().map(Bytes::from)
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::Empty
    }

    /// The content, to be compared. In one that is no text, each byte is a character.
    pub(super) fn value(&self) -> Value {
        match self {
            Self::Empty => Value::Null,
            Self::Json(value) => value.clone(),
            Self::Text(text) => text.as_str().into(),
            Self::Base64(_) => characters(&self.bytes().unwrap_or_default()).into(),
        }
    }

    /// Changes a body that is no text like one: each byte is a character. `change` must only change ASCII.
    pub(super) fn change_bytes(&mut self, change: impl Fn(&str) -> String) {
        if let (Self::Base64(_), Some(bytes)) = (&*self, self.bytes()) {
            let text = change(&characters(&bytes));
            let bytes: Vec<u8> = text.chars().map(|c| c as u8).collect();
            *self = Self::Base64(base64_simd::STANDARD.encode_to_string(bytes));
        }
    }
}

/// Bytes that are no UTF-8 as a text, with a character for each.
pub(super) fn characters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Whether nothing gets lost in a JSON value: not a digit of a number, nor a member whose name occurs twice. White space and the
/// order of members are not compared.
fn is_whole(text: &str, value: &Value) -> bool {
    let sorted = |text: &str| {
        let mut bytes: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        bytes.sort_unstable();
        bytes
    };
    sorted(text) == sorted(&value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_is_readable_unless_something_would_get_lost() {
        let pretty = "{\n  \"b\": 1,\n  \"a\": [\"x y\"]\n}";
        assert_eq!(
            Body::of(pretty.as_bytes()),
            Body::Json(json!({"a": ["x y"], "b": 1}))
        );
        for text in [
            r#"{"amount":1.10}"#,
            r#"{"id":123456789012345678901234567890}"#,
            r#"{"a":1,"a":2}"#,
            r#""text""#,
            "a=1&b=2",
            "{",
        ] {
            assert_eq!(Body::of(text.as_bytes()), Body::Text(text.to_owned()));
        }
        assert_eq!(Body::of(b""), Body::Empty);
    }

    #[test]
    fn bytes_come_back_unchanged() {
        for bytes in [&b"\xff\x00PNG"[..], b"", b"text", b"{\"a\":1}"] {
            assert_eq!(Body::of(bytes).bytes().unwrap(), bytes);
        }
        assert_eq!(Body::Base64("?".to_owned()).bytes(), None);
        let mut body = Body::of(b"\xff\x80 a:1 \0");
        body.change_bytes(|text| text.replace("a:1", "a:2"));
        assert_eq!(body.bytes().unwrap(), &b"\xff\x80 a:2 \0"[..]);
    }
}
