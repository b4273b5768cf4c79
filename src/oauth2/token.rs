//! What is stored of a credential, and how the answer of a token endpoint changes it.
//!
//! The platform keeps the whole answer below the credential's field, and components read more of it than tokens, so a
//! [`TokenRecord`] is merged and never replaced: what an answer leaves out stays.

use super::{answer::TokenResponse, iso_time};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::{
    fmt,
    time::{Duration, SystemTime},
};

/// When the access token ends: the name that the platform's own component library writes.
const EXPIRY: &str = "tokenExpiryTime";
/// When the refresh token ends, beside it.
const REFRESH_EXPIRY: &str = "refreshTokenExpiryTime";
/// Members that count from the answer they came with, so that those of an older answer say nothing any more.
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
pub struct TokenRecord(Map<String, Value>);

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenRecord")
            .field(&self.0.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl TokenRecord {
    /// The record below `field` of a configuration: there itself, or under `keys` or `credentials` of what is there.
    /// `None` when no token is there.
    #[must_use]
    pub fn find(config: &Value, field: &[String]) -> Option<Self> {
        let below = field
            .iter()
            .try_fold(config, |value, name| value.get(name))?;
        place_in(below)?
            .iter()
            .try_fold(below, |value, name| value.get(*name))?
            .as_object()
            .cloned()
            .map(Self)
    }

    /// A record with these members.
    #[must_use]
    pub fn from_members(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// All members, tokens included.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// The access token, when there is one.
    #[must_use]
    pub fn access_token(&self) -> Option<&str> {
        text(&self.0, "access_token")
    }

    /// The refresh token, when there is one.
    #[must_use]
    pub fn refresh_token(&self) -> Option<&str> {
        text(&self.0, "refresh_token")
    }

    /// The scopes granted last, when the provider named them.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        text(&self.0, "scope")
    }

    /// Any other text of the record, such as `instance_url`, also where the platform's secrets keep it
    /// (`undefined_params`).
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        text(&self.0, name).or_else(|| text(self.0.get("undefined_params")?.as_object()?, name))
    }

    /// When the access token ends, if that is known. Only what was reckoned here from a lifetime is believed: other
    /// members hold whatever time the provider's clock had.
    #[must_use]
    pub fn expires_at(&self) -> Option<SystemTime> {
        iso_time::read(text(&self.0, EXPIRY)?)
    }

    /// When the refresh token ends, if the provider said so.
    #[must_use]
    pub fn refresh_expires_at(&self) -> Option<SystemTime> {
        iso_time::read(text(&self.0, REFRESH_EXPIRY)?)
    }

    /// This record after `answer` came to a request sent at `requested_at`: members of the answer win, those it leaves
    /// out stay, and an empty token is one left out.
    #[must_use]
    pub fn merged(&self, answer: &TokenResponse, requested_at: SystemTime) -> Self {
        let mut merged = self.overlaid(&answer.members);
        let mut set = |name: &str, lifetime: Option<Duration>| {
            if let Some(end) = lifetime.and_then(|lifetime| requested_at.checked_add(lifetime)) {
                merged
                    .0
                    .insert(name.to_owned(), iso_time::write(end).into());
            }
        };
        set(EXPIRY, answer.lifetime);
        set(REFRESH_EXPIRY, answer.refresh_lifetime);
        merged
    }

    /// Whether both hold the same tokens, whatever else they hold.
    #[must_use]
    pub fn same_tokens(&self, other: &Self) -> bool {
        self.access_token() == other.access_token() && self.refresh_token() == other.refresh_token()
    }

    /// Tells this refresh token (or else this access token) from others without giving it away.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 16] {
        let token = self
            .refresh_token()
            .or(self.access_token())
            .unwrap_or_default();
        let hash = Sha256::digest(token.as_bytes());
        std::array::from_fn(|i| hash[i])
    }

    /// This record with `newer` members on top. Empty tokens do not count, and lifetimes of an older answer go.
    fn overlaid(&self, newer: &Map<String, Value>) -> Self {
        let mut members = self.0.clone();
        members.retain(|name, _| !RELATIVE.contains(&name.as_str()));
        let is_no_token = |name: &str| {
            matches!(name, "access_token" | "refresh_token") && text(newer, name).is_none()
        };
        let kept = newer.iter().filter(|(name, _)| !is_no_token(name));
        members.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        let other_refresh_token = text(&members, "refresh_token") != self.refresh_token();
        if other_refresh_token && !newer.contains_key(REFRESH_EXPIRY) {
            members.remove(REFRESH_EXPIRY);
        }
        Self(members)
    }
}

