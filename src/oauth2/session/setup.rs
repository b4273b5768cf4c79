//! What is derived from the configuration: resolved at the first request, and again when the credential's other fields
//! change.

use super::{
    super::{Error, Mode, OAuth2, ResolvedConfig, TokenEndpoint},
    config::Environment,
    machine::Keeper,
};
use crate::settings::descriptor::Descriptor;
use serde_json::{Map, Value};
use std::sync::Arc;

/// What is derived from the configuration.
pub(in crate::oauth2) struct CredentialSetup {
    pub(in crate::oauth2) resolved: ResolvedConfig,
    /// The fields that it is derived from.
    fields: Map<String, Value>,
    /// `None` if the platform refreshes the tokens.
    pub(super) endpoint: Option<TokenEndpoint>,
}

impl CredentialSetup {
    pub(super) fn keeper(&self) -> Keeper {
        match self.resolved.mode {
            Mode::PlatformSecret => Keeper::Platform,
            Mode::Expiry | Mode::On401 | Mode::EveryAccess => Keeper::Process,
        }
    }
}

/// Resolves the definition of a credential with the configuration.
pub(super) struct Resolver {
    pub(super) definition: OAuth2,
    pub(super) descriptor: Descriptor,
    pub(super) http: reqwest::Client,
    pub(super) environment: Environment,
    /// Overrides the component's mode.
    pub(super) mode: Option<Mode>,
}

impl Resolver {
    fn resolve(&self, config: &Value) -> Result<CredentialSetup, Error> {
        let environment = |name: &str| (self.environment)(name);
        let resolved = self
            .definition
            .resolve(&self.descriptor, config, self.mode, &environment)
            .map_err(|error| Error::Config(error.to_string()))?;
        let endpoint = TokenEndpoint::new(self.http.clone(), &resolved);
        let fields = self.fields(&resolved.field, config);
        Ok(CredentialSetup {
            fields: fields.map(|(k, v)| (k.clone(), v.clone())).collect(),
            resolved,
            endpoint,
        })
    }

    /// Returns the fields that a setup is derived from: the credential's fields without the tokens, and the platform's
    /// secret.
    fn fields<'a>(
        &'a self,
        tokens: &'a [String],
        config: &'a Value,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let declared = self.credential_fields();
        let members = config.as_object().into_iter().flatten();
        members.filter(move |(name, _)| {
            tokens.first() != Some(name)
                && (declared.contains(&name.as_str()) || *name == "secretId")
        })
    }

    /// The names of the credential's fields in component.json.
    pub(super) fn credential_fields(&self) -> Vec<&str> {
        self.descriptor
            .credentials
            .iter()
            .flat_map(|c| c.fields.keys())
            .map(String::as_str)
            .collect()
    }
}

/// The latest setup, and the configuration that it was resolved from.
#[derive(Default)]
pub(super) struct Setups(Option<(Arc<Value>, Arc<CredentialSetup>)>);

impl Setups {
    pub(super) fn latest(&self) -> Option<&Arc<CredentialSetup>> {
        self.0.as_ref().map(|(_, setup)| setup)
    }

    /// Returns the setup of a configuration.
    pub(super) fn get(
        &mut self,
        resolver: &Resolver,
        config: &Arc<Value>,
    ) -> Result<Arc<CredentialSetup>, Error> {
        if let Some((seen, setup)) = &mut self.0 {
            let fields = || resolver.fields(&setup.resolved.field, config);
            if Arc::ptr_eq(seen, config) || fields().eq(&setup.fields) {
                *seen = config.clone();
                return Ok(setup.clone());
            }
        }
        let setup = Arc::new(resolver.resolve(config)?);
        self.0 = Some((config.clone(), setup.clone()));
        Ok(setup)
    }
}
