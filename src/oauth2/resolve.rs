//! What component.json and the author say about the credential, worked out for one configuration.

use super::{
    definition::{ConfigError, Mode, OAuth2},
    profile::{ClientAuth, Profile},
    template::Names,
};
use crate::settings::descriptor::{Descriptor, OAuth2Credentials};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// What holds for one configuration.
pub(crate) struct ResolvedConfig {
    pub(crate) mode: Mode,
    /// The path of the tokens in the configuration.
    pub(crate) field: Vec<String>,
    pub(crate) profile: Profile,
    /// None when the platform renews the tokens.
    pub(crate) client: Option<Client>,
    pub(crate) base_url: Option<Url>,
    /// Who may be sent the token: the base URL's origin, and those the author allows.
    pub(crate) origins: Vec<Origin>,
}

/// What this component is to the provider, and where the provider is.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    pub(crate) secret: Option<SecretString>,
    pub(crate) token_url: Url,
    pub(crate) refresh_url: Url,
    pub(crate) auth_url: Option<Url>,
    pub(crate) revoke_url: Option<Url>,
    pub(crate) scopes: Vec<String>,
    pub(crate) authorize_params: BTreeMap<String, String>,
}

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin(String);

impl Origin {
    pub(crate) fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl OAuth2 {
    /// What all of it means for one configuration.
    ///
    /// `secretId` in the configuration means [`Mode::PlatformSecret`], whatever else is said.
    pub(crate) fn resolve(
        &self,
        descriptor: &Descriptor,
        config: &Value,
        mode_override: Option<Mode>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<ResolvedConfig, ConfigError> {
        let has_secret = config
            .get("secretId")
            .and_then(Value::as_str)
            .is_some_and(|id| !id.is_empty());
        let mode = if has_secret {
            Mode::PlatformSecret
        } else {
            mode_override.or(self.mode).unwrap_or(Mode::Expiry)
        };
        if mode == Mode::PlatformSecret && !has_secret {
            return Err(ConfigError(
                "tokens are to be renewed by the platform, but the configuration names no secret (secretId)".to_owned(),
            ));
        }
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
            names: Names {
                fields,
                config,
                env,
            },
        };

        let token_url = sources.token_url();
        let mut profile = sources.profile(token_url.as_ref().ok().and_then(Option::as_ref))?;
        if let Some(way) = &declared.client_auth {
            profile.client_auth = client_auth(way)?;
        }
        let client = if mode == Mode::PlatformSecret {
            None
        } else {
            Some(sources.client(&mut profile, token_url?)?)
        };

        // The token record may have it, too.
        let elsewhere = profile
            .base_url
            .as_deref()
            .or(profile.base_url_field.as_deref());
        let own = sources.preferred(self.base_url.as_deref(), elsewhere);
        let base_url = match (own, &profile.base_url) {
            (Some(template), _) => Some(sources.names.address("the base URL", template)?),
            (None, Some(template)) => {
                Some(sources.names.address("the profile's base_url", template)?)
            }
            (None, None) => None,
        };
        let mut origins: Vec<Origin> = base_url.iter().map(Origin::of).collect();
        for template in &self.origins {
            origins.push(Origin::of(
                &sources.names.address("an allowed origin", template)?,
            ));
        }
        Ok(ResolvedConfig {
            mode,
            field: self.field_in(descriptor),
            profile,
            client,
            base_url,
            origins,
        })
    }

    /// The path of the tokens in a configuration.
    pub(crate) fn field_in(&self, descriptor: &Descriptor) -> Vec<String> {
        let is_shown_so = |view: Option<&str>| {
            view.is_some_and(|view| matches!(view, "OAuthFieldView" | "HTTPAuthView"))
        };
        let fields = descriptor.credentials.iter().flat_map(|c| &c.fields);
        let declared = || {
            fields
                .into_iter()
                .find(|(_, field)| is_shown_so(field.view_class()))
                .map(|(name, _)| name)
        };
        match &self.field {
            Some(path) => path.split('.').map(str::to_owned).collect(),
            None => vec![declared().map_or("oauth", String::as_str).to_owned()],
        }
    }
}

/// Where what is needed is said.
struct Sources<'a> {
    author: &'a OAuth2,
    declared: &'a OAuth2Credentials,
    names: Names<'a>,
}