/// What updateKeys has to say when `record` is the credential's new one: the platform replaces everything it has, so
/// this holds every credential field that the configuration knows, and `record` where the old one was.
#[must_use]
pub fn keys_for<S: AsRef<str>>(
    config: &Value,
    credential_fields: &[S],
    field: &[String],
    record: &TokenRecord,
) -> Map<String, Value> {
    let declared = credential_fields
        .iter()
        .map(AsRef::as_ref)
        .chain(field.first().map(String::as_str));
    let mut keys: Map<_, _> = declared
        .filter_map(|name| Some((name.to_owned(), config.get(name)?.clone())))
        .collect();
    let Some((first, nested)) = field.split_first() else {
        return keys;
    };
    let mut below = keys.entry(first).or_insert(Value::Null);
    for name in nested {
        below = object(below).entry(name).or_insert(Value::Null);
    }
    for name in place_in(below).unwrap_or_default() {
        below = object(below).entry(*name).or_insert(Value::Null);
    }
    *below = record.to_value();
    keys
}

/// What a component's own updateKeys means, as complete keys. Components are known to send four things: the token
/// answer, the answer below its field, the field with more around it, and the whole configuration of the step.
///
/// The tokens in it are merged into the stored record, as component code tends to lose refresh tokens that an answer
/// leaves out. A member of the step's configuration that is no credential field does not become one.
#[must_use]
pub fn normalised<S: AsRef<str>>(
    keys: Map<String, Value>,
    config: &Value,
    field: &[String],
    credential_fields: &[S],
) -> Map<String, Value> {
    normalised_unless(|_| false, keys, config, field, credential_fields)
}

/// The same, but tokens that are `old` do not take the place of the stored ones.
pub(super) fn normalised_unless<S: AsRef<str>>(
    old: impl Fn(&TokenRecord) -> bool,
    keys: Map<String, Value>,
    config: &Value,
    field: &[String],
    credential_fields: &[S],
) -> Map<String, Value> {
    let stored = TokenRecord::find(config, field);
    let keys = Value::Object(keys);
    let is_bare = field.first().is_some_and(|name| keys.get(name).is_none()) && has_token(&keys);
    let sent = if is_bare {
        keys.as_object().cloned().map(TokenRecord)
    } else {
        TokenRecord::find(&keys, field)
    };
    let is_field = |name: &str| {
        credential_fields.iter().any(|field| field.as_ref() == name)
            || field.first().is_some_and(|first| first == name)
    };
    let mut latest = config.clone();
    let mut known: Vec<String> = credential_fields
        .iter()
        .map(|field| field.as_ref().to_owned())
        .collect();
    if let (false, Value::Object(keys)) = (is_bare, keys) {
        for (name, value) in keys
            .into_iter()
            .filter(|(name, _)| is_field(name) || config.get(name).is_none())
        {
            known.push(name.clone());
            object(&mut latest).insert(name, value);
        }
    }
    let record = match (stored, sent) {
        (Some(stored), Some(sent)) if stored.same_tokens(&sent) => {
            Some(TokenRecord(stored.0.into_iter().chain(sent.0).collect()))
        }
        (Some(stored), Some(sent)) if old(&sent) => Some(stored),
        (Some(stored), Some(sent)) => Some(stored.overlaid(&sent.0)),
        (stored, sent) => sent.or(stored),
    };
    match record {
        Some(record) => keys_for(&latest, &known, field, &record),
        None => known
            .into_iter()
            .filter_map(|name| Some((name.clone(), latest.get(&name)?.clone())))
            .collect(),
    }
}

/// Where, below a credential's field, the record is.
fn place_in(below: &Value) -> Option<&'static [&'static str]> {
    let places: [&[&str]; 3] = [&[], &["keys"], &["credentials"]];
    places.into_iter().find(|place| {
        place
            .iter()
            .try_fold(below, |value, name| value.get(*name))
            .is_some_and(has_token)
    })
}

fn has_token(value: &Value) -> bool {
    value.as_object().is_some_and(|m| {
        text(m, "access_token")
            .or_else(|| text(m, "refresh_token"))
            .is_some()
    })
}

/// A member that is a text and not empty.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The members of `value`, which becomes an object if it is none.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(members) => members,
        _ => unreachable!("it was made an object"),
    }
}
