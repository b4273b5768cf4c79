//! What a token endpoint answers, read with lenience: JSON or a form, numbers as texts, tokens under a 200 that is an
//! error. Nothing is believed to be a success unless it holds an access token.

use super::profile::{ExpiresUnit, Profile};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

/// A longer life than this is a mistake in units, or a date.
const LONGEST_LIFE: f64 = 10.0 * 365.25 * 86_400.0;

/// A successful answer. `Debug` shows no token.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenAnswer {
    /// The new access token.
    pub access_token: SecretString,
    /// The next refresh token; none when the one that was used stays.
    pub refresh_token: Option<SecretString>,
    /// How long the access token lives, from the moment of the request.
    pub lifetime: Option<Duration>,
    /// How long the refresh token lives, from the moment of the request.
    pub refresh_lifetime: Option<Duration>,
    /// What the provider calls the token.
    pub token_type: Option<String>,
    /// The granted scopes, when the provider names them.
    pub scope: Option<String>,
    /// The whole answer, as it is stored.
    pub members: Map<String, Value>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer")
            .field("lifetime", &self.lifetime)
            .field("members", &self.members.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why an answer with a status of success is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnswerError {
    /// Not what an endpoint for tokens says.
    #[error("the answer is neither JSON nor a form")]
    Unreadable,
    /// An error, with its code when it has one.
    #[error("the answer is an error")]
    Refused(Option<String>),
    /// Neither a token nor an error.
    #[error("the answer holds no access token")]
    NoAccessToken,
    /// A kind of token that this profile cannot send.
    #[error("the token is of a kind that is not sent as a bearer token: a profile has to name it in token_types")]
    TokenType,
}

impl TokenAnswer {
    /// Reads the body of an answer with a status of success.
    ///
    /// # Errors
    /// When it holds no access token that can be used. Nothing of the body is in the error but an error code.
    pub fn read(body: &[u8], profile: &Profile) -> Result<Self, AnswerError> {
        let mut members = members(body).ok_or(AnswerError::Unreadable)?;
        // A list of scopes is seen in the wild; what is stored is as the RFC has it.
        if let Some(Value::Array(scopes)) = members.get("scope") {
            let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            members.insert("scope".to_owned(), scopes.join(" ").into());
        }
        let text = |name| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let Some(access_token) = text("access_token") else {
            return Err(if is_error(&members) {
                AnswerError::Refused(code(&members))
            } else {
                AnswerError::NoAccessToken
            });
        };
        let token_type = text("token_type");
        if token_type.as_ref().is_some_and(|kind| !profile.token_types.iter().any(|t| t.eq_ignore_ascii_case(kind))) {
            return Err(AnswerError::TokenType);
        }
        let lifetime = |name: &str, unit| members.get(name).and_then(|value| lifetime(value, unit));
        Ok(Self {
            access_token: access_token.into(),
            refresh_token: text("refresh_token").map(SecretString::from),
            lifetime: lifetime("expires_in", profile.expires_unit).or(profile.default_lifetime),
            refresh_lifetime: ["refresh_token_expires_in", "x_refresh_token_expires_in"]
                .into_iter()
                .find_map(|name| lifetime(name, ExpiresUnit::Seconds)),
            token_type,
            scope: text("scope"),
            members,
        })
    }
}

/// A lifetime as a number or a text. What is not above zero, or absurd, is not known.
fn lifetime(value: &Value, unit: ExpiresUnit) -> Option<Duration> {
    let number: f64 = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    let seconds = match unit {
        ExpiresUnit::Seconds => number,
        ExpiresUnit::Millis => number / 1000.0,
    };
    (seconds > 0.0 && seconds <= LONGEST_LIFE).then(|| Duration::from_secs_f64(seconds))
}

/// The members of a JSON object or of a form, whatever the answer calls itself.
pub(super) fn members(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return match json {
            Value::Object(members) => Some(members),
            _ => None,
        };
    }
    let text = std::str::from_utf8(body).ok()?.trim();
    let decoded = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let form: Map<_, _> = pairs.map(|(name, value)| (decoded(name), Value::String(decoded(value)))).collect();
    // Any text with an equals sign could be taken for a form.
    (form.contains_key("access_token") || form.contains_key("error")).then_some(form)
}

/// The code of an error: `error` as in the RFC, or where other providers have it.
pub(super) fn code(members: &Map<String, Value>) -> Option<String> {
    let nested = members.get("error").and_then(Value::as_object);
    let named = |members: &Map<String, Value>, names: &[&str]| {
        names.iter().find_map(|name| members.get(*name)?.as_str().filter(|code| is_code(code)).map(str::to_owned))
    };
    nested
        .and_then(|error| named(error, &["code", "type", "status"]))
        .or_else(|| named(members, &["error", "code", "error_code", "errorCode", "status"]))
}

/// What narrows a code down for people: `suberror` and Microsoft's numbers. Never a reason to do something else, since
/// the numbers change.
pub(super) fn diagnostic(members: &Map<String, Value>) -> Option<String> {
    let suberror = members.get("suberror").and_then(Value::as_str).filter(|code| is_code(code)).map(str::to_owned);
    let number = members.get("error_codes").and_then(|codes| codes.get(0)).and_then(Value::as_u64).or_else(|| {
        let (_, after) = members.get("error_description")?.as_str()?.split_once("AADSTS")?;
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    });
    let parts: Vec<_> = suberror.into_iter().chain(number.map(|number| format!("AADSTS{number}"))).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn is_error(members: &Map<String, Value>) -> bool {
    let says_so = |value: &Value| !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0;
    members.get("error").is_some_and(says_so) || members.get("ok") == Some(&Value::Bool(false))
}

/// A word that names an error, rather than a sentence, or something secret: those have digits.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.eq_ignore_ascii_case("error")
        && text.bytes().all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.'))
}
