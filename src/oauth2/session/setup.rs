//! What is derived from the configuration: resolved at the first request, and again when the credential's other fields
//! change.

use super::{
    super::{CredentialStore, Error, ResolvedConfig, TokenEndpoint},
    Inner,
};
use serde_json::{Map, Value};
use std::sync::{Arc, PoisonError};

/// What is derived from the configuration.
pub(in crate::oauth2) struct CredentialSetup {
    pub(in crate::oauth2) resolved: ResolvedConfig,
    /// The fields that it is derived from.
    fields: Map<String, Value>,
    /// `None` if the platform refreshes the tokens.
    pub(super) endpoint: Option<TokenEndpoint>,
}

impl Inner {
    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<CredentialSetup>, Error> {
        let config = store.config();
        let mut known = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, setup)) = &mut *known {
            if !Arc::ptr_eq(seen, &config)
                && self
                    .fields(&setup.resolved.field, &config)
                    .eq(&setup.fields)
            {
                *seen = config.clone();
            }
            if Arc::ptr_eq(seen, &config) {
                return Ok(setup.clone());
            }
        }
        let setup = Arc::new(self.resolve(&config)?);
        *known = Some((config, setup.clone()));
        Ok(setup)
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
