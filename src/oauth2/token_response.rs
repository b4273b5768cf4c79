//! The token response (RFC 6749 section 5), read leniently: JSON or a form, numbers as texts. A response is a success only
//! if it contains an access token.

use super::{
    profile::{ExpiresUnit, Profile},
    refusal::{is_code, members},
};
use crate::clients::http::BOM;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

/// The longest accepted lifetime. A longer one has the wrong unit, or is a date.
const MAX_LIFETIME: f64 = 10.0 * 365.25 * 86_400.0;

/// A successful response. `Debug` shows no token.
#[derive(Clone)]
pub(crate) struct TokenResponse {
    /// The next refresh token; `None` if the one that was used stays valid.
    pub(crate) refresh_token: Option<SecretString>,
    /// How long the access token is valid, from the time of the request.
    pub(crate) lifetime: Option<Duration>,
    /// How long the refresh token is valid, from the time of the request.
    pub(crate) refresh_lifetime: Option<Duration>,
    /// The granted scopes, if the provider names them.
    pub(crate) scope: Option<String>,
    /// The whole response, in the form in which it is stored.
    pub(crate) members: Map<String, Value>,
}

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("lifetime", &self.lifetime)
            .field("members", &self.members.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why a response with a successful status is not a success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenResponseError {
    #[error("the response is neither JSON nor a form")]
    Unreadable,
    #[error("the response holds no access token")]
    NoAccessToken,
}

impl TokenResponse {
    /// Reads the body of a response with a successful status. A response with an access token is a success, regardless
    /// of its other members, because the refresh token may be spent.
    ///
    /// # Errors
    /// Returns an error if it contains no access token. The error contains nothing of the body.
    pub(crate) fn read(body: &[u8], profile: &Profile) -> Result<Self, TokenResponseError> {
        let mut members = members(body).ok_or(TokenResponseError::Unreadable)?;
        // Some providers send a list of scopes. The text of the RFC is stored.
        if let Some(Value::Array(scopes)) = members.get("scope") {
            let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            members.insert("scope".to_owned(), scopes.join(" ").into());
        }
        let text = |name| {
            let text = members.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        if text("access_token").is_none() {
            return Err(TokenResponseError::NoAccessToken);
        }
        let lifetime = |name: &str, unit| members.get(name).and_then(|value| lifetime(value, unit));
        Ok(Self {
            refresh_token: text("refresh_token").map(SecretString::from),
            lifetime: lifetime("expires_in", profile.expires_unit).or(profile.default_lifetime),
            refresh_lifetime: ["refresh_token_expires_in", "x_refresh_token_expires_in"]
                .into_iter()
                .find_map(|name| lifetime(name, ExpiresUnit::Seconds)),
            scope: text("scope"),
            members,
        })
    }

    /// Reads an incomplete body. A form can end within a token, so only JSON is read.
    pub(super) fn read_truncated(body: &[u8], profile: &Profile) -> Option<Self> {
        let is_json = body
            .trim_ascii_start()
            .strip_prefix(BOM)
            .unwrap_or(body)
            .trim_ascii_start()
            .starts_with(b"{");
        Self::read(body, profile).ok().filter(|_| is_json)
    }

    /// Returns the token type, for the log, if `profile` does not list it.
    pub(super) fn unknown_type(&self, profile: &Profile) -> Option<String> {
        let kind = self.members.get("token_type")?;
        let is_expected = |word: &str| {
            let mut expected = profile.token_types.iter();
            expected.any(|known| known.eq_ignore_ascii_case(word))
        };
        match kind.as_str() {
            None if kind.is_null() => None,
            Some(word) if word.is_empty() || is_expected(word) => None,
            Some(word) if is_code(word) => Some(format!("\"{word}\"")),
            _ => Some("a token type that is not a word".to_owned()),
        }
    }
}

/// Reads a lifetime from a number or a text. One that is not above zero, or too long, counts as unknown.
pub(super) fn lifetime(value: &Value, unit: ExpiresUnit) -> Option<Duration> {
    let number: f64 = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = match unit {
        ExpiresUnit::Seconds => number,
        ExpiresUnit::Millis => number / 1000.0,
    };
    (seconds > 0.0 && seconds <= MAX_LIFETIME).then(|| Duration::from_secs_f64(seconds))
}
