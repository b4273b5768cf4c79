//! What a component's author says about its OAuth2 credential.
//!
//! component.json is enough: `credentials.oauth2` with its templates, and a field that holds the tokens. [`OAuth2`]
//! is for what cannot be said there.

use super::profile::Profile;
use secrecy::SecretString;
use std::fmt;

/// When tokens are renewed.
pub use crate::settings::OAuthMode as Mode;

/// Something about the credential is not as it has to be. Says where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the OAuth2 credential cannot be used: {0}")]
pub struct ConfigError(pub(super) String);

/// What an author says about the credential beside component.json; everything may be left out. Texts are templates:
/// `{{name}}` is a credential field of the configuration, or else a variable of the environment; `{{name|other}}` is the
/// first of these that is given.
///
/// ```
/// use sailor::oauth2::{Mode, OAuth2};
///
/// let oauth = OAuth2::new().profile("salesforce").mode(Mode::On401).allow_origin("https://files.example.com");
/// ```
#[derive(Clone, Default)]
pub struct OAuth2 {
    pub(super) field: Option<String>,
    pub(super) mode: Option<Mode>,
    pub(super) profile: Option<String>,
    pub(super) custom_profile: Option<Profile>,
    pub(super) base_url: Option<String>,
    pub(super) origins: Vec<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) auth_uri: Option<String>,
    pub(super) token_uri: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
}

impl fmt::Debug for OAuth2 {
    /// A client secret may stand in it as it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2")
            .field("field", &self.field)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl OAuth2 {
    /// What component.json says, and nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the tokens are in the configuration, as a path with dots. Otherwise the credential field that is shown as
    /// `OAuthFieldView` or `HTTPAuthView`, or else `oauth`.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field = Some(path.into());
        self
    }

    /// When tokens are renewed; `ELASTICIO_OAUTH_MODE` overrides it. [`Mode::Expiry`] otherwise.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// The name of a ready [`Profile`]; otherwise, or where the template stands for nothing, the host of the token
    /// endpoint tells.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// A profile of one's own.
    #[must_use]
    pub fn custom_profile(mut self, profile: Profile) -> Self {
        self.custom_profile = Some(profile);
        self
    }

    /// Where relative addresses of requests begin. An address in the token record (as `instance_url`) goes before it; a
    /// template that stands for nothing gives way to the profile's base URL, or to that of the token record.
    #[must_use]
    pub fn base_url(mut self, address: impl Into<String>) -> Self {
        self.base_url = Some(address.into());
        self
    }

    /// Another origin that may be sent the token, beside that of the base URL.
    #[must_use]
    pub fn allow_origin(mut self, address: impl Into<String>) -> Self {
        self.origins.push(address.into());
        self
    }

    /// Instead of `client_id` in component.json.
    #[must_use]
    pub fn client_id(mut self, template: impl Into<String>) -> Self {
        self.client_id = Some(template.into());
        self
    }

    /// Instead of `client_secret` in component.json.
    #[must_use]
    pub fn client_secret(mut self, template: impl Into<String>) -> Self {
        self.client_secret = Some(template.into().into());
        self
    }

    /// Instead of `auth_uri` in component.json, which holds where this template stands for nothing.
    #[must_use]
    pub fn auth_uri(mut self, template: impl Into<String>) -> Self {
        self.auth_uri = Some(template.into());
        self
    }

    /// Instead of `token_uri` in component.json, which holds where this template stands for nothing.
    #[must_use]
    pub fn token_uri(mut self, template: impl Into<String>) -> Self {
        self.token_uri = Some(template.into());
        self
    }

    /// Instead of `scopes` in component.json.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, templates: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(templates.into_iter().map(Into::into).collect());
        self
    }
}
