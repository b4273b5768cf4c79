//! Errors as Salesforce writes them: a list of message, code, and sometimes fields.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

/// An error.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: u16,
    pub(super) body: Value,
}

impl ErrorResponse {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            body: json!([{ "message": message.into(), "errorCode": code }]),
        }
    }

    /// An error with the fields that caused it.
    pub(super) fn of_fields(
        status: u16,
        code: &str,
        message: impl Into<String>,
        fields: &[&str],
    ) -> Self {
        Self {
            status,
            body: json!([{ "message": message.into(), "errorCode": code, "fields": fields }]),
        }
    }

    /// A body that is not a list of errors, such as the choices of a 300.
    pub(super) fn with_body(status: u16, body: Value) -> Self {
        Self { status, body }
    }

    pub(super) fn no_resource() -> Self {
        Self::new(404, "NOT_FOUND", "The requested resource does not exist")
    }

    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(400, "MALFORMED_QUERY", message)
    }

    /// Salesforce has it, but the stand-in does not.
    pub(super) fn not_here(what: impl std::fmt::Display) -> Self {
        Self::new(
            501,
            "STAND_IN",
            format!("the stand-in for Salesforce has no {what}"),
        )
    }

    pub(super) fn message(&self) -> &str {
        self.body[0]["message"].as_str().unwrap_or_default()
    }

    pub(super) fn code(&self) -> &str {
        self.body[0]["errorCode"].as_str().unwrap_or_default()
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.body)).into_response()
    }
}
