//! What a component's author configures for its OAuth2 credential.
//!
//! component.json is enough: `credentials.oauth2` with its templates, and a field that holds the tokens. [`OAuth2`] is
//! for everything that component.json cannot express.

use super::{client_auth::AcceptedAuth, profile::Profile};
use secrecy::SecretString;
use std::fmt;

/// When tokens are refreshed.
pub use crate::settings::OAuthMode as Mode;

/// What an author configures for the credential in addition to component.json. Everything is optional.
///
/// Texts are templates: `{{name}}` is a credential field of the configuration, or else an environment variable;
/// `{{name|other}}` is the first of these that is defined.
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
    pub(super) expired_responses: Option<String>,
    pub(super) busy_responses: Option<String>,
    pub(super) scope_responses: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) client_secret: Option<SecretString>,
    pub(super) auth_uri: Option<String>,
    pub(super) token_uri: Option<String>,
    pub(super) scopes: Option<Vec<String>>,
    /// Not configured: it is here because the definition outlives all endpoints that are resolved from it.
    pub(super) accepted_auth: AcceptedAuth,
}

impl fmt::Debug for OAuth2 {
    /// Not derived, because it may contain a client secret as plain text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuth2")
            .field("field", &self.field)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl OAuth2 {
    /// Creates a definition that adds nothing to component.json.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the templates of addresses, each with the function that sets it.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let base_url = self.base_url.iter().map(|text| ("base_url", text.as_str()));
        let origins = self.origins.iter();
        base_url.chain(origins.map(|text| ("allow_origin", text.as_str())))
    }

    /// Sets the path of the tokens in the configuration, with dots. The default is the credential field with the view
    /// class `OAuthFieldView` or `HTTPAuthView`, or else `oauth`.
    #[must_use]
    pub fn field(mut self, path: impl Into<String>) -> Self {
        self.field = Some(path.into());
        self
    }

    /// Sets when tokens are refreshed. The default is [`Mode::Expiry`]; `ELASTICIO_OAUTH_MODE` overrides both.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Selects a built-in [`Profile`] by name. By default, and if a name in the template is undefined, the host of the
    /// token endpoint selects it.
    #[must_use]
    pub fn profile(mut self, name: impl Into<String>) -> Self {
        self.profile = Some(name.into());
        self
    }

    /// Sets a profile of your own.
    #[must_use]
    pub fn custom_profile(mut self, profile: Profile) -> Self {
        self.custom_profile = Some(profile);
        self
    }

    /// Sets the API's base URL. A URL in the token record (such as `instance_url`) overrides it. If a name in the
    /// template is undefined, the base URL of the profile or of the token record is used.
    #[must_use]
    pub fn base_url(mut self, address: impl Into<String>) -> Self {
        self.base_url = Some(address.into());
        self
    }

    /// Allows sending the token to other origins in addition to that of the base URL. The address is a template, and may be
    /// several addresses, separated by spaces. If a name in it is undefined, it allows nothing.
    #[must_use]
    pub fn allow_origin(mut self, address: impl Into<String>) -> Self {
        self.origins.push(address.into());
        self
    }

    /// Adds responses of the API that mean an expired token, besides 401, to those of the profile: statuses, each with a
    /// text of its body if it needs one, such as `403 token expired; 419`. Semicolons separate them. A text is looked for
    /// in the first 2 KiB of the body, without regard to case. A status from 200 to 299 needs one. If a name in the
    /// template is undefined, only the profile's apply.
    #[must_use]
    pub fn expired_responses(mut self, template: impl Into<String>) -> Self {
        self.expired_responses = Some(template.into());
        self
    }

    /// Adds responses that ask for fewer requests, besides 429 and a 403 with `Retry-After`, to those of the profile. The
    /// template is a list as in [`expired_responses`](Self::expired_responses), such as `403 limit exceeded`. Such a request
    /// is sent again later.
    #[must_use]
    pub fn busy_responses(mut self, template: impl Into<String>) -> Self {
        self.busy_responses = Some(template.into());
        self
    }

    /// Adds responses that ask for a scope which the token lacks to those of the profile. The template is a list as in
    /// [`expired_responses`](Self::expired_responses).
    #[must_use]
    pub fn scope_responses(mut self, template: impl Into<String>) -> Self {
        self.scope_responses = Some(template.into());
        self
    }

    /// Overrides `client_id` in component.json.
    #[must_use]
    pub fn client_id(mut self, template: impl Into<String>) -> Self {
        self.client_id = Some(template.into());
        self
    }

    /// Overrides `client_secret` in component.json.
    #[must_use]
    pub fn client_secret(mut self, template: impl Into<String>) -> Self {
        self.client_secret = Some(template.into().into());
        self
    }

    /// Overrides `auth_uri` in component.json, unless a name in the template is undefined.
    #[must_use]
    pub fn auth_uri(mut self, template: impl Into<String>) -> Self {
        self.auth_uri = Some(template.into());
        self
    }

    /// Overrides `token_uri` in component.json, unless a name in the template is undefined.
    #[must_use]
    pub fn token_uri(mut self, template: impl Into<String>) -> Self {
        self.token_uri = Some(template.into());
        self
    }

    /// Overrides `scopes` in component.json.
    #[must_use]
    pub fn scopes<S: Into<String>>(mut self, templates: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(templates.into_iter().map(Into::into).collect());
        self
    }
}
