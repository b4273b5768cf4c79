//! What the API's response means for the token, mostly by `WWW-Authenticate` (RFC 6750 section 3).

use crate::clients::http::{ErrorBody, challenges};
use reqwest::header::HeaderMap;

/// What a response of the API means for the token that the request carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenStatus {
    /// The token is accepted.
    Accepted,
    /// The token must be refreshed.
    Expired,
    /// The token is valid but lacks a scope. Holds the required scopes, if the API names them.
    InsufficientScope(Option<String>),
    /// The provider requires another authorization by the user. Holds the claims that it requests, as sent (base64).
    InsufficientClaims(String),
    /// The response says nothing about the token, or a new token would not help.
    Unrelated,
}

/// Returns what the response means for the token, without a profile. Every 401 counts as an expired token, whatever its
/// code, unless it asks for a scope or for claims: that costs at most one refresh, while the opposite mistake would leave
/// the credential unusable (token-failures: T41). Without a code in the headers, that in the body counts.
pub(super) fn token_status(status: u16, headers: &HeaderMap, body_start: &str) -> TokenStatus {
    if !matches!(status, 401 | 403) {
        return TokenStatus::Accepted;
    }
    let challenge = challenges(headers).find(|challenge| {
        let is_about_tokens = matches!(challenge.scheme.as_str(), "bearer" | "dpop");
        is_about_tokens && challenge.param("error").is_some()
    });
    let param = |name| challenge.as_ref().and_then(|found| found.param(name));
    let error = match param("error") {
        None if status == 401 => code_in_body(body_start),
        error => error.map(str::to_owned),
    };
    let error = error.unwrap_or_default().to_ascii_lowercase();
    match (status, error.as_str()) {
        (_, "insufficient_scope") => {
            TokenStatus::InsufficientScope(param("scope").map(str::to_owned))
        }
        (403, _) => TokenStatus::Accepted,
        (_, "insufficient_claims") => {
            TokenStatus::InsufficientClaims(param("claims").unwrap_or_default().to_owned())
        }
        _ => TokenStatus::Expired,
    }
}

/// The code in the body: one that asks for a scope or for claims, wherever it is, or another one.
fn code_in_body(body_start: &str) -> Option<String> {
    let asks_for_more = |code: &str| {
        let codes = ["insufficient_scope", "insufficient_claims"];
        codes.iter().any(|known| known.eq_ignore_ascii_case(code))
    };
    ErrorBody::read(body_start.as_bytes()).code(asks_for_more)
}
