//! How the provider behaves: everything in which providers differ, or are wrong.

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How the provider behaves, changed at any time with [`Provider::knobs`](super::Provider::knobs). The default is a
/// provider by the book that does not rotate. In a file every member may be left out; durations are seconds, or
/// `"forever"`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Knobs {
    /// A refresh brings a new refresh token, and the old one is spent.
    pub rotate: bool,
    /// For how long after its first use a spent refresh token may be used again; each use brings a pair of its own, and
    /// all of them are good.
    #[serde(deserialize_with = "duration")]
    pub grace: Duration,
    /// A spent refresh token that is used after the grace period ends all tokens of its grant.
    pub kill_family_on_reuse: bool,
    /// For how long an access token is good.
    #[serde(deserialize_with = "duration")]
    pub access_lifetime: Duration,
    /// For how long a refresh token is good; none for ever. It is told as `refresh_token_expires_in`.
    #[serde(deserialize_with = "some_duration")]
    pub refresh_lifetime: Option<Duration>,
    /// New access tokens end the earlier ones of their grant.
    pub one_access_token: bool,
    /// Whether an authorization brings a refresh token at all.
    pub issue_refresh_token: bool,
    /// Where nothing rotates: refresh answers do not repeat the refresh token.
    pub omit_refresh_token: bool,
    /// The scope that is granted when none is asked for.
    pub scope: String,
    /// Refresh answers grant this scope instead of the one before.
    pub narrow_scope: Option<String>,
    /// How token answers tell the lifetime.
    pub expires_in: ExpiresIn,
    /// Further members of token answers. `{{PROVIDER_URL}}` in a text stands for the provider's address.
    pub extra: Map<String, Value>,
    /// `token_type` of token answers; null leaves it out.
    pub token_type: Option<String>,
    /// What token answers are written in, errors too.
    pub content: Content,
    /// How a refresh token that is dead is refused.
    pub dead_token: Refused,
    /// Errors come with status 200.
    pub errors_as_200: bool,
    /// Requests without a scope are refused on refresh.
    pub require_scope: bool,
    /// Requests with a scope are refused on refresh.
    pub forbid_scope: bool,
    /// Parameters that a token request must have.
    pub require_param: Vec<(String, String)>,
    /// How the client must authenticate.
    pub client_auth: ClientAuth,
    /// What token requests must be written in.
    pub body: BodyFormat,
    /// A refresh that comes while another one of the same token is under way is refused, as Salesforce does: it says
    /// `invalid_grant`, but the token stays good.
    pub concurrent_refresh_fails: bool,
    /// A refresh is refused while the access token is good for longer than this.
    #[serde(deserialize_with = "some_duration")]
    pub refuse_early: Option<Duration>,
    /// Every token call takes this long before anything is done.
    #[serde(deserialize_with = "duration")]
    pub latency: Duration,
    /// The scheme of the API's `Authorization` header.
    pub api_scheme: String,
    /// The API refuses every token, fresh ones too.
    pub refuse_all: bool,
    /// How the API refuses a token that is expired, revoked or unknown.
    pub unauthorized: Unauthorized,
    /// Whether the authorization endpoint wants PKCE (S256 it is in any case).
    pub require_pkce: bool,
    /// For how long a code is good.
    #[serde(deserialize_with = "duration")]
    pub code_lifetime: Duration,
    /// The authorization endpoint comes back with this error instead of a code.
    pub deny: Option<String>,
    /// `iss` of the authorization answer: null is the provider's own address, empty leaves it out.
    pub iss: Option<String>,
    /// The authorization endpoint comes back with this state instead of the client's.
    pub state: Option<String>,
}

/// How token answers tell the lifetime.
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
    /// This.
    Raw(Value),
}

/// What token answers are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// JSON.
    Json,
    /// JSON that says it is `text/plain`.
    TextJson,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// The same that says it is `text/plain`.
    TextForm,
    /// JSON for those whose `Accept` header asks for it, otherwise a form.
    AsAccepted,
}

/// How a client must authenticate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// By parameters or HTTP Basic as RFC 6749 §2.3.1 has it.
    Any,
    /// By parameters.
    Post,
    /// By HTTP Basic, id and secret form-encoded first.
    Basic,
    /// By HTTP Basic, id and secret as they are.
    BasicRaw,
    /// Not at all: a public client, whose id is a parameter.
    None,
}

/// What token requests must be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BodyFormat {
    /// `application/x-www-form-urlencoded`, the only one that RFC 6749 knows.
    Form,
    /// JSON.
    Json,
    /// The query of the address.
    Query,
}

/// How a token endpoint refuses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The status.
    pub status: u16,
    /// The member `error`.
    pub error: String,
    /// The member `error_description`; null is a text of the provider's own.
    #[serde(default)]
    pub description: Option<String>,
    /// Further members, such as `suberror`.
    #[serde(default)]
    pub extra: Map<String, Value>,
}

/// How the API refuses a token.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unauthorized {
    /// The status.
    pub status: u16,
    /// The `WWW-Authenticate` headers.
    #[serde(default)]
    pub challenges: Vec<String>,
    /// The body; a text is sent as it is, everything else as JSON.
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
            dead_token: Refused {
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
            unauthorized: Unauthorized {
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
    /// A provider that rotates and ends the whole grant when a spent refresh token comes again: the hard case.
    #[must_use]
    pub fn rotating() -> Self {
        Self {
            rotate: true,
            kill_family_on_reuse: true,
            ..Self::default()
        }
    }

    /// The ways of a well-known provider; none when it is not among [`Self::presets`]. The lifetimes are its usual ones.
    #[must_use]
    pub fn preset(name: &str) -> Option<Self> {
        // A unit test reads all of them.
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
