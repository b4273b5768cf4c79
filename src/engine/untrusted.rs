//! The readers of bytes from outside that are not public otherwise, for the fuzz targets (`fuzz/`).

use super::{decode, original::Original};
use crate::{
    clients::http,
    oauth2::{Profile, TokenResponse},
    protocol::{Cipher, Encoding, Headers, IncomingHeaders, Object},
};
use bytes::Bytes;
use reqwest::header::HeaderMap;
use serde_json::{Map, Value};
use std::time::Duration;

/// Reads a delivery as the input of a module.
///
/// # Errors
/// Returns an error if it is not a message.
pub fn read_message(cipher: &Cipher, headers: &Headers, body: &Bytes) -> anyhow::Result<Object> {
    let incoming = IncomingHeaders::read(headers);
    let encoding = Encoding::of(incoming.protocol_version);
    let (_, payload) = Original::open(cipher, body.clone(), encoding);
    decode::message(&incoming, payload)
}

/// Reads a delivery as the input of an error handler step.
///
/// # Errors
/// Returns an error if it is not an error event.
pub fn read_error_event(
    cipher: &Cipher,
    headers: &Headers,
    body: &Bytes,
) -> anyhow::Result<Object> {
    decode::error_event(cipher, headers, body)
}

/// Reads a token response: its members, and the lifetime of the access token. Returns `None` if there is no access token.
pub fn read_token_response(
    body: &[u8],
    profile: &Profile,
) -> Option<(Map<String, Value>, Option<Duration>)> {
    let response = TokenResponse::read(body, profile).ok()?;
    match response.record.to_value() {
        Value::Object(members) => Some((members, response.lifetime)),
        _ => None,
    }
}

/// Reads the schemes of `WWW-Authenticate`, and the parameter `error` of each.
pub fn read_challenges(headers: &HeaderMap) -> Vec<(String, Option<String>)> {
    http::challenges(headers)
        .map(|challenge| {
            let error = challenge.param("error").map(str::to_owned);
            (challenge.scheme, error)
        })
        .collect()
}
