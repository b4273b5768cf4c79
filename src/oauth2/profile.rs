//! What one provider does differently, as data: how a client shows who it is, what a refresh carries, and what answers
//! mean.
//!
//! The ready profiles are the JSON files in `profiles/`. A profile says only where its provider departs from the
//! generic one, which keeps to the RFCs.

use super::challenge::{self, TokenStatus};
use reqwest::{
    Url,
    header::{HeaderMap, HeaderName},
};
use serde::{Deserialize, Deserializer};
use std::{collections::BTreeMap, time::Duration};

/// The ready profiles, by name.
const READY: [(&str, &str); 14] = [
    ("generic", include_str!("profiles/generic.json")),
    ("microsoft", include_str!("profiles/microsoft.json")),
    ("salesforce", include_str!("profiles/salesforce.json")),
    ("google", include_str!("profiles/google.json")),
    ("hubspot", include_str!("profiles/hubspot.json")),
    ("github", include_str!("profiles/github.json")),
    ("slack", include_str!("profiles/slack.json")),
    ("atlassian", include_str!("profiles/atlassian.json")),
    ("quickbooks", include_str!("profiles/quickbooks.json")),
    ("xero", include_str!("profiles/xero.json")),
    ("exact", include_str!("profiles/exact.json")),
    ("zoho", include_str!("profiles/zoho.json")),
    ("dropbox", include_str!("profiles/dropbox.json")),
    ("notion", include_str!("profiles/notion.json")),
];

/// One provider's ways. Made from JSON, where each member may be left out.
///
/// ```
/// use sailor::oauth2::{ClientAuth, Profile};
///
/// let profile = Profile::from_json(r#"{"name": "acme", "client_auth": "basic", "margin": 120}"#)?;
/// assert_eq!(profile.client_auth, ClientAuth::Basic);
/// assert_eq!(Profile::named("xero").unwrap().client_auth, ClientAuth::Basic);
/// # Ok::<(), sailor::oauth2::ProfileError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Profile {
    /// What it is called in logs and in [`OAuth2::profile`](super::OAuth2::profile).
    pub name: String,
    /// Hosts of token endpoints that select this profile; a host's subdomains count too.
    pub hosts: Vec<String>,
    /// How the client shows who it is at the token endpoint (RFC 6749 §2.3).
    pub client_auth: ClientAuth,
    /// How parameters are written for the token endpoint.
    pub body: BodyFormat,
    /// Whether a refresh names scopes, and which.
    pub refresh_scope: ScopePolicy,
    /// What a refresh carries beside the standard parameters, which it cannot override.
    pub refresh_params: BTreeMap<String, String>,
    /// Where users authorise. A template, as all addresses here; those that begin with `./` are reckoned from the token
    /// endpoint, for providers with a host per region or customer.
    pub auth_uri: Option<String>,
    /// Where codes are exchanged.
    pub token_uri: Option<String>,
    /// Where tokens are refreshed, when that is elsewhere.
    pub refresh_uri: Option<String>,
    /// Where tokens are revoked (RFC 7009).
    pub revoke_uri: Option<String>,
    /// What the authorisation request carries beside the standard parameters.
    pub authorize_params: BTreeMap<String, String>,
    /// How long before its end a token is renewed; in JSON seconds. Never more than half of a token's life.
    #[serde(deserialize_with = "seconds")]
    pub margin: Duration,
    /// How long a token lives when the answer does not say; in JSON seconds.
    #[serde(deserialize_with = "some_seconds")]
    pub default_lifetime: Option<Duration>,
    /// What `expires_in` counts.
    pub expires_unit: ExpiresUnit,
    /// The `token_type`s that are sent in [`token_header`](Self::token_header), in any case.
    pub token_types: Vec<String>,
    /// How a request carries the token.
    pub token_header: TokenHeader,
    /// Where the API is, when every customer's is there.
    pub base_url: Option<String>,
    /// The member of the token answer that says where the API is for this customer.
    pub base_url_field: Option<String>,
    /// What errors of the token endpoint mean, where it is not what the RFC says. The first that fits decides.
    pub errors: Vec<ErrorRule>,
    /// Answers of the API that mean "token expired", beside 401.
    pub expired: Vec<AnswerRule>,
    /// Answers of the API with status 401 that a new token would not change.
    pub not_about_token: Vec<AnswerRule>,
}

