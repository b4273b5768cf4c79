//! What is derived from the configuration: resolved at the first request, and again when the credential's other fields
//! change.

use super::{
    super::{CredentialStore, Error, Mode, ResolvedConfig, TokenEndpoint},
    driver::Driver,
    machine::Keeper,
};
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

/// The latest setup, and the configuration that it was resolved from.
#[derive(Default)]
pub(super) struct Setups(Option<(Arc<Value>, Arc<CredentialSetup>)>);

impl Setups {
    pub(super) fn current(&self) -> Option<&Arc<CredentialSetup>> {
        self.0.as_ref().map(|(_, setup)| setup)
    }

    /// Returns the setup of a configuration.
    pub(super) fn get(
        &mut self,
        driver: &Driver,
        config: &Arc<Value>,
    ) -> Result<Arc<CredentialSetup>, Error> {
        if let Some((seen, setup)) = &mut self.0 {
            let is_same = Arc::ptr_eq(seen, config)
                || driver
                    .fields(&setup.resolved.field, config)
                    .eq(&setup.fields);
            if is_same {
                *seen = config.clone();
                return Ok(setup.clone());
            }
        }
        let setup = Arc::new(driver.resolve(config)?);
        self.0 = Some((config.clone(), setup.clone()));
        Ok(setup)
    }
}

impl Driver {
    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<CredentialSetup>, Error> {
        self.shared().setups.get(self, &store.config())
    }

    fn resolve(&self, config: &Value) -> Result<CredentialSetup, Error> {
        let environment = &*self.config.environment;
        let resolved = self
            .definition
            .resolve(&self.descriptor, config, self.config.mode, &|name| {
                environment(name)
            })
            .map_err(|error| Error::Config(error.to_string()))?;
        let endpoint = TokenEndpoint::new(self.config.http.clone(), &resolved);
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
