//! How the provider behaves: everything in which providers differ or break the rules.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How the provider behaves. [`Provider::knobs`](super::Provider::knobs) changes it at any time. The default follows the
/// RFCs and does not rotate. In a file every member is optional; durations are seconds, or `"forever"`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// A refresh returns a new refresh token, and the old one is spent.
    pub rotate: bool,
    /// How long after its first use a spent refresh token can be used again. Each use returns another pair of tokens, and
    /// all of them are valid.
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    /// The use of a spent refresh token after the grace period revokes all tokens of its grant.
    pub kill_family_on_reuse: bool,
    /// How long an access token is valid.
    #[serde(deserialize_with = "duration")]
    pub access_lifetime: Duration,
    /// How long a refresh token is valid; none is forever. Responses state it as `refresh_token_expires_in`.
    #[serde(deserialize_with = "some_duration")]
    pub refresh_lifetime: Option<Duration>,
    /// A new access token revokes the earlier ones of its grant.
    pub one_access_token: bool,
    /// Whether an authorization returns a refresh token at all.
    pub issue_refresh_token: bool,
    /// Without rotation: refresh responses do not repeat the refresh token.
    pub omit_refresh_token: bool,
    /// The scope that is granted when the request has none.
    pub scope: String,
    /// A refresh grants this scope instead of the one before.
    pub narrow_scope: Option<String>,
    /// How token responses write the lifetime.
    pub expires_in: ExpiresIn,
    /// Additional members of token responses. `{{PROVIDER_URL}}` in a text stands for the provider's address.
    pub extra: Map<String, Value>,
    /// `token_type` of token responses; null leaves it out.
    pub token_type: Option<String>,
    /// The content type of token responses, errors too.
    pub content: Content,
    /// How an invalid refresh token is refused.
    pub dead_token: TokenErrorStyle,
    /// Errors have status 200.
    pub errors_as_200: bool,
    /// A refresh without a scope is refused.
    pub require_scope: bool,
    /// A refresh with a scope is refused.
    pub forbid_scope: bool,
    /// Parameters that a token request must have.
    pub require_param: Vec<(String, String)>,
    /// How the client must authenticate.
    pub client_auth: ClientAuth,
    /// The content type that token requests must have.
    pub body: BodyFormat,
    /// A refresh is refused while another one of the same token is in progress, as at Salesforce: the error is
    /// `invalid_grant`, but the token stays valid.
    pub concurrent_refresh_fails: bool,
    /// A refresh is refused while the access token remains valid for longer than this.
    #[serde(deserialize_with = "some_duration")]
    pub refuse_early: Option<Duration>,
    /// Every token call takes this long before anything is done.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
    /// The scheme of the API's `Authorization` header.
    pub api_scheme: String,
    /// The API refuses every token, new ones too.
    pub refuse_all: bool,
    /// How the API refuses a token that is expired, revoked or unknown.
    pub unauthorized: ApiErrorStyle,
    /// Whether the authorization endpoint requires PKCE. Only S256 is accepted.
    pub require_pkce: bool,
    /// How long a code is valid.
    #[serde(deserialize_with = "duration")]
    pub code_lifetime: Duration,
    /// The authorization endpoint redirects with this error instead of a code.
    pub deny: Option<String>,
    /// `iss` of the authorization response: null is the provider's own address, an empty text leaves it out.
    pub iss: Option<String>,
    /// The authorization endpoint redirects with this state instead of the client's.
    pub state: Option<String>,
}

/// How token responses write the lifetime.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExpiresIn {
    /// `3600`
    Number,
    /// `"3600"`
    Text,
    /// `3600.5`
    Float,
    /// `"3600.0"`
    FloatText,
    /// `3600000`
    Millis,
    /// Not at all.
    Missing,
    /// `null`
    Null,
    /// This value.
    Raw(Value),
}

/// The content type of token responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// JSON.
    Json,
    /// JSON with the content type `text/plain`.
    TextJson,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// A form with the content type `text/plain`.
    TextForm,
    /// JSON when the `Accept` header asks for it, otherwise a form.
    AsAccepted,
}

/// How a client must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// By parameters or HTTP Basic (RFC 6749 §2.3.1).
    Any,
    /// By parameters.
    Post,
    /// By HTTP Basic, with id and secret form-encoded.
    Basic,
    /// By HTTP Basic, with id and secret not encoded.
    BasicRaw,
    /// Not at all: a public client, whose id is a parameter.
    None,
}

/// The content type that token requests must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, the only one in RFC 6749.
    Form,
    /// JSON.
    Json,
    /// Not the body: the query of the URL.
    Query,
}

