//! How a service writes errors.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::Value;

/// The error responses of a service, for faults that look like its own.
pub trait ErrorFormat {
    /// An error with this status, code and message.
    fn error(status: u16, code: &str, message: &str) -> Response;

    /// The response to an access token that is not valid.
    #[must_use]
    fn unauthorized() -> Response {
        Self::error(401, "unauthorized", "the access token is not valid")
    }

    /// The response to too many requests. The caller adds `Retry-After`.
    #[must_use]
    fn throttled() -> Response {
        Self::error(429, "too_many_requests", "too many requests")
    }
}

/// A response with a JSON body. A number that is not an HTTP status becomes 500.
#[must_use]
pub fn json_response(status: u16, body: &Value) -> Response {
    response::<&str>(status, &[], body.to_string())
}

/// A response with exactly these headers, and `application/json` unless they say otherwise. An invalid status or header
/// is a mistake of the test's author: the response is 500 and names it.
pub(crate) fn response<V: AsRef<[u8]>>(
    status: u16,
    headers: &[(String, V)],
    body: impl Into<Body>,
) -> Response {
    let Ok(status) = StatusCode::from_u16(status) else {
        return mistake(format!("{status} is not an HTTP status"));
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let all = response.headers_mut();
    all.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_ref());
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value) else {
            return mistake(format!("{name:?} is not a valid header"));
        };
        if name == header::CONTENT_TYPE {
            all.insert(name, value);
        } else {
            all.append(name, value);
        }
    }
    response
}

fn mistake(text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    response
}
