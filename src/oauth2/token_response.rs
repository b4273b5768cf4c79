//! The token response (RFC 6749 section 5), read leniently: JSON or a form, numbers as texts. A response is a success only
//! if it contains an access token.

use super::{
    profile::Profile,
    token_record::{TokenRecord, TokenResponse},
};
use crate::clients::http::{begins_as_object, is_code, lenient_members};
use serde_json::Value;
use std::time::Duration;

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
        let mut members = lenient_members(body).ok_or(TokenResponseError::Unreadable)?;
        // Some providers send a list of scopes. The text of the RFC is stored.
        if let Some(Value::Array(scopes)) = members.get("scope") {
            let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            members.insert("scope".to_owned(), scopes.join(" ").into());
        }
        let record = TokenRecord(members);
        if record.access_token().is_none() {
            return Err(TokenResponseError::NoAccessToken);
        }
        let usual = profile.default_lifetime.map(Duration::from_secs);
        Ok(Self {
            lifetime: record.lifetime(profile).or(usual),
            record,
        })
    }

    /// Reads an incomplete body. A form can end within a token, so only JSON is read.
    pub(super) fn read_truncated(body: &[u8], profile: &Profile) -> Option<Self> {
        let read = Self::read(body, profile).ok();
        read.filter(|_| begins_as_object(body))
    }

    /// Returns the token type, for the log, if `profile` does not list it.
    pub(super) fn unknown_type(&self, profile: &Profile) -> Option<String> {
        let kind = self.record.0.get("token_type")?;
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