impl Sources<'_> {
    /// The author's template, unless it stands for nothing and there is another one.
    fn preferred<'t>(&self, own: Option<&'t str>, other: Option<&str>) -> Option<&'t str> {
        own.filter(|template| other.is_none() || self.names.are_given(template))
    }

    /// The token endpoint as author or component.json give it; a profile may know it as well.
    fn token_url(&self) -> Result<Option<Url>, ConfigError> {
        let declared = self.declared.token_uri.as_deref();
        self.address(
            "token_uri",
            self.preferred(self.author.token_uri.as_deref(), declared)
                .or(declared),
        )
    }

    fn profile(&self, token_url: Option<&Url>) -> Result<Profile, ConfigError> {
        if let Some(profile) = &self.author.custom_profile {
            return Ok(profile.clone());
        }
        let Some(template) = self
            .author
            .profile
            .as_ref()
            .filter(|template| self.names.are_given(template))
        else {
            return Ok(token_url.map(Profile::for_endpoint).unwrap_or_default());
        };
        let name = self
            .names
            .expand("the name of the provider's profile", template)?;
        Profile::named(&name).ok_or_else(|| {
            ConfigError(format!(
                "there is no provider profile \"{name}\"; there are: {}",
                Profile::names().join(", ")
            ))
        })
    }

    fn client(&self, profile: &mut Profile, token_url: Option<Url>) -> Result<Client, ConfigError> {
        let token_url = match (token_url, &profile.token_uri) {
            (Some(url), _) => url,
            (None, Some(template)) => self.names.address("the profile's token_uri", template)?,
            (None, None) => {
                return Err(missing(
                    "token_uri",
                    "the address of the provider's token endpoint",
                ));
            }
        };
        let of_profile = |member: &str, template: &Option<String>| match template {
            None => Ok(None),
            Some(path) if path.starts_with("./") => Ok(token_url.join(path).ok()),
            Some(template) => self
                .names
                .address(&format!("the profile's {member}"), template)
                .map(Some),
        };
        let declared_refresh = self.address(
            "refresh_token_uri",
            self.declared.refresh_token_uri.as_deref(),
        )?;
        // What a step does not need may be missing in its environment.
        let declared_revoke = self
            .declared
            .revoke_uri
            .as_deref()
            .filter(|template| self.names.are_given(template));
        let declared_revoke = self.address("revoke_uri", declared_revoke)?;
        // Only a login needs it.
        let declared_auth = self.declared.auth_uri.as_deref();
        let auth_uri = self
            .preferred(self.author.auth_uri.as_deref(), declared_auth)
            .or(declared_auth);
        let declared_auth = self.address(
            "auth_uri",
            auth_uri.filter(|template| self.names.are_given(template)),
        )?;

        let id = self
            .author
            .client_id
            .as_deref()
            .or(self.declared.client_id.as_deref());
        let id = id.ok_or_else(|| missing("client_id", "this component's id at the provider"))?;
        let id = self.text("client_id", id)?;
        let secret = self
            .author
            .client_secret
            .as_ref()
            .or(self.declared.client_secret.as_ref());
        let secret = secret
            .map(|template| self.text("client_secret", template.expose_secret()))
            .transpose()?;
        if id.is_empty() {
            return Err(missing("client_id", "this component's id at the provider"));
        }
        if secret.is_none() {
            profile.client_auth = ClientAuth::None;
        }

        let mut scopes = vec![];
        let templates = self.author.scopes.as_ref().unwrap_or(&self.declared.scopes);
        for template in templates
            .iter()
            .filter(|template| self.names.are_given(template))
        {
            scopes.extend(
                self.text("scopes", template)?
                    .split_whitespace()
                    .map(str::to_owned),
            );
        }
        let mut authorize_params = profile.authorize_params.clone();
        for (name, value) in &self.declared.more {
            let value = match value {
                Value::String(template) if !self.names.are_given(template) => continue,
                Value::String(template) => self.text(name, template)?,
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => continue,
            };
            authorize_params.insert(name.clone(), value);
        }
        Ok(Client {
            id,
            secret: secret.map(SecretString::from),
            refresh_url: declared_refresh
                .map_or_else(
                    || of_profile("refresh_uri", &profile.refresh_uri),
                    |url| Ok(Some(url)),
                )?
                .unwrap_or_else(|| token_url.clone()),
            auth_url: declared_auth.map_or_else(
                || of_profile("auth_uri", &profile.auth_uri),
                |url| Ok(Some(url)),
            )?,
            revoke_url: declared_revoke.map_or_else(
                || of_profile("revoke_uri", &profile.revoke_uri),
                |url| Ok(Some(url)),
            )?,
            token_url,
            scopes,
            authorize_params,
        })
    }

    fn address(&self, member: &str, template: Option<&str>) -> Result<Option<Url>, ConfigError> {
        template
            .map(|template| self.names.address(&place(member), template))
            .transpose()
    }

    fn text(&self, member: &str, template: &str) -> Result<String, ConfigError> {
        self.names
            .expand(&place(member), template)
            .map(|text| text.trim().to_owned())
    }
}

fn place(member: &str) -> String {
    format!("\"{member}\" in credentials.oauth2 of component.json")
}

fn missing(member: &str, what: &str) -> ConfigError {
    ConfigError(format!("{} is missing: {what}", place(member)))
}

/// `client_auth` as the platform and the RFCs (8414) call the ways.
fn client_auth(name: &str) -> Result<ClientAuth, ConfigError> {
    match name.trim().to_ascii_lowercase().as_str() {
        "basic" | "client_secret_basic" => Ok(ClientAuth::Basic),
        "basic_raw" => Ok(ClientAuth::BasicRaw),
        "post" | "body" | "client_secret_post" => Ok(ClientAuth::Post),
        "none" => Ok(ClientAuth::None),
        other => Err(ConfigError(format!(
            "{} is \"{other}\"; possible are: post, basic, basic_raw, none",
            place("client_auth")
        ))),
    }
}
