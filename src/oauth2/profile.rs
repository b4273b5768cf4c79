//! Provider profiles: how one provider differs from the RFCs, as data.
//!
//! The built-in profiles are the JSON files in `profiles/`. A profile holds only the differences from the generic one,
//! which follows the RFCs.

use super::{
    client_auth::ClientAuth,
    token_status::{self, TokenStatus},
};
use crate::clients::http::{self, ResponseRule, contains_ignoring_case, is_below};
use reqwest::{
    Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName},
};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The built-in profiles, by name.
const BUILT_IN: [(&str, &str); 14] = [
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

/// How one provider differs from the RFCs. It is read from JSON, where every member may be left out.
///
/// A profile for a provider that is not built in:
///
/// ```
/// use sailor::oauth2::{OAuth2, Profile};
///
/// let profile = Profile::from_json(r#"{"name": "acme", "client_auth": "basic", "margin": 120}"#)?;
/// let oauth2 = OAuth2::new().custom_profile(profile);
/// # Ok::<(), sailor::oauth2::ProfileError>(())
/// ```
///
/// | member | value | default |
/// |---|---|---|
/// | `name` | the profile's name in logs | `generic` |
/// | `hosts` | hosts of token endpoints that select a built-in profile; subdomains count too | none |
/// | `client_auth` | how the client authenticates at the token endpoint: `post`, `basic`, `basic_raw` (not form-encoded), `none` | `post` |
/// | `body` | how parameters are sent to the token endpoint: `form`, `json`, `query` | `form` |
/// | `refresh_scope` | scopes that a refresh names: `none`, `granted` (those granted last), `configured` | `none` |
/// | `refresh_params` | further parameters of a refresh; standard ones cannot be overridden | none |
/// | `auth_uri`, `token_uri`, `refresh_uri`, `revoke_uri` | the provider's endpoints; `./` is relative to the token endpoint | none |
/// | `authorize_params` | further parameters of the authorization request | none |
/// | `margin` | seconds before its expiry at which a token is refreshed; at most half of its lifetime | 60 |
/// | `default_lifetime` | lifetime in seconds if the response has no `expires_in` | unknown |
/// | `expires_unit` | unit of `expires_in`: `seconds`, `millis` | `seconds` |
/// | `token_types` | token types that are expected | `bearer` |
/// | `token_header` | `name` and `scheme` of the header that carries the token | `authorization`, `Bearer` |
/// | `base_url` | the API's base URL, if all customers have the same | none |
/// | `base_url_field` | member of the token response that holds the customer's base URL | none |
/// | `errors` | rules for errors of the token endpoint: `status`, `code`, `text`, and the `class` that they mean (`reauth`, `config`, `transient`, `malformed`) | none |
/// | `expired` | rules for responses of the API, besides 401, that mean an expired token: `status`, `header` (`name`, `text`), `text` in the first 2 KiB of the body | none |
/// | `not_about_token` | the same for a 401 that a new token would not change | none |
/// | `insufficient_scope` | the same for responses that ask for a scope | none |
/// | `busy` | the same for responses that ask for fewer requests, besides 429 and a 403 with `Retry-After` | none |
/// | `headers` | headers that the API wants in every request, by name; a request can set other values | none |
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Profile {
    pub(super) name: String,
    pub(super) hosts: Vec<String>,
    pub(super) client_auth: ClientAuth,
    pub(super) body: BodyFormat,
    pub(super) refresh_scope: ScopePolicy,
    pub(super) refresh_params: BTreeMap<String, String>,
    /// A template, like all URLs here.
    pub(super) auth_uri: Option<String>,
    pub(super) token_uri: Option<String>,
    pub(super) refresh_uri: Option<String>,
    pub(super) revoke_uri: Option<String>,
    pub(super) authorize_params: BTreeMap<String, String>,
    /// In seconds, like the lifetime.
    pub(super) margin: u64,
    pub(super) default_lifetime: Option<u64>,
    pub(super) expires_unit: ExpiresUnit,
    /// Not case-sensitive.
    pub(super) token_types: Vec<String>,
    pub(super) token_header: TokenHeader,
    pub(super) base_url: Option<String>,
    pub(super) base_url_field: Option<String>,
    /// The first matching rule applies.
    pub(super) errors: Vec<ErrorRule>,
    pub(super) expired: Vec<ResponseRule>,
    pub(super) not_about_token: Vec<ResponseRule>,
    pub(super) insufficient_scope: Vec<ResponseRule>,
    pub(super) busy: Vec<ResponseRule>,
    #[serde(deserialize_with = "http::headers")]
    pub(super) headers: HeaderMap,
}

/// How parameters are sent to the token endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodyFormat {
    /// A form, as in the RFC.
    #[default]
    Form,
    /// A JSON object.
    Json,
    /// The query of the address, with an empty body.
    Query,
}

