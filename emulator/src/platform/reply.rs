//! How the platform refuses, and how it reads bodies.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// A refusal with a reason for whoever wrote the request.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
        }
    }

    pub(super) fn bad_request(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason)
    }

    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("there is no {what} in this emulator"),
        )
    }
}

impl IntoResponse for Refusal {
    /// `error` is what version 1 of the API has, `errors` what JSON:API (version 2) has.
    fn into_response(self) -> Response {
        let errors = json!([{"status": self.status.as_u16().to_string(), "detail": self.reason}]);
        (
            self.status,
            Json(json!({"error": self.reason, "errors": errors})),
        )
            .into_response()
    }
}

/// The body as JSON, which it must be by its content type as well.
pub(super) fn json_body(headers: &HeaderMap, body: &Bytes) -> Result<Value, Refusal> {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    if kind != "application/json" && !kind.ends_with("+json") {
        return Err(Refusal::bad_request(format!(
            "the content type must be application/json, but it is {content_type:?}"
        )));
    }
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
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
) -> Result<Map<String, Value>, Refusal> {
    match json_body(headers, body)? {
        Value::Object(object) => Ok(object),
        other => Err(Refusal::bad_request(format!(
            "the body must be a JSON object, it is {}",
            kind_of(&other)
        ))),
    }
}

/// What kind of JSON value this is, for messages about wrong kinds.
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