/// How a client shows who it is at the token endpoint: always by exactly one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    /// `client_id` and `client_secret` among the parameters.
    #[default]
    Post,
    /// HTTP Basic, each half form-encoded first (RFC 6749 §2.3.1).
    Basic,
    /// HTTP Basic as it is, for providers that do not decode.
    BasicRaw,
    /// `client_id` among the parameters and no secret: a public client.
    None,
}

/// How parameters are written for the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyFormat {
    /// A form, as the RFC says.
    #[default]
    Form,
    /// A JSON object.
    Json,
    /// The query of the address, with an empty body.
    Query,
}

/// Whether a refresh names scopes, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopePolicy {
    /// None: the provider grants what it granted before.
    #[default]
    None,
    /// What was granted last (with `offline_access` where that is configured), or else what is configured.
    Granted,
    /// What is configured.
    Configured,
}

/// What `expires_in` counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpiresUnit {
    /// As the RFC says.
    #[default]
    Seconds,
    /// Milliseconds.
    Millis,
}

/// The header that carries the token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenHeader {
    /// Its name, in lower case.
    pub name: String,
    /// What stands before the token; may be empty.
    pub scheme: String,
}

impl Default for TokenHeader {
    fn default() -> Self {
        Self {
            name: "authorization".to_owned(),
            scheme: "Bearer".to_owned(),
        }
    }
}

/// What an error of the token endpoint means. What is not given fits everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorRule {
    /// The status.
    #[serde(default)]
    pub status: Option<u16>,
    /// The code, as in `error`; in any case.
    #[serde(default)]
    pub code: Option<String>,
    /// Something that stands in the answer; in any case.
    #[serde(default)]
    pub text: Option<String>,
    /// What it means.
    pub class: ErrorClass,
}

/// An answer of the API that can be told by its status and what stands in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswerRule {
    /// The status.
    pub status: u16,
    /// A header that has to be there.
    #[serde(default)]
    pub header: Option<HeaderRule>,
    /// Something that stands in the beginning of the body; in any case.
    #[serde(default)]
    pub text: Option<String>,
}

/// A header of an answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeaderRule {
    /// Its name.
    pub name: String,
    /// Something that stands in it, in any case; empty for any value.
    #[serde(default)]
    pub text: String,
}

/// What a failed exchange means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The refresh token is dead, or the user has to do something: only a new authorisation helps.
    Reauth,
    /// What component.json or the environment says is wrong: an operator has to act. Stored tokens are as good as
    /// before.
    Config,
    /// It will pass: nothing is lost, and the same request may be sent again later.
    Transient,
    /// Not understood. As likely a mistake of the provider as a dead token under an unknown name: worth a few more
    /// tries, and never by itself a reason to throw a token away.
    Malformed,
}

/// A profile that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("an OAuth2 profile cannot be read: {0}")]
pub struct ProfileError(String);

impl Default for Profile {
    fn default() -> Self {
        Self {
            name: "generic".to_owned(),
            hosts: vec![],
            client_auth: ClientAuth::default(),
            body: BodyFormat::default(),
            refresh_scope: ScopePolicy::default(),
            refresh_params: BTreeMap::new(),
            auth_uri: None,
            token_uri: None,
            refresh_uri: None,
            revoke_uri: None,
            authorize_params: BTreeMap::new(),
            margin: Duration::from_secs(60),
            default_lifetime: None,
            expires_unit: ExpiresUnit::default(),
            token_types: vec!["bearer".to_owned()],
            token_header: TokenHeader::default(),
            base_url: None,
            base_url_field: None,
            errors: vec![],
            expired: vec![],
            not_about_token: vec![],
        }
    }
}

impl Profile {
    /// The profile that keeps to the RFCs.
    #[must_use]
    pub fn generic() -> Self {
        Self::default()
    }

