//! The credential's definition in component.json and by the author, resolved for one configuration.

use super::{
    client_auth::{AcceptedAuth, ClientAuth},
    client_registration::ClientRegistration,
    definition::{ConfigError, Mode, OAuth2},
    profile::Profile,
    response_rule::ResponseRule,
    sources::{Sources, json_path},
    template::Variables,
};
use crate::settings::descriptor::{Descriptor, OAuth2Credentials};
use reqwest::Url;
use serde_json::Value;

/// All resolved values for one configuration.
pub(crate) struct ResolvedConfig {
    pub(crate) mode: Mode,
    /// The path of the tokens in the configuration.
    pub(crate) field: Vec<String>,
    pub(crate) profile: Profile,
    /// `None` if the platform refreshes the tokens.
    pub(crate) client: Option<ClientRegistration>,
    pub(crate) base_url: Option<Url>,
    /// URLs at the origins that may get the token: the base URL, and what the author allows.
    pub(crate) origins: Vec<Url>,
    pub(super) accepted_auth: AcceptedAuth,
}

impl OAuth2 {
    /// Resolves everything for one configuration. `mode_override` overrides the author's mode.
    pub(crate) fn resolve(
        &self,
        descriptor: &Descriptor,
        config: &Value,
        mode_override: Option<Mode>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ResolvedConfig, ConfigError> {
        let mode = self.effective_mode(config, mode_override)?;
        let credentials = descriptor.credentials.as_ref();
        let empty = OAuth2Credentials::default();
        let declared = credentials
            .and_then(|c| c.oauth2.as_ref())
            .unwrap_or(&empty);
        let fields = credentials
            .map(|c| c.fields.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let sources = Sources {
            author: self,
            declared,
            variables: Variables {
                fields,
                config,
                env,
            },
        };
        let token_url = sources.token_url();
        let mut profile = sources.profile(token_url.as_ref().ok().and_then(Option::as_ref))?;
        if let Some(client_auth) = sources.client_auth()? {
            profile.client_auth = client_auth;
        }
        profile.expired.extend(sources.expired_responses()?);
        let client = if mode == Mode::PlatformSecret {
            None
        } else {
            Some(sources.client(&mut profile, token_url?)?)
        };
        let base_url = sources.base_url(&profile)?;
        Ok(ResolvedConfig {
            mode,
            field: self.field_in(descriptor),
            client,
            origins: sources.origins(base_url.as_ref())?,
            profile,
            base_url,
            accepted_auth: self.accepted_auth.clone(),
        })
    }

    /// A `secretId` in the configuration selects [`Mode::PlatformSecret`], regardless of other settings.
    fn effective_mode(
        &self,
        config: &Value,
        mode_override: Option<Mode>,
    ) -> Result<Mode, ConfigError> {
        let has_secret = config
            .get("secretId")
            .and_then(Value::as_str)
            .is_some_and(|id| !id.is_empty());
        if has_secret {
            return Ok(Mode::PlatformSecret);
        }
        match mode_override.or(self.mode).unwrap_or(Mode::Expiry) {
            Mode::PlatformSecret => Err(ConfigError(
                "mode platform-secret needs `secretId` in the configuration".to_owned(),
            )),
            mode => Ok(mode),
        }
    }

    /// The path of the tokens in a configuration.
    pub(crate) fn field_in(&self, descriptor: &Descriptor) -> Vec<String> {
        if let Some(path) = &self.field {
            return path.split('.').map(str::to_owned).collect();
        }
        let mut fields = descriptor.credentials.iter().flat_map(|c| &c.fields);
        let declared = fields.find(|(_, field)| {
            matches!(field.view_class(), Some("OAuthFieldView" | "HTTPAuthView"))
        });
        vec![declared.map_or_else(|| "oauth".to_owned(), |(name, _)| name.clone())]
    }
}

impl Sources<'_> {
    /// Returns the token endpoint of the author or component.json; the profile may also define one.
    fn token_url(&self) -> Result<Option<Url>, ConfigError> {
        let declared = self.declared.token_uri.as_deref();
        let template = self
            .first_defined(self.author.token_uri.as_deref(), declared)
            .or(declared);
        self.url("token_uri", template)
    }

    fn profile(&self, token_url: Option<&Url>) -> Result<Profile, ConfigError> {
        if let Some(profile) = &self.author.custom_profile {
            return Ok(profile.clone());
        }
        let template = self.author.profile.as_ref();
        let Some(template) = template.filter(|template| self.variables.are_defined(template))
        else {
            return Ok(token_url.map(Profile::for_endpoint).unwrap_or_default());
        };
        let name = self
            .variables
            .expand("the name of the provider's profile", template)?;
        Profile::built_in(&name).ok_or_else(|| {
            ConfigError(format!(
                "there is no provider profile \"{name}\"; there are: {}",
                Profile::built_in_names().join(", ")
            ))
        })
    }

    /// Returns the way that component.json selects; a name in its template may be undefined.
    fn client_auth(&self) -> Result<Option<ClientAuth>, ConfigError> {
        let template = self.declared.client_auth.as_deref();
        let Some(template) = template.filter(|template| self.variables.are_defined(template))
        else {
            return Ok(None);
        };
        let name = self.text("client_auth", template)?;
        let client_auth = ClientAuth::from_name(&name).ok_or_else(|| {
            ConfigError(format!(
                "{} is \"{name}\"; it must be one of post, basic, basic_raw, none",
                json_path("client_auth")
            ))
        })?;
        Ok(Some(client_auth))
    }

    /// Returns the author's own rules for expired tokens.
    fn expired_responses(&self) -> Result<Vec<ResponseRule>, ConfigError> {
        let template = self.author.expired_responses.as_ref();
        let Some(template) = template.filter(|template| self.variables.are_defined(template))
        else {
            return Ok(vec![]);
        };
        let place = format!("the list of responses that mean an expired token ({template})");
        let list = self.variables.expand(&place, template)?;
        ResponseRule::read_list(&list).map_err(|wrong| ConfigError(format!("{place}: {wrong}")))
    }

    /// Returns the API's base URL. A URL in the token record overrides it.
    fn base_url(&self, profile: &Profile) -> Result<Option<Url>, ConfigError> {
        let elsewhere = profile
            .base_url
            .as_deref()
            .or(profile.base_url_field.as_deref());
        let author = self.first_defined(self.author.base_url.as_deref(), elsewhere);
        let (place, template) = match (author, &profile.base_url) {
            (Some(template), _) => ("the base URL", template),
            (None, Some(template)) => ("the profile's base_url", template.as_str()),
            (None, None) => return Ok(None),
        };
        self.variables.url(place, template).map(Some)
    }

    fn origins(&self, base_url: Option<&Url>) -> Result<Vec<Url>, ConfigError> {
        let url = |template: &String| self.variables.url("an allowed origin", template);
        let allowed = self.author.origins.iter().map(url);
        base_url
            .cloned()
            .map(Ok)
            .into_iter()
            .chain(allowed)
            .collect()
    }
}