/// How the token endpoint writes the error for an invalid refresh token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenErrorStyle {
    /// The status.
    pub status: u16,
    /// The member `error`.
    pub error: String,
    /// The member `error_description`; null is the emulator's own text.
    #[serde(default)]
    pub description: Option<String>,
    /// Additional members, such as `suberror`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// How the API writes the error for an invalid token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiErrorStyle {
    /// The status.
    pub status: u16,
    /// The `WWW-Authenticate` headers.
    #[serde(default)]
    pub challenges: Vec<String>,
    /// The body: a text unchanged, anything else as JSON.
    #[serde(default)]
    pub body: Value,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            rotate: false,
            grace: Duration::ZERO,
            kill_family_on_reuse: false,
            access_lifetime: Duration::from_secs(3600),
            refresh_lifetime: None,
            one_access_token: false,
            issue_refresh_token: true,
            omit_refresh_token: false,
            scope: "read write".into(),
            narrow_scope: None,
            expires_in: ExpiresIn::Number,
            extra: Map::new(),
            token_type: Some("Bearer".into()),
            content: Content::Json,
            dead_token: TokenErrorStyle {
                status: 400,
                error: "invalid_grant".into(),
                description: None,
                extra: Map::new(),
            },
            errors_as_200: false,
            require_scope: false,
            forbid_scope: false,
            require_param: Vec::new(),
            client_auth: ClientAuth::Any,
            body: BodyFormat::Form,
            concurrent_refresh_fails: false,
            refuse_early: None,
            latency: Duration::ZERO,
            api_scheme: "Bearer".into(),
            refuse_all: false,
            unauthorized: ApiErrorStyle {
                status: 401,
                challenges: vec![
                    r#"Bearer realm="emulator", error="invalid_token", error_description="the access token is expired, revoked or unknown""#.into(),
                ],
                body: json!({"error": "invalid_token"}),
            },
            require_pkce: true,
            code_lifetime: Duration::from_secs(60),
            deny: None,
            iss: None,
            state: None,
        }
    }
}

const PRESETS: &str = include_str!("presets.json");

impl Knobs {
    /// A provider that rotates, and revokes the whole grant when a spent refresh token is reused: the hard case.
    #[must_use]
    pub fn rotating() -> Self {
        Self {
            rotate: true,
            kill_family_on_reuse: true,
            ..Self::default()
        }
    }

    /// The behavior of a well-known provider; none when it is not among [`Self::presets`]. The lifetimes are its usual ones.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        // A unit test parses every preset.
        serde_json::from_value(presets().remove(name)?).ok()
    }

    /// The names for [`Self::preset`].
    #[must_use]
    pub fn presets() -> Vec<String> {
        presets().into_iter().map(|(name, _)| name).collect()
    }
}

fn presets() -> Map<String, Value> {
    serde_json::from_str(PRESETS).unwrap_or_default()
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let value = Value::deserialize(deserializer)?;
    match &value {
        Value::String(text) if text == "forever" => Ok(Duration::MAX),
        value => value
            .as_f64()
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .ok_or_else(|| D::Error::custom("a duration must be seconds, or \"forever\"")),
    }
}

fn some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    #[derive(Deserialize)]
    struct Seconds(#[serde(deserialize_with = "duration")] Duration);
    Ok(Option::<Seconds>::deserialize(deserializer)?.map(|Seconds(duration)| duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_can_be_read() {
        let names = Knobs::presets();
        assert!(names.len() > 10, "{names:?}");
        for (name, value) in presets() {
            let read = serde_json::from_value::<Knobs>(value);
            assert!(read.is_ok(), "{name}: {}", read.unwrap_err());
        }
        assert_eq!(Knobs::preset("nobody"), None);
    }

    #[test]
    fn durations_are_seconds_or_forever() {
        let knobs: Knobs =
            serde_json::from_value(json!({"grace": 0.5, "refresh_lifetime": 60})).unwrap();
        assert_eq!(
            (knobs.grace, knobs.refresh_lifetime),
            (Duration::from_millis(500), Some(Duration::from_secs(60)))
        );
        let knobs: Knobs =
            serde_json::from_value(json!({"grace": "forever", "refuse_early": null})).unwrap();
        assert_eq!((knobs.grace, knobs.refuse_early), (Duration::MAX, None));
        for wrong in [
            json!({"grace": -1}),
            json!({"grace": "1 s"}),
            json!({"graze": 1}),
        ] {
            assert!(serde_json::from_value::<Knobs>(wrong).is_err());
        }
    }
}