/// The scopes that a refresh names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ScopePolicy {
    /// None: the provider grants the same scopes as before.
    #[default]
    None,
    /// Those granted last (with `offline_access` if that is configured), or else the configured ones.
    Granted,
    /// The configured ones.
    Configured,
}

/// The unit of `expires_in`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExpiresUnit {
    /// As in the RFC.
    #[default]
    Seconds,
    Millis,
}

/// The header that carries the token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TokenHeader {
    #[serde(deserialize_with = "http::header_name")]
    pub(super) name: HeaderName,
    /// The word before the token; may be empty.
    pub(super) scheme: String,
}

impl Default for TokenHeader {
    fn default() -> Self {
        Self {
            name: AUTHORIZATION,
            scheme: "Bearer".to_owned(),
        }
    }
}

/// A rule that classifies an error of the token endpoint. An absent condition matches everything.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ErrorRule {
    #[serde(default)]
    status: Option<u16>,
    /// The code, as in `error`; not case-sensitive.
    #[serde(default)]
    code: Option<String>,
    /// A text that the response contains; not case-sensitive.
    #[serde(default)]
    text: Option<String>,
    class: ErrorClass,
}

/// What a failed exchange means.
#[derive(Clone, Copy, Debug, PartialEq, Hash, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ErrorClass {
    /// The refresh token is invalid, or the user must act: only a new authorization helps.
    Reauth,
    /// component.json or the environment is wrong: the operator must act. The stored tokens remain valid.
    Config,
    /// Transient: nothing is lost, and the same request can be sent again later.
    Transient,
    /// The response cannot be interpreted: either a mistake of the provider, or an invalid token under an unknown error
    /// name. It is retried a few times, and never a reason to discard a token.
    Malformed,
}

/// A profile that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("an OAuth2 profile is invalid: {0}")]
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
            margin: 60,
            default_lifetime: None,
            expires_unit: ExpiresUnit::default(),
            token_types: vec!["bearer".to_owned()],
            token_header: TokenHeader::default(),
            base_url: None,
            base_url_field: None,
            errors: vec![],
            expired: vec![],
            not_about_token: vec![],
            insufficient_scope: vec![],
            busy: vec![],
            headers: HeaderMap::new(),
        }
    }
}

impl Profile {
    /// Returns the profile that follows the RFCs.
    #[must_use]
    pub fn generic() -> Self {
        Self::default()
    }

