//! JSON as APIs send it.

use super::charset::{decode_json, is_other_than_utf8};
use crate::protocol::{EnvelopeError, Json};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A text that is not the expected JSON. The error names the place, and contains nothing of the text.
///
/// ```
/// let error = sailor::http::parse_json::<u32>(b"[1,", None).unwrap_err();
/// assert_eq!(error.to_string(), "not JSON: line 1, column 3");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON: line {line}, column {column}")]
    Syntax {
        /// Line of the mistake, from 1.
        line: usize,
        /// Column of the mistake, from 1.
        column: usize,
    },
    /// The text is JSON, but not of the expected type.
    #[error("not the expected JSON at `{path}`: line {line}, column {column}")]
    Shape {
        /// Member that does not fit, such as `items[3].price`.
        path: String,
        /// Line of the member, from 1.
        line: usize,
        /// Column of the member, from 1.
        column: usize,
    },
    /// The text is nested more than 1 000 levels deep.
    #[error("nested too deeply: {0}")]
    TooDeep(String),
}

/// Parses JSON, whatever its media type is called. Byte order marks, UTF-16 and the `charset` of `content_type` are
/// honoured. Half of a surrogate pair, and bytes that fit no character set, become U+FFFD.
///
/// An empty text is `null`.
///
/// # Errors
/// Returns an error if the text is not JSON, or does not fit `T`.
///
/// ```
/// use sailor::http::parse_json;
/// use serde_json::{Value, json};
///
/// let latin1 = Some("application/json; charset=ISO-8859-1");
/// assert_eq!(parse_json::<Value>(b"{\"city\":\"K\xf6ln\"}", latin1)?, json!({ "city": "Köln" }));
/// assert_eq!(parse_json::<Value>(b"\xef\xbb\xbf[1]", None)?, json!([1]));
/// assert_eq!(parse_json::<Value>(br#""\ud83d""#, None)?, json!("\u{fffd}"));
/// assert_eq!(parse_json::<Option<u32>>(b"", None)?, None);
/// # Ok::<(), sailor::http::JsonError>(())
/// ```
pub fn parse_json<T: DeserializeOwned>(
    bytes: &[u8],
    content_type: Option<&str>,
) -> Result<T, JsonError> {
    // Almost every text is in UTF-8, and is parsed without a copy.
    if !is_other_than_utf8(content_type)
        && let Ok(value) = serde_json::from_slice(bytes)
    {
        return Ok(value);
    }
    let text = decode_json(bytes, content_type);
    let text = if text.trim().is_empty() {
        "null"
    } else {
        &text
    };
    let json = Json::from_text(text.as_bytes().to_vec().into()).map_err(syntax)?;
    json.parse().map_err(|error| JsonError::Shape {
        path: error.path().to_string(),
        line: error.inner().line(),
        column: error.inner().column(),
    })
}

fn syntax(error: EnvelopeError) -> JsonError {
    match error {
        EnvelopeError::NotJson { line, column } => JsonError::Syntax { line, column },
        error => JsonError::TooDeep(error.to_string()),
    }
}

/// Returns a member that is a non-empty text.
pub(crate) fn text_member<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// Reads a number from a number or a text.
pub(crate) fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Merges objects, and replaces everything else.
pub(crate) fn merge(stored: &mut Value, newer: Value) {
    match (stored, newer) {
        (Value::Object(stored), Value::Object(newer)) => {
            for (name, value) in newer {
                merge(stored.entry(name).or_insert(Value::Null), value);
            }
        }
        (stored, newer) => *stored = newer,
    }
}

/// Returns a member of `value`, and turns `value` into an object if it is not one.
pub(crate) fn member_mut<'a>(value: &'a mut Value, name: &str) -> &'a mut Value {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    &mut value[name]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(unit).collect()
    }

    #[test]
    fn json_is_read_in_any_encoding() {
        let text = r#"{"a":"Köln 😀"}"#;
        let wanted = json!({ "a": "Köln 😀" });
        let marked = |mark: &[u8], text: Vec<u8>| [mark.to_vec(), text].concat();
        for (bytes, content_type) in [
            (text.as_bytes().to_vec(), Some("application/json")),
            (text.as_bytes().to_vec(), Some("text/html; charset=klingon")),
            (
                marked(b"\xef\xbb\xbf", text.into()),
                Some("application/json; charset=utf-8"),
            ),
            (
                marked(b"\xff\xfe", utf16(text, u16::to_le_bytes)),
                Some("application/json"),
            ),
            (marked(b"\xfe\xff", utf16(text, u16::to_be_bytes)), None),
            (utf16(text, u16::to_le_bytes), None),
            (
                utf16(text, u16::to_be_bytes),
                Some("application/json; charset=utf-8"),
            ),
            (
                utf16(text, u16::to_le_bytes),
                Some("application/json; charset=utf-16le"),
            ),
        ] {
            assert_eq!(
                parse_json::<Value>(&bytes, content_type).unwrap(),
                wanted,
                "{content_type:?}"
            );
        }
        let latin = Some("application/json;charset=ISO-8859-1");
        assert_eq!(parse_json::<Value>(b"\"M\xfc\"", latin).unwrap(), "Mü");
        assert_eq!(
            parse_json::<Value>(b"\"M\xfc\"", Some("application/json")).unwrap(),
            "Mü"
        );
    }

    #[test]
    fn broken_surrogates_and_empty_texts_are_read() {
        for (text, wanted) in [
            (
                r#"{"\ud83d":"party \ud83d"}"#,
                json!({ "\u{fffd}": "party \u{fffd}" }),
            ),
            (r#"["\udc00\ud83d\ude00"]"#, json!(["\u{fffd}😀"])),
            ("", Value::Null),
            (" \r\n", Value::Null),
            ("\u{feff}", Value::Null),
        ] {
            assert_eq!(
                parse_json::<Value>(text.as_bytes(), None).unwrap(),
                wanted,
                "{text}"
            );
        }
    }

    #[test]
    fn an_error_names_the_place_and_nothing_of_the_text() {
        let shape = parse_json::<Vec<Vec<u32>>>(b"[[1],\n[\"secret\"]]", None).unwrap_err();
        assert_eq!(
            shape.to_string(),
            "not the expected JSON at `[1][0]`: line 2, column 9"
        );
        for text in ["<html>secret</html>", "{\"secret\":", "secret"] {
            let error = parse_json::<Value>(text.as_bytes(), None).unwrap_err();
            assert!(matches!(error, JsonError::Syntax { .. }), "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let deep = "[".repeat(2_000) + &"]".repeat(2_000);
        let error = parse_json::<Value>(deep.as_bytes(), None).unwrap_err();
        assert!(matches!(error, JsonError::TooDeep(_)), "{error}");
        let readable = "[".repeat(900) + &"]".repeat(900);
        parse_json::<Value>(readable.as_bytes(), None).unwrap();
    }
}
