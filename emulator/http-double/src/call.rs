//! One HTTP request as a double records it.

use crate::{error::ErrorFormat, url::percent_decoded};
use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde_json::Value;
use std::fmt;

/// A call that a double received. `Debug` shows neither credentials nor contents.
#[derive(Clone, PartialEq)]
pub struct RecordedCall {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path, percent-encoded as received.
    pub path: String,
    /// The query as received; empty when there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The access token in the `Authorization` header.
    pub token: Option<String>,
    /// The status of the response. None while the call is open, and when there was no response: the connection was
    /// cut, or the call was left hanging.
    pub status: Option<u16>,
    finished: bool,
}

/// Reads the whole request; a response when the body ends early.
///
/// # Errors
/// When the body ends early: what to respond, in the service's format.
pub async fn read_request<E: ErrorFormat>(request: Request) -> Result<(Parts, Bytes), Response> {
    let (parts, body) = request.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(body) => Ok((parts, body)),
        Err(_) => Err(E::error(400, "bad_request", "the body ended early")),
    }
}

/// Reads the whole request as a call. `scheme` is the authentication scheme of access tokens, such as `Bearer`.
///
/// # Errors
/// When the body ends early: what to respond, in the service's format.
pub async fn read_call<E: ErrorFormat>(
    request: Request,
    scheme: &str,
) -> Result<RecordedCall, Response> {
    let (parts, body) = read_request::<E>(request).await?;
    Ok(RecordedCall::new(&parts, body, scheme))
}

impl RecordedCall {
    /// A call that has just arrived. `scheme` is the authentication scheme of access tokens, such as `Bearer`.
    #[must_use]
    pub fn new(parts: &Parts, body: Bytes, scheme: &str) -> Self {
        let mut call = Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            body,
            token: None,
            status: None,
            finished: false,
        };
        call.token = call.token_of(scheme);
        call
    }

    fn token_of(&self, scheme: &str) -> Option<String> {
        let authorization = self.authorization()?;
        let (found, token) = authorization.split_once(' ')?;
        found
            .eq_ignore_ascii_case(scheme)
            .then(|| token.trim().to_owned())
    }

    /// The call without its body, and without headers except `Authorization`: for a log that keeps many calls.
    #[must_use]
    pub fn without_contents(&self) -> Self {
        let authorization = self.headers.get(header::AUTHORIZATION).cloned();
        Self {
            headers: authorization
                .map(|value| (header::AUTHORIZATION, value))
                .into_iter()
                .collect(),
            body: Bytes::new(),
            ..self.clone()
        }
    }

    /// `METHOD /path?query` with the query decoded. Tests match their patterns with it.
    #[must_use]
    pub fn line(&self) -> String {
        match self.decoded_query().as_str() {
            "" => format!("{} {}", self.method, self.path),
            query => format!("{} {}?{query}", self.method, self.path),
        }
    }

    /// The path with the query, both as received.
    #[must_use]
    pub fn path_and_query(&self) -> String {
        match self.query.as_str() {
            "" => self.path.clone(),
            query => format!("{}?{query}", self.path),
        }
    }

    /// The query with `%XX` and `+` decoded: `$top=10&$filter=…`.
    #[must_use]
    pub fn decoded_query(&self) -> String {
        percent_decoded(&self.query.replace('+', " "))
    }

    /// The `Authorization` header as received.
    #[must_use]
    pub fn authorization(&self) -> Option<String> {
        let value = self.headers.get(header::AUTHORIZATION)?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The `Authorization` header: `user:password` of HTTP Basic, anything else as received.
    #[must_use]
    pub fn credentials(&self) -> Option<String> {
        self.headers
            .get(header::AUTHORIZATION)
            .map(authorization_text)
    }

    /// The body, where it is JSON.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body: JSON where it is JSON, otherwise text.
    #[must_use]
    pub fn content(&self) -> Value {
        self.json()
            .unwrap_or_else(|| String::from_utf8_lossy(&self.body).into())
    }

    /// Whether the call is finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Records the end of the call; no status when there was no response.
    pub fn finish(&mut self, status: Option<u16>) {
        self.status = status;
        self.finished = true;
    }
}

impl fmt::Debug for RecordedCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} → {status}", self.line()),
            None => write!(f, "{} → no response", self.line()),
        }
    }
}

/// An `Authorization` header as text: Basic credentials decoded to `user:password`, anything else unchanged.
#[must_use]
pub fn authorization_text(value: &HeaderValue) -> String {
    let basic = value.as_bytes().split_at_checked(b"Basic ".len());
    let basic = basic.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Basic "));
    let decoded = basic.and_then(|(_, base64)| {
        base64_simd::STANDARD
            .decode_to_vec(base64.trim_ascii())
            .ok()
    });
    String::from_utf8_lossy(decoded.as_deref().unwrap_or(value.as_bytes())).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_basic_credentials_may_have_any_case() {
        for (header, text) in [
            ("Basic YTpi", "a:b"),
            ("basic YTpi", "a:b"),
            ("BASIC  YTpi", "a:b"),
            ("Bearer YTpi", "Bearer YTpi"),
            ("basic ?", "basic ?"),
            ("Basic", "Basic"),
        ] {
            let value = HeaderValue::from_static(header);
            assert_eq!(authorization_text(&value), text);
        }
    }
}
