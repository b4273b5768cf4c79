//! The token record: everything that is stored of a credential. A token response is merged into it.
//!
//! The platform keeps the whole response below the credential's field, and components read more of it than tokens. So a
//! [`TokenRecord`] is merged and never replaced: members that a response omits are kept.

use super::profile::{ExpiresUnit, Profile};
use crate::formats::{
    json::{member_mut, merge, number_of, text_member},
    time::{javascript_time, parse_javascript_time},
};
use serde_json::{Map, Value};
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// The longest accepted lifetime. A longer one has the wrong unit, or is a date.
const MAX_LIFETIME: f64 = 10.0 * 365.25 * 86_400.0;
/// When the access token expires; the platform's own component library writes this name.
const EXPIRY: &str = "tokenExpiryTime";
/// When the refresh token expires.
const REFRESH_EXPIRY: &str = "refreshTokenExpiryTime";
/// Members that are valid only with the response that they arrived in. Those of an older response are dropped.
const RELATIVE: [&str; 8] = [
    "expires_in",
    "ext_expires_in",
    "expires_at",
    "expires_on",
    "expiry_date",
    "refresh_token_expires_in",
    "x_refresh_token_expires_in",
    EXPIRY,
];

/// A stored credential: every member of it. `Debug` shows the members' names only.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct TokenRecord(pub(super) Map<String, Value>);

/// A provider's response: a record, and how long its access token is valid from the time of the request.
#[derive(Clone, Debug)]
pub(crate) struct TokenResponse {
    pub(crate) record: TokenRecord,
    pub(crate) lifetime: Option<Duration>,
}

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenRecord")
            .field(&self.0.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl TokenRecord {
    /// Returns the record below `field` of a configuration: directly, or in its member `keys` or `credentials`. `None`
    /// if there is no token.
    pub(crate) fn find(config: &Value, field: &[String]) -> Option<Self> {
        let mut path = field.iter();
        let below = path.try_fold(config, |value, name| value.get(name))?;
        let record = wrapper(below).map_or(below, |name| &below[name]);
        let members = record.as_object().filter(|members| has_tokens(members))?;
        Some(Self(members.clone()))
    }

    /// All members, tokens included.
    pub(crate) fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    pub(crate) fn access_token(&self) -> Option<&str> {
        text_member(&self.0, "access_token")
    }

    pub(crate) fn refresh_token(&self) -> Option<&str> {
        text_member(&self.0, "refresh_token")
    }

    /// Its tokens, which no text may show.
    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        let tokens = [self.access_token(), self.refresh_token()];
        tokens.into_iter().flatten()
    }

    /// The scopes granted last, if the provider named them.
    pub(crate) fn scope(&self) -> Option<&str> {
        text_member(&self.0, "scope")
    }

    /// Returns any other text of the record, such as `instance_url`. The platform's secrets keep it in
    /// `undefined_params`.
    pub(crate) fn member(&self, name: &str) -> Option<&str> {
        text_member(&self.0, name)
            .or_else(|| text_member(self.0.get("undefined_params")?.as_object()?, name))
    }

    /// Returns when the access token expires, if that is known. Only a time that this runtime computed from a lifetime
    /// counts, because other members depend on the provider's clock.
    pub(crate) fn expires_at(&self) -> Option<SystemTime> {
        parse_javascript_time(text_member(&self.0, EXPIRY)?)
    }

    /// Returns how long the access token was valid when the provider issued it, if the provider said so.
    pub(crate) fn lifetime(&self, profile: &Profile) -> Option<Duration> {
        lifetime(self.0.get("expires_in")?, profile.expires_unit)
    }

    /// Returns how long the refresh token was valid when the provider issued it, if the provider said so.
    pub(super) fn refresh_lifetime(&self) -> Option<Duration> {
        let names = ["refresh_token_expires_in", "x_refresh_token_expires_in"];
        let mut values = names.iter().filter_map(|name| self.0.get(*name));
        values.find_map(|value| lifetime(value, ExpiresUnit::Seconds))
    }

    /// Returns when the refresh token expires, if the provider specified it.
    pub(crate) fn refresh_expires_at(&self) -> Option<SystemTime> {
        parse_javascript_time(text_member(&self.0, REFRESH_EXPIRY)?)
    }

    /// Returns this record merged with `response` to a request of `requested_at`. Members of the response replace old
    /// ones, members that it omits are kept, and an empty token counts as omitted.
    pub(crate) fn merged(&self, response: &TokenResponse, requested_at: SystemTime) -> Self {
        let TokenResponse { record, lifetime } = response;
        let mut merged = self.with_overlay(&record.0);
        merged.set_expiry(EXPIRY, requested_at, *lifetime);
        merged.set_expiry(REFRESH_EXPIRY, requested_at, record.refresh_lifetime());
        merged
    }

    fn set_expiry(&mut self, name: &str, from: SystemTime, lifetime: Option<Duration>) {
        if let Some(end) = lifetime.and_then(|lifetime| from.checked_add(lifetime)) {
            self.0.insert(name.to_owned(), javascript_time(end).into());
        }
    }

    /// Returns this record with the members that a module emits on top. Component code often loses refresh tokens that a
    /// response omits.
    pub(super) fn with_emitted(&self, emitted: &Self) -> Self {
        let same_tokens = self.access_token() == emitted.access_token()
            && self.refresh_token() == emitted.refresh_token();
        if !same_tokens {
            return self.with_overlay(&emitted.0);
        }
        let members = self.0.clone().into_iter();
        Self(members.chain(emitted.0.clone()).collect())
    }

    /// Returns this record with `newer` members on top. Empty tokens are ignored, and lifetimes of an older response
    /// are dropped.
    fn with_overlay(&self, newer: &Map<String, Value>) -> Self {
        let mut members = self.0.clone();
        members.retain(|name, _| !RELATIVE.contains(&name.as_str()));
        let is_no_token = |name: &str| {
            matches!(name, "access_token" | "refresh_token") && text_member(newer, name).is_none()
        };
        let kept = newer.iter().filter(|(name, _)| !is_no_token(name));
        members.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        let other_refresh_token = text_member(&members, "refresh_token") != self.refresh_token();
        if other_refresh_token && !newer.contains_key(REFRESH_EXPIRY) {
            members.remove(REFRESH_EXPIRY);
        }
        Self(members)
    }
}

