//! The OAuth2 credential that component.json and a configuration describe.

use crate::{
    clients::http,
    component::Component,
    oauth2::{
        ClientRegistration, Mode, OAuth2, ResolvedConfig, TokenEndpoint, TokenRecord,
        keys_with_record,
    },
    settings,
};
use anyhow::Context;
use serde_json::{Map, Value};

pub(super) struct Credential {
    resolved: ResolvedConfig,
    /// The names of the credential's fields, the field with the tokens included.
    fields: Vec<String>,
}

impl Credential {
    pub(super) fn new(component: &Component, config: Value) -> anyhow::Result<Self> {
        let descriptor = component.descriptor();
        let definition: OAuth2 = component.oauth2_definition();
        // Locally the component refreshes the tokens, even if the platform does so in production.
        let mode = Some(Mode::Expiry);
        let resolved = definition.resolve(descriptor, &config, mode, &settings::environment)?;
        let fields = descriptor
            .credentials
            .iter()
            .flat_map(|credentials| credentials.fields.keys().cloned());
        Ok(Self {
            resolved,
            fields: fields.collect(),
        })
    }

    pub(super) fn client(&self) -> anyhow::Result<&ClientRegistration> {
        self.resolved.client.as_ref().context(
            "the configuration names a secret of the platform (secretId), which refreshes the tokens itself; remove it \
             from the configuration to store tokens there",
        )
    }

    pub(super) fn endpoint(&self) -> anyhow::Result<TokenEndpoint> {
        TokenEndpoint::new(http::client_without_redirects()?, &self.resolved)
            .context("there is no token endpoint")
    }

    /// The path of the field with the tokens.
    pub(super) fn field(&self) -> String {
        self.resolved.field.join(".")
    }

    /// Returns the members of the configuration that hold the credential, with `record` as its token record.
    pub(super) fn members_with(
        &self,
        config: &Map<String, Value>,
        record: &TokenRecord,
    ) -> Map<String, Value> {
        keys_with_record(
            &Value::Object(config.clone()),
            &self.fields,
            &self.resolved.field,
            record,
        )
    }
}
