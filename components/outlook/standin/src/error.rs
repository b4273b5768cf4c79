//! Errors as Graph writes them: `{"error": {"code", "message", "innerError"}}`.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// An error.
#[derive(Debug)]
pub(super) struct ErrorResponse {
    status: u16,
    code: String,
    message: String,
    has_retry_after: bool,
}

impl ErrorResponse {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            has_retry_after: false,
        }
    }

    /// The error for a broken item. A server error asks to try again immediately, so that tests need not wait for retries;
    /// with 503 that would mean a busy service.
    pub(super) fn broken(status: u16) -> Self {
        Self {
            has_retry_after: status >= 500 && status != 503,
            ..Self::new(
                status,
                "ErrorInternalServerError",
                "An internal server error occurred. The operation failed.",
            )
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(super) fn no_item() -> Self {
        Self::new(
            404,
            "ErrorItemNotFound",
            "The specified object was not found in the store.",
        )
    }

    /// Graph has it, but the stand-in does not.
    pub(super) fn not_here(what: impl std::fmt::Display) -> Self {
        Self::new(
            501,
            "NotImplemented",
            format!("the stand-in for Graph has no {what}"),
        )
    }

    pub(super) fn unauthorized() -> Response {
        let error = Self::new(
            401,
            "InvalidAuthenticationToken",
            "Lifetime validation failed, the token is expired.",
        );
        let challenge = "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
                         client_id=\"00000003-0000-0000-c000-000000000000\"";
        ([(header::WWW_AUTHENTICATE, challenge)], error).into_response()
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let inner =
            json!({ "date": "2024-06-01T08:00:00", "request-id": "0", "client-request-id": "0" });
        let error = json!({ "code": self.code, "message": self.message, "innerError": inner });
        let mut response = (status, Json(json!({ "error": error }))).into_response();
        if self.has_retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(0));
        }
        response
    }
}