/// Returns the keys that updateKeys saves when `record` is the new token record. The platform replaces all existing
/// keys, so they contain every credential field of the configuration, with `record` in place of the old record.
pub(crate) fn keys_with_record<S: AsRef<str>>(
    config: &Value,
    credential_fields: &[S],
    field: &[String],
    record: &TokenRecord,
) -> Map<String, Value> {
    let declared = credential_fields.iter().map(AsRef::as_ref);
    let declared = declared.chain(field.first().map(String::as_str));
    let mut keys = members_of(config, declared);
    let Some((first, nested)) = field.split_first() else {
        return keys;
    };
    let first = keys.entry(first).or_insert(Value::Null);
    let mut below = nested
        .iter()
        .fold(first, |below, name| member_mut(below, name));
    if let Some(name) = wrapper(below) {
        below = member_mut(below, name);
    }
    *below = record.to_value();
    keys
}

/// Returns the tokens among the keys that a component emits. Components send one of four shapes: the token response, the
/// response below its field, the field with more around it, or the whole configuration of the step.
pub(super) fn emitted(keys: &Map<String, Value>, field: &[String]) -> Option<TokenRecord> {
    if is_bare(keys, field) {
        return Some(TokenRecord(keys.clone()));
    }
    let (first, nested) = field.split_first()?;
    TokenRecord::find(keys.get(first)?, nested)
}

/// Returns the keys to store when a component emits `keys`: every credential field of the configuration, with the emitted
/// ones on top, and with `record` as the token record. Without a record, no tokens are stored.
///
/// A member of the step's configuration that is not a credential field is not added to the credential.
pub(super) fn keys_to_store(
    keys: Map<String, Value>,
    config: &Value,
    field: &[String],
    credential_fields: &[&str],
    record: Option<&TokenRecord>,
) -> Map<String, Value> {
    let mut latest = config.clone();
    let mut known: Vec<_> = credential_fields.iter().map(ToString::to_string).collect();
    let keys = if is_bare(&keys, field) {
        Map::new()
    } else {
        keys
    };
    for (name, value) in keys {
        let is_tokens = field.first() == Some(&name);
        if !is_tokens && !known.contains(&name) && config.get(&name).is_some() {
            continue;
        }
        let stored = member_mut(&mut latest, &name);
        if is_tokens {
            // The wrapper of the tokens may have further members, which the module does not emit.
            merge(stored, value);
        } else {
            *stored = value;
        }
        known.push(name);
    }
    if let Some(record) = record {
        return keys_with_record(&latest, &known, field, record);
    }
    known.retain(|name| field.first() != Some(name));
    members_of(&latest, known.iter().map(String::as_str))
}

/// Whether the keys are a token response without the credential's field around it.
fn is_bare(keys: &Map<String, Value>, field: &[String]) -> bool {
    field.first().is_some_and(|name| !keys.contains_key(name)) && has_tokens(keys)
}

/// Returns the member of a credential's field that has the tokens, if the field itself has none.
fn wrapper(below: &Value) -> Option<&'static str> {
    let has = |value: Option<&Value>| value.and_then(Value::as_object).is_some_and(has_tokens);
    let mut wrappers = ["keys", "credentials"].into_iter();
    wrappers.find(|name| !has(Some(below)) && has(below.get(name)))
}

/// Reads a lifetime from a number or a text. One that is not above zero, or too long, counts as unknown.
fn lifetime(value: &Value, unit: ExpiresUnit) -> Option<Duration> {
    let seconds = match unit {
        ExpiresUnit::Seconds => number_of(value)?,
        ExpiresUnit::Millis => number_of(value)? / 1000.0,
    };
    (seconds > 0.0 && seconds <= MAX_LIFETIME).then(|| Duration::from_secs_f64(seconds))
}

fn has_tokens(members: &Map<String, Value>) -> bool {
    text_member(members, "access_token").is_some()
        || text_member(members, "refresh_token").is_some()
}

fn members_of<'a>(value: &Value, names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    let members = names.filter_map(|name| Some((name.to_owned(), value.get(name)?.clone())));
    members.collect()
}
