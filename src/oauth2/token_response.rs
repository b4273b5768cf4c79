//! The token response (RFC 6749 section 5), read leniently: JSON or a form, numbers as texts, errors with a successful
//! status. A response is a success only if it contains an access token.

use super::profile::{ExpiresUnit, Profile};
use crate::protocol::without_lone_surrogates;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, fmt, time::Duration};

/// The longest accepted lifetime. A longer one has the wrong unit, or is a date.
const MAX_LIFETIME: f64 = 10.0 * 365.25 * 86_400.0;
/// The byte order mark that some servers write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A successful response. `Debug` shows no token.
#[derive(Clone)]
pub(crate) struct TokenResponse {
    /// The next refresh token; `None` if the one that was used stays valid.
    pub(crate) refresh_token: Option<SecretString>,
    /// How long the access token is valid, from the time of the request.
    pub(crate) lifetime: Option<Duration>,
    /// How long the refresh token is valid, from the time of the request.
    pub(crate) refresh_lifetime: Option<Duration>,
    /// The type of the access token, in the provider's words.
    pub(crate) token_type: Option<String>,
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
    /// An error, with its code if it has one.
    #[error("the response is an error")]
    Error(Option<String>),
    /// Neither a token nor an error.
    #[error("the response holds no access token")]
    NoAccessToken,
}

impl TokenResponse {
    /// Reads the body of a response with a successful status. A response with an access token is a success, regardless
    /// of its other members, because the refresh token may be spent.
    ///
    /// # Errors
    /// Returns an error if it contains no access token. The error contains nothing of the body except an error code.
    pub(crate) fn read(body: &[u8], profile: &Profile) -> Result<Self, TokenResponseError> {
        let mut members = members(body).ok_or(TokenResponseError::Unreadable)?;
        // Some providers send a list of scopes. The text of the RFC is stored.
        if let Some(Value::Array(scopes)) = members.get("scope") {
            let scopes: Vec<_> = scopes.iter().filter_map(Value::as_str).collect();
            members.insert("scope".to_owned(), scopes.join(" ").into());
        }
        let text = |name| {
            members
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        if text("access_token").is_none() {
            return Err(if is_error(&members) {
                TokenResponseError::Error(code(&members))
            } else {
                TokenResponseError::NoAccessToken
            });
        }
        let lifetime = |name: &str, unit| members.get(name).and_then(|value| lifetime(value, unit));
        Ok(Self {
            refresh_token: text("refresh_token").map(SecretString::from),
            lifetime: lifetime("expires_in", profile.expires_unit).or(profile.default_lifetime),
            refresh_lifetime: ["refresh_token_expires_in", "x_refresh_token_expires_in"]
                .into_iter()
                .find_map(|name| lifetime(name, ExpiresUnit::Seconds)),
            token_type: text("token_type"),
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
        match (self.members.get("token_type")?, self.token_type.as_deref()) {
            (Value::Null, _) => None,
            (Value::String(_), None) => None,
            (_, Some(kind))
                if profile
                    .token_types
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(kind)) =>
            {
                None
            }
            (_, Some(kind)) if is_code(kind) => Some(format!("\"{kind}\"")),
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

/// Returns the members of a JSON object or of a form, regardless of the content type.
pub(super) fn members(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(BOM).unwrap_or(body);
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return match json {
            Value::Object(members) => Some(members),
            _ => None,
        };
    }
    // Another encoding of Unicode has a byte order mark. Bytes that fit no encoding become U+FFFD.
    let (text, _, _) = encoding_rs::UTF_8.decode(body);
    let members = parse_leniently(&text);
    if !members.is_empty() {
        return Some(members);
    }
    let text = text.trim();
    let decoded = |part: &str| {
        percent_decode_str(&part.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    let form: Map<_, _> = pairs
        .map(|(name, value)| (decoded(name), Value::String(decoded(value))))
        .collect();
    // Any text with an equals sign could be taken for a form.
    (form.contains_key("access_token") || form.contains_key("error")).then_some(form)
}

/// Reads a JSON object up to its first mistake. Members that are nested too deep are left out.
fn parse_leniently(text: &str) -> Map<String, Value> {
    let mut members = Map::new();
    let repaired = repaired(text);
    // The position and the reason of the mistake do not matter.
    let _ = MembersVisitor(&mut members)
        .deserialize(&mut serde_json::Deserializer::from_str(&repaired));
    members
}

/// Keeps the members that were read before a mistake.
struct MembersVisitor<'a>(&'a mut Map<String, Value>);

impl<'de> Visitor<'de> for MembersVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some((name, value)) = members.next_entry::<String, &RawValue>()? {
            if let Ok(value) = serde_json::from_str(value.get()) {
                self.0.insert(name, value);
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for MembersVisitor<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

/// Repairs what lenient JSON readers accept: halves of surrogate pairs, and control characters in texts.
fn repaired(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_ascii_control();
    let text: Cow<'_, str> = if text.contains(is_control) {
        text.replace(is_control, " ").into()
    } else {
        text.into()
    };
    match without_lone_surrogates(text.as_bytes()).map(String::from_utf8) {
        Some(Ok(repaired)) => repaired.into(),
        _ => text,
    }
}

/// The code of an error: `error` as in the RFC, or the member that other providers use.
pub(super) fn code(members: &Map<String, Value>) -> Option<String> {
    let nested = members.get("error").and_then(Value::as_object);
    let nested = nested.and_then(|error| first_code(error, &["code", "type", "status"]));
    nested.or_else(|| {
        let names = ["error", "code", "error_code", "errorCode", "status"];
        first_code(members, &names)
    })
}

fn first_code(members: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| code_in(members, name))
}

fn code_in(members: &Map<String, Value>, name: &str) -> Option<String> {
    let code = members.get(name)?.as_str()?;
    is_code(code).then(|| code.to_owned())
}

/// Returns the detail of a code for people: `suberror` and Microsoft's numbers. No decision depends on it, because the
/// numbers change.
pub(super) fn diagnostic(members: &Map<String, Value>) -> Option<String> {
    let number = microsoft_number(members).map(|number| format!("AADSTS{number}"));
    match (code_in(members, "suberror"), number) {
        (Some(suberror), Some(number)) => Some(format!("{suberror}, {number}")),
        (suberror, number) => suberror.or(number),
    }
}

/// The number of a Microsoft error, from `error_codes` or from `AADSTS…` in its description.
fn microsoft_number(members: &Map<String, Value>) -> Option<u64> {
    let codes = members.get("error_codes").and_then(|codes| codes.get(0));
    if let Some(number) = codes.and_then(Value::as_u64) {
        return Some(number);
    }
    let (_, after) = members
        .get("error_description")?
        .as_str()?
        .split_once("AADSTS")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn is_error(members: &Map<String, Value>) -> bool {
    let says_so = |value: &Value| {
        !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0
    };
    members.get("error").is_some_and(says_so) || members.get("ok") == Some(&Value::Bool(false))
}

/// Whether this is a word that names an error, not a sentence and not a secret. Secrets have digits.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.eq_ignore_ascii_case("error")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.'))
}