    /// Returns the built-in profile of this name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let (_, json) = BUILT_IN.iter().find(|(known, _)| *known == name)?;
        // A test reads all built-in profiles.
        Self::from_json(json).ok()
    }

    /// Returns the names of the built-in profiles.
    #[must_use]
    pub fn built_in_names() -> Vec<&'static str> {
        BUILT_IN.iter().map(|(name, _)| *name).collect()
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// Returns an error that names the member if the JSON is invalid, or if a member is unknown or has another type.
    pub fn from_json(json: &str) -> Result<Self, ProfileError> {
        let profile: Self =
            serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
                .map_err(|e| ProfileError(e.to_string()))?;
        for (name, rules) in profile.response_rules() {
            if let Some(at) = rules.iter().position(|rule| !rule.is_narrow()) {
                let scope = ResponseRule::SCOPE;
                return Err(ProfileError(format!("{name}[{at}]: {scope}")));
            }
        }
        Ok(profile)
    }

    /// Sets the API's base URL, which is a template as in [`OAuth2::base_url`](super::OAuth2::base_url).
    #[must_use]
    pub fn base_url(mut self, template: impl Into<String>) -> Self {
        self.base_url = Some(template.into());
        self
    }

    /// Returns the built-in profile of the provider with this token endpoint, or the generic one.
    pub(super) fn for_endpoint(token_url: &Url) -> Self {
        let host = token_url.host_str().unwrap_or_default();
        let mut built_in = BUILT_IN.iter().filter_map(|(name, _)| Self::built_in(name));
        let is_for = |profile: &Self| profile.hosts.iter().any(|known| is_below(host, known));
        built_in.find(is_for).unwrap_or_default()
    }

    /// Returns what a response of the API means for the token that the request carried. `body_start` may be empty
    /// unless [`reads_body`](Self::reads_body) returns true.
    ///
    /// 403 never means that the token has expired, unless the profile says so (RFC 6750 section 3.1).
    pub(super) fn token_status(
        &self,
        status: u16,
        headers: &HeaderMap,
        body_start: &str,
    ) -> TokenStatus {
        let matches = |rule: &ResponseRule| rule.matches(status, headers, body_start);
        if self.not_about_token.iter().any(matches) {
            TokenStatus::Unrelated
        } else if self.insufficient_scope.iter().any(matches) {
            TokenStatus::InsufficientScope(None)
        } else if self.expired.iter().any(matches) {
            TokenStatus::Expired
        } else {
            token_status::token_status(status, headers, body_start)
        }
    }

    /// Returns whether a response of the API asks for fewer requests. `body_start` is as for
    /// [`token_status`](Self::token_status).
    pub(super) fn is_busy(&self, status: u16, headers: &HeaderMap, body_start: &str) -> bool {
        let matches = |rule: &ResponseRule| rule.matches(status, headers, body_start);
        http::asks_for_fewer_requests(status, headers) || self.busy.iter().any(matches)
    }

    /// Returns whether a rule for the API needs the beginning of the body of a response with this status.
    pub(super) fn reads_body(&self, status: u16) -> bool {
        let mut rules = self.response_rules().into_iter().flat_map(|rules| rules.1);
        status == 401 || rules.any(|rule| rule.reads_body(status))
    }

    /// The rules for responses of the API, by the names of their members.
    fn response_rules(&self) -> [(&'static str, &[ResponseRule]); 4] {
        [
            ("expired", &self.expired),
            ("not_about_token", &self.not_about_token),
            ("insufficient_scope", &self.insufficient_scope),
            ("busy", &self.busy),
        ]
    }

    /// Returns whether one of the profile's own rules is for this code of the token endpoint.
    pub(super) fn names_code(&self, code: &str) -> bool {
        self.errors.iter().any(|rule| rule.has_code(code))
    }

    /// Classifies an error of the token endpoint by the profile's own rules.
    pub(super) fn class_of(
        &self,
        status: u16,
        code: Option<&str>,
        text: &str,
    ) -> Option<ErrorClass> {
        let mut rules = self.errors.iter();
        Some(rules.find(|rule| rule.matches(status, code, text))?.class)
    }
}

impl ErrorRule {
    fn has_code(&self, code: &str) -> bool {
        let own = self.code.as_ref();
        own.is_some_and(|own| own.eq_ignore_ascii_case(code))
    }

    fn matches(&self, status: u16, code: Option<&str>, text: &str) -> bool {
        let has_text = |wanted: &String| contains_ignoring_case(text, wanted);
        self.status.is_none_or(|wanted| wanted == status)
            && (self.code.is_none() || code.is_some_and(|code| self.has_code(code)))
            && self.text.as_ref().is_none_or(has_text)
    }
}
