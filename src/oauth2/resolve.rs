//! The credential's definition in component.json and by the author, resolved for one configuration.

use super::{
    client_auth::{AcceptedAuth, ClientAuth},
    definition::{Mode, OAuth2},
    profile::Profile,
};
use crate::{
    clients::http::ResponseRule,
    settings::{
        descriptor::{Descriptor, OAuth2Credentials},
        template::{ConfigError, PlainHosts, Variables},
    },
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::BTreeMap;

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
    /// The hosts that may get the token without TLS.
    pub(super) plain_hosts: PlainHosts,
    pub(super) accepted_auth: AcceptedAuth,
}

/// The component as a client of the provider (RFC 6749 section 2), and the provider's endpoints.
#[derive(Clone)]
pub(crate) struct ClientRegistration {
    pub(crate) id: String,
    pub(crate) secret: Option<SecretString>,
    pub(crate) token_url: Url,
    pub(crate) refresh_url: Url,
    pub(crate) auth_url: Option<Url>,
    pub(crate) revoke_url: Option<Url>,
    pub(crate) scopes: Vec<String>,
    pub(crate) authorize_params: BTreeMap<String, String>,
}

impl ResolvedConfig {
    /// Returns whether the platform keeps the tokens fresh, and this process reads its secret.
    pub(super) fn is_of_platform(&self) -> bool {
        self.mode == Mode::PlatformSecret
    }
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
        let declared = descriptor.credentials.as_ref();
        let declared = declared.and_then(|credentials| credentials.oauth2.clone());
        let sources = Sources {
            author: self,
            declared: &declared.unwrap_or_default(),
            variables: Variables {
                fields: descriptor.credential_fields(),
                config,
                env,
            },
        };
        let token_url = sources.token_url();
        let mut profile = sources.profile(token_url.as_ref().ok().and_then(Option::as_ref))?;
        if let Some(client_auth) = sources.client_auth()? {
            profile.client_auth = client_auth;
        }
        let expired = sources.responses(&self.expired_responses, "mean an expired token")?;
        profile.expired.extend(expired);
        let busy = sources.responses(&self.busy_responses, "ask for fewer requests")?;
        profile.busy.extend(busy);
        let scope = sources.responses(&self.scope_responses, "ask for a scope")?;
        profile.insufficient_scope.extend(scope);
        let client = match mode {
            Mode::PlatformSecret => None,
            _ => Some(sources.client(&mut profile, token_url?)?),
        };
        let base_url = sources.base_url(&profile)?;
        Ok(ResolvedConfig {
            mode,
            field: self.field_in(descriptor),
            client,
            origins: sources.origins(base_url.as_ref())?,
            plain_hosts: sources.variables.plain_hosts(),
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
        let secret = config.get("secretId").and_then(Value::as_str);
        match mode_override.or(self.mode).unwrap_or(Mode::Expiry) {
            _ if secret.is_some_and(|id| !id.is_empty()) => Ok(Mode::PlatformSecret),
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
        vec![descriptor.token_field().unwrap_or("oauth").to_owned()]
    }
}

/// Where the definition of a credential comes from: the author, component.json, and the values of their templates.
struct Sources<'a> {
    author: &'a OAuth2,
    declared: &'a OAuth2Credentials,
    variables: Variables<'a>,
}

impl Sources<'_> {
    /// Returns the template if all names in it are defined.
    fn defined<'t>(&self, template: Option<&'t str>) -> Option<&'t str> {
        template.filter(|template| self.variables.are_defined(template))
    }

    fn text(&self, member: &str, template: &str) -> Result<String, ConfigError> {
        let text = self.variables.expand(&json_path(member), template)?;
        Ok(text.trim().to_owned())
    }

    fn url(&self, member: &str, template: Option<&str>) -> Result<Option<Url>, ConfigError> {
        let url = |template| self.variables.url(&json_path(member), template);
        template.map(url).transpose()
    }

    /// Returns the token endpoint of the author or component.json; the profile may also define one.
    fn token_url(&self) -> Result<Option<Url>, ConfigError> {
        let (author, declared) = (
            self.author.token_uri.as_deref(),
            self.declared.token_uri.as_deref(),
        );
        self.url("token_uri", self.defined(author).or(declared).or(author))
    }

    fn profile(&self, token_url: Option<&Url>) -> Result<Profile, ConfigError> {
        if let Some(profile) = &self.author.custom_profile {
            return Ok(profile.clone());
        }
        let Some(template) = self.defined(self.author.profile.as_deref()) else {
            return Ok(token_url.map(Profile::for_endpoint).unwrap_or_default());
        };
        let place = "the name of the provider's profile";
        let name = self.variables.expand(place, template)?;
        Profile::built_in(&name).ok_or_else(|| {
            let names = Profile::built_in_names().join(", ");
            ConfigError(format!(
                "there is no provider profile \"{name}\"; there are: {names}"
            ))
        })
    }

    /// Returns the way that component.json selects; a name in its template may be undefined.
    fn client_auth(&self) -> Result<Option<ClientAuth>, ConfigError> {
        let Some(template) = self.defined(self.declared.client_auth.as_deref()) else {
            return Ok(None);
        };
        let name = self.text("client_auth", template)?;
        let wrong = || {
            let place = json_path("client_auth");
            ConfigError(format!(
                "{place} is \"{name}\"; it must be one of post, basic, basic_raw, none"
            ))
        };
        ClientAuth::from_name(&name).ok_or_else(wrong).map(Some)
    }

    /// Returns the author's own rules for responses that have a meaning.
    fn responses(
        &self,
        template: &Option<String>,
        meaning: &str,
    ) -> Result<Vec<ResponseRule>, ConfigError> {
        let Some(template) = self.defined(template.as_deref()) else {
            return Ok(vec![]);
        };
        let place = format!("the list of responses that {meaning} ({template})");
        let list = self.variables.expand(&place, template)?;
        ResponseRule::read_list(&list).map_err(|wrong| ConfigError(format!("{place}: {wrong}")))
    }

    /// Returns the API's base URL. A URL in the token record overrides it.
    fn base_url(&self, profile: &Profile) -> Result<Option<Url>, ConfigError> {
        let (author, own) = (self.author.base_url.as_deref(), profile.base_url.as_deref());
        let is_only = own.is_none() && profile.base_url_field.is_none();
        let author = self.defined(author).or(author.filter(|_| is_only));
        let (place, template) = match (author, own) {
            (Some(template), _) => ("the base URL", template),
            (None, Some(template)) => ("the profile's base_url", template),
            (None, None) => return Ok(None),
        };
        self.variables.url(place, template).map(Some)
    }

    fn origins(&self, base_url: Option<&Url>) -> Result<Vec<Url>, ConfigError> {
        let mut origins: Vec<Url> = base_url.cloned().into_iter().collect();
        let templates = self.author.origins.iter();
        for template in templates.filter_map(|template| self.defined(Some(template))) {
            origins.extend(self.variables.urls("an allowed origin", template)?);
        }
        Ok(origins)
    }

    // --- The client --------------------------------------------------------------------------------------------------

    /// Creates the client. Without a secret, `profile` becomes that of a public client.
    fn client(
        &self,
        profile: &mut Profile,
        token_url: Option<Url>,
    ) -> Result<ClientRegistration, ConfigError> {
        let (author, declared) = (self.author, self.declared);
        let token_url = match (token_url, &profile.token_uri) {
            (Some(url), _) => url,
            (None, Some(template)) => self.variables.url("the profile's token_uri", template)?,
            (None, None) => {
                let what = "the address of the provider's token endpoint";
                return Err(missing("token_uri", what));
            }
        };
        let id = self.client_id()?;
        let secret = author.client_secret.as_ref();
        let secret = secret.or(declared.client_secret.as_ref());
        let secret = secret.map(|template| self.text("client_secret", template.expose_secret()));
        let secret = secret.transpose()?.map(SecretString::from);
        if secret.is_none() {
            profile.client_auth = ClientAuth::None;
        }
        let refresh_url = self.url("refresh_token_uri", declared.refresh_token_uri.as_deref())?;
        // Only a login and a logout need these, so they may be undefined in the environment of a step.
        let auth_uri = self.defined(author.auth_uri.as_deref());
        let auth_uri = auth_uri.or(self.defined(declared.auth_uri.as_deref()));
        let auth_url = self.url("auth_uri", auth_uri)?;
        let revoke_url = self.url("revoke_uri", self.defined(declared.revoke_uri.as_deref()))?;
        // A URL of the profile; `./` is relative to the token endpoint.
        let or_own = |url: Option<Url>, member: &str, own: &Option<String>| match own {
            Some(path) if url.is_none() && path.starts_with("./") => Ok(token_url.join(path).ok()),
            Some(template) if url.is_none() => {
                let place = format!("the profile's {member}");
                self.variables.url(&place, template).map(Some)
            }
            _ => Ok(url),
        };
        let refresh_url = or_own(refresh_url, "refresh_uri", &profile.refresh_uri)?;
        Ok(ClientRegistration {
            id,
            secret,
            refresh_url: refresh_url.unwrap_or_else(|| token_url.clone()),
            auth_url: or_own(auth_url, "auth_uri", &profile.auth_uri)?,
            revoke_url: or_own(revoke_url, "revoke_uri", &profile.revoke_uri)?,
            scopes: self.scopes()?,
            authorize_params: self.authorize_params(profile)?,
            token_url,
        })
    }

    fn client_id(&self) -> Result<String, ConfigError> {
        let (author, declared) = (&self.author.client_id, &self.declared.client_id);
        let template = author.as_ref().or(declared.as_ref());
        let id = template.map(|template| self.text("client_id", template));
        let missing = || missing("client_id", "this component's id at the provider");
        id.transpose()?
            .filter(|id| !id.is_empty())
            .ok_or_else(missing)
    }

    /// The scopes; those with an undefined name are left out.
    fn scopes(&self) -> Result<Vec<String>, ConfigError> {
        let mut scopes = vec![];
        let templates = self.author.scopes.as_ref().unwrap_or(&self.declared.scopes);
        let defined = |template: &&String| self.variables.are_defined(template);
        for template in templates.iter().filter(defined) {
            let text = self.text("scopes", template)?;
            scopes.extend(text.split_whitespace().map(str::to_owned));
        }
        Ok(scopes)
    }

    /// The profile's parameters of the authorization request with those of component.json; those with an undefined name
    /// are left out.
    fn authorize_params(&self, profile: &Profile) -> Result<BTreeMap<String, String>, ConfigError> {
        let mut params = profile.authorize_params.clone();
        for (name, value) in &self.declared.more {
            let value = match value {
                Value::String(template) if !self.variables.are_defined(template) => continue,
                Value::String(template) => self.text(name, template)?,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => continue,
            };
            params.insert(name.clone(), value);
        }
        Ok(params)
    }
}

fn json_path(member: &str) -> String {
    format!("\"{member}\" in credentials.oauth2 of component.json")
}

fn missing(member: &str, what: &str) -> ConfigError {
    ConfigError(format!("{} is missing: {what}", json_path(member)))
}