    /// The ready profile of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (_, json) = READY.iter().find(|(ready, _)| *ready == name)?;
        // A test reads every one of them, so none is missing.
        Self::from_json(json).ok()
    }

    /// The names of the ready profiles.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        READY.iter().map(|(name, _)| *name).collect()
    }

    /// The ready profile of the provider with this token endpoint, or the generic one.
    #[must_use]
    pub fn for_endpoint(token_url: &Url) -> Self {
        let host = token_url
            .host_str()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let is_at = |known: &String| {
            host.strip_suffix(known.as_str())
                .is_some_and(|sub| sub.is_empty() || sub.ends_with('.'))
        };
        let ready = READY.iter().filter_map(|(name, _)| Self::named(name));
        ready
            .into_iter()
            .find(|profile| profile.hosts.iter().any(is_at))
            .unwrap_or_default()
    }

    /// Reads a profile of one's own.
    ///
    /// # Errors
    /// When it is not JSON, or a member is unknown or of another type: names it.
    pub fn from_json(json: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
                .map_err(|e| ProfileError(e.to_string()))?;
        HeaderName::try_from(&profile.token_header.name)
            .map_err(|_| ProfileError("token_header.name: not the name of a header".to_owned()))?;
        Ok(profile)
    }

    /// What an answer of the API says about the token that it was sent. `body_start` may be empty unless
    /// [`reads_body`](Self::reads_body).
    ///
    /// 403 never means that the token has expired, unless the profile says so (RFC 6750 §3.1).
    #[must_use]
    pub fn means_expired(&self, status: u16, headers: &HeaderMap, body_start: &str) -> TokenStatus {
        let any = |rules: &[AnswerRule]| {
            rules
                .iter()
                .any(|rule| rule.fits(status, headers, body_start))
        };
        if any(&self.not_about_token) {
            TokenStatus::Unrelated
        } else if any(&self.expired) {
            TokenStatus::Expired
        } else {
            challenge::judge(status, headers)
        }
    }

    /// Whether judging an answer with this status needs the beginning of its body.
    #[must_use]
    pub fn reads_body(&self, status: u16) -> bool {
        self.expired
            .iter()
            .chain(&self.not_about_token)
            .any(|rule| rule.status == status && rule.text.is_some())
    }

    /// What the profile's own rules say about an error of the token endpoint.
    pub(super) fn class_of(
        &self,
        status: u16,
        code: Option<&str>,
        text: &str,
    ) -> Option<ErrorClass> {
        let fits = |rule: &&ErrorRule| {
            rule.status.is_none_or(|wanted| wanted == status)
                && rule
                    .code
                    .as_deref()
                    .is_none_or(|wanted| code.is_some_and(|code| code.eq_ignore_ascii_case(wanted)))
                && rule
                    .text
                    .as_deref()
                    .is_none_or(|wanted| holds(text, wanted))
        };
        self.errors.iter().find(fits).map(|rule| rule.class)
    }
}

impl AnswerRule {
    fn fits(&self, status: u16, headers: &HeaderMap, body_start: &str) -> bool {
        let has = |rule: &HeaderRule| {
            headers
                .get_all(&rule.name)
                .iter()
                .any(|value| holds(&String::from_utf8_lossy(value.as_bytes()), &rule.text))
        };
        self.status == status
            && self.header.as_ref().is_none_or(has)
            && self
                .text
                .as_deref()
                .is_none_or(|wanted| holds(body_start, wanted))
    }
}

/// Whether `wanted` stands in `text`, in any case.
fn holds(text: &str, wanted: &str) -> bool {
    text.to_ascii_lowercase()
        .contains(&wanted.to_ascii_lowercase())
}

fn seconds<'de, D: Deserializer<'de>>(json: D) -> Result<Duration, D::Error> {
    u64::deserialize(json).map(Duration::from_secs)
}

fn some_seconds<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Duration>, D::Error> {
    Option::<u64>::deserialize(json).map(|seconds| seconds.map(Duration::from_secs))
}
