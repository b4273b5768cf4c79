//! The component as a client of the provider (RFC 6749 section 2), and the provider's endpoints.

use super::{
    client_auth::ClientAuth,
    definition::ConfigError,
    profile::Profile,
    sources::{Sources, missing},
};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::collections::BTreeMap;

/// The component as a client of the provider, and the provider's endpoints.
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

impl Sources<'_> {
    /// Creates the client. Without a secret, `profile` becomes that of a public client.
    pub(super) fn client(
        &self,
        profile: &mut Profile,
        token_url: Option<Url>,
    ) -> Result<ClientRegistration, ConfigError> {
        let token_url = self.required_token_url(profile, token_url)?;
        let id = self.client_id()?;
        let secret = self.client_secret()?;
        if secret.is_none() {
            profile.client_auth = ClientAuth::None;
        }
        let refresh_url = match self.declared_refresh_url()? {
            Some(url) => Some(url),
            None => self.profile_url("refresh_uri", &profile.refresh_uri, &token_url)?,
        };
        let auth_url = match self.declared_auth_url()? {
            Some(url) => Some(url),
            None => self.profile_url("auth_uri", &profile.auth_uri, &token_url)?,
        };
        let revoke_url = match self.declared_revoke_url()? {
            Some(url) => Some(url),
            None => self.profile_url("revoke_uri", &profile.revoke_uri, &token_url)?,
        };
        Ok(ClientRegistration {
            id,
            secret,
            refresh_url: refresh_url.unwrap_or_else(|| token_url.clone()),
            auth_url,
            revoke_url,
            token_url,
            scopes: self.scopes()?,
            authorize_params: self.authorize_params(profile)?,
        })
    }

    fn required_token_url(
        &self,
        profile: &Profile,
        token_url: Option<Url>,
    ) -> Result<Url, ConfigError> {
        match (token_url, &profile.token_uri) {
            (Some(url), _) => Ok(url),
            (None, Some(template)) => self.variables.url("the profile's token_uri", template),
            (None, None) => Err(missing(
                "token_uri",
                "the address of the provider's token endpoint",
            )),
        }
    }

    fn client_id(&self) -> Result<String, ConfigError> {
        let missing = || missing("client_id", "this component's id at the provider");
        let template = self
            .author
            .client_id
            .as_deref()
            .or(self.declared.client_id.as_deref());
        let id = self.text("client_id", template.ok_or_else(missing)?)?;
        if id.is_empty() {
            return Err(missing());
        }
        Ok(id)
    }

    fn client_secret(&self) -> Result<Option<SecretString>, ConfigError> {
        let template = self
            .author
            .client_secret
            .as_ref()
            .or(self.declared.client_secret.as_ref());
        let Some(template) = template else {
            return Ok(None);
        };
        let secret = self.text("client_secret", template.expose_secret())?;
        Ok(Some(secret.into()))
    }

    fn declared_refresh_url(&self) -> Result<Option<Url>, ConfigError> {
        self.url(
            "refresh_token_uri",
            self.declared.refresh_token_uri.as_deref(),
        )
    }

    /// Only a login needs it, so it may be undefined in the environment of a step.
    fn declared_auth_url(&self) -> Result<Option<Url>, ConfigError> {
        let declared = self.declared.auth_uri.as_deref();
        let template = self
            .first_defined(self.author.auth_uri.as_deref(), declared)
            .or(declared);
        self.optional_url("auth_uri", template)
    }

    /// A step does not need it either.
    fn declared_revoke_url(&self) -> Result<Option<Url>, ConfigError> {
        self.optional_url("revoke_uri", self.declared.revoke_uri.as_deref())
    }

    /// Returns the URL, unless a name in its template is undefined.
    fn optional_url(
        &self,
        member: &str,
        template: Option<&str>,
    ) -> Result<Option<Url>, ConfigError> {
        self.url(
            member,
            template.filter(|template| self.variables.are_defined(template)),
        )
    }

    /// A URL of the profile; `./` is relative to the token endpoint.
    fn profile_url(
        &self,
        member: &str,
        template: &Option<String>,
        token_url: &Url,
    ) -> Result<Option<Url>, ConfigError> {
        match template {
            None => Ok(None),
            Some(path) if path.starts_with("./") => Ok(token_url.join(path).ok()),
            Some(template) => self
                .variables
                .url(&format!("the profile's {member}"), template)
                .map(Some),
        }
    }

    /// The scopes; those with an undefined name are left out.
    fn scopes(&self) -> Result<Vec<String>, ConfigError> {
        let mut scopes = vec![];
        let templates = self.author.scopes.as_ref().unwrap_or(&self.declared.scopes);
        for template in templates {
            if self.variables.are_defined(template) {
                let text = self.text("scopes", template)?;
                scopes.extend(text.split_whitespace().map(str::to_owned));
            }
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
