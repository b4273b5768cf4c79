//! How the platform writes errors.

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_double::ErrorFormat;
use serde_json::json;

/// An error with a reason for the author of the request.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: StatusCode,
    reason: String,
}

impl ErrorResponse {
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

impl IntoResponse for ErrorResponse {
    /// `error` is the member of version 1 of the API, `errors` that of JSON:API (version 2).
    fn into_response(self) -> Response {
        let errors = json!([{"status": self.status.as_u16().to_string(), "detail": self.reason}]);
        (
            self.status,
            Json(json!({"error": self.reason, "errors": errors})),
        )
            .into_response()
    }
}

impl ErrorFormat for ErrorResponse {
    fn error(status: u16, _code: &str, message: &str) -> Response {
        match StatusCode::from_u16(status) {
            Ok(status) => Self::new(status, message).into_response(),
            Err(_) => {
                let reason = format!("{status} is not an HTTP status");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason).into_response()
            }
        }
    }

    fn unauthorized() -> Response {
        unauthorized("Basic realm=\"emulator\"", "the credentials are not valid")
    }
}

/// 401 with a challenge that says which credentials the resource takes.
pub(super) fn unauthorized(challenge: &'static str, reason: &str) -> Response {
    let error = ErrorResponse::new(StatusCode::UNAUTHORIZED, reason);
    ([(header::WWW_AUTHENTICATE, challenge)], error).into_response()
}
