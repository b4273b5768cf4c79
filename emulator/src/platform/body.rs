//! How the platform reads bodies.

use super::error::ErrorResponse;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use serde_json::{Map, Value};

/// The body as JSON; the content type must say so too.
pub(super) fn json_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, ErrorResponse> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let media_type = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if media_type != "application/json" && !media_type.ends_with("+json") {
        return Err(ErrorResponse::bad_request(format!(
            "the content type must be application/json, but it is {content_type:?}"
        )));
    }
    serde_json::from_slice(body).map_err(|error| {
        ErrorResponse::bad_request(format!(
            "the body is not JSON: line {}, column {}",
            error.line(),
            error.column()
        ))
    })
}

/// The body as a JSON object.
pub(super) fn object_body(
    headers: &HeaderMap,
    body: &Bytes,
) -> Result<Map<String, Value>, ErrorResponse> {
    match json_body(headers, body)? {
        Value::Object(object) => Ok(object),
        other => Err(ErrorResponse::bad_request(format!(
            "the body must be a JSON object, it is {}",
            kind_of(&other)
        ))),
    }
}

/// The type of a JSON value, for error messages.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
