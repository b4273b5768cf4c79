//! What a token endpoint answers, read with lenience: JSON or a form, numbers as texts, tokens under a 200 that is an
//! error. Nothing is believed to be a success unless it holds an access token.

use super::profile::{ExpiresUnit, Profile};
use crate::protocol::without_lone_surrogates;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, fmt, time::Duration};

/// A longer life than this is a mistake in units, or a date.
const LONGEST_LIFE: f64 = 10.0 * 365.25 * 86_400.0;
/// What some write before UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A successful answer. `Debug` shows no token.
#[derive(Clone)]
#[non_exhaustive]
pub struct TokenResponse {
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

impl fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenResponse")
            .field("lifetime", &self.lifetime)
            .field("members", &self.members.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Why an answer with a status of success is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenResponseError {
    /// Not what an endpoint for tokens says.
    #[error("the answer is neither JSON nor a form")]
    Unreadable,
    /// An error, with its code when it has one.
    #[error("the answer is an error")]
    Error(Option<String>),
    /// Neither a token nor an error.
    #[error("the answer holds no access token")]
    NoAccessToken,
}

impl TokenResponse {
    /// Reads the body of an answer with a status of success. One with an access token is good, whatever else it says: the
    /// refresh token that it was given for may be spent.
    ///
    /// # Errors
    /// When it holds no access token that can be used. Nothing of the body is in the error but an error code.
    pub fn read(body: &[u8], profile: &Profile) -> Result<Self, TokenResponseError> {
        let mut members = members(body).ok_or(TokenResponseError::Unreadable)?;
        // A list of scopes is seen in the wild; what is stored is as the RFC has it.
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
        let Some(access_token) = text("access_token") else {
            return Err(if is_error(&members) {
                TokenResponseError::Error(code(&members))
            } else {
                TokenResponseError::NoAccessToken
            });
        };
        let lifetime = |name: &str, unit| members.get(name).and_then(|value| lifetime(value, unit));
        Ok(Self {
            access_token: access_token.into(),
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

    /// The same for a body that has no end. A form may end within a token, so only JSON counts.
    pub(super) fn read_cut(body: &[u8], profile: &Profile) -> Option<Self> {
        let is_json = body
            .trim_ascii_start()
            .strip_prefix(BOM)
            .unwrap_or(body)
            .trim_ascii_start()
            .starts_with(b"{");
        Self::read(body, profile).ok().filter(|_| is_json)
    }

    /// What the provider calls the token, for the log, where `profile` does not know tokens of that type.
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
            _ => Some("something that is no name".to_owned()),
        }
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
    let body = body.strip_prefix(BOM).unwrap_or(body);
    if let Ok(json) = serde_json::from_slice::<Value>(body) {
        return match json {
            Value::Object(members) => Some(members),
            _ => None,
        };
    }
    // Other encodings of Unicode say so at their beginning; what is in none of them becomes U+FFFD.
    let (text, _, _) = encoding_rs::UTF_8.decode(body);
    let members = readable_members(&text);
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

/// What can be read of an object that is not quite JSON: its members up to where no more can be, without those that are
/// nested too deep.
fn readable_members(text: &str) -> Map<String, Value> {
    struct Into<'a>(&'a mut Map<String, Value>);
    impl<'de> Visitor<'de> for Into<'_> {
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
    impl<'de> DeserializeSeed<'de> for Into<'_> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
            json.deserialize_map(self)
        }
    }
    let mut members = Map::new();
    // Why it goes on no further does not matter.
    let _ = Into(&mut members).deserialize(&mut serde_json::Deserializer::from_str(&mended(text)));
    members
}

/// JSON as lenient readers take it: halves of surrogate pairs, and control characters in texts.
fn mended(text: &str) -> Cow<'_, str> {
    let text: Cow<'_, str> = if text.contains(|c: char| c.is_ascii_control()) {
        text.replace(|c: char| c.is_ascii_control(), " ").into()
    } else {
        text.into()
    };
    match without_lone_surrogates(text.as_bytes()).map(String::from_utf8) {
        // An escape became another: it is text still.
        Some(Ok(mended)) => mended.into(),
        _ => text,
    }
}

/// The code of an error: `error` as in the RFC, or where other providers have it.
pub(super) fn code(members: &Map<String, Value>) -> Option<String> {
    let nested = members.get("error").and_then(Value::as_object);
    let named = |members: &Map<String, Value>, names: &[&str]| {
        names.iter().find_map(|name| {
            members
                .get(*name)?
                .as_str()
                .filter(|code| is_code(code))
                .map(str::to_owned)
        })
    };
    nested
        .and_then(|error| named(error, &["code", "type", "status"]))
        .or_else(|| {
            named(
                members,
                &["error", "code", "error_code", "errorCode", "status"],
            )
        })
}

/// What narrows a code down for people: `suberror` and Microsoft's numbers. Never a reason to do something else, since
/// the numbers change.
pub(super) fn diagnostic(members: &Map<String, Value>) -> Option<String> {
    let suberror = members
        .get("suberror")
        .and_then(Value::as_str)
        .filter(|code| is_code(code))
        .map(str::to_owned);
    let number = members
        .get("error_codes")
        .and_then(|codes| codes.get(0))
        .and_then(Value::as_u64)
        .or_else(|| {
            let (_, after) = members
                .get("error_description")?
                .as_str()?
                .split_once("AADSTS")?;
            after
                .split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse()
                .ok()
        });
    let parts: Vec<_> = suberror
        .into_iter()
        .chain(number.map(|number| format!("AADSTS{number}")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn is_error(members: &Map<String, Value>) -> bool {
    let says_so = |value: &Value| {
        !matches!(value, Value::Null | Value::Bool(false)) && value != "" && value != 0
    };
    members.get("error").is_some_and(says_so) || members.get("ok") == Some(&Value::Bool(false))
}

/// A word that names an error, rather than a sentence, or something secret: those have digits.
fn is_code(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && !text.eq_ignore_ascii_case("error")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.'))
}
