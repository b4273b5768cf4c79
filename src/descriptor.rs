//! component.json: what the runtime needs to know of it (contract §9). Members that are not named here are ignored.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A component's description of itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What users read.
    #[serde(default)]
    pub title: String,
    /// The component's version.
    #[serde(default)]
    pub version: Option<String>,
    /// Functions that start flows.
    #[serde(default)]
    pub triggers: BTreeMap<String, Function>,
    /// Functions that answer messages.
    #[serde(default)]
    pub actions: BTreeMap<String, Function>,
    /// What users enter to connect; none when the component needs nothing.
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// A trigger or an action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// The module's file.
    #[serde(default)]
    pub main: Option<String>,
    /// What users read.
    #[serde(default)]
    pub title: Option<String>,
    /// Bodies kept in object storage are fetched before the module sees them; true unless said otherwise.
    #[serde(default)]
    pub auto_resolve_object_references: Option<bool>,
    /// `true` when the metadata is asked of the component.
    #[serde(default)]
    pub dynamic_metadata: Option<Value>,
    /// Schemas, or paths of files with schemas.
    #[serde(default)]
    pub metadata: Option<MetadataPlaces>,
    /// What users enter for the step.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
}

impl Function {
    /// Whether bodies in object storage are fetched before the module sees them.
    #[must_use]
    pub fn resolves_references(&self) -> bool {
        self.auto_resolve_object_references.unwrap_or(true)
    }
}

/// Where the schemas of a function stand: each an object, or the path of a file.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MetadataPlaces {
    /// Of incoming bodies.
    #[serde(rename = "in", default)]
    pub input: Option<Value>,
    /// Of outgoing bodies.
    #[serde(rename = "out", default)]
    pub output: Option<Value>,
}

/// An input of a step or of a credential.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Field {
    /// Values and labels to choose from, or the name of a select model.
    #[serde(default)]
    pub model: Option<Value>,
    /// Everything else.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// The credentials section.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Credentials {
    /// What users enter.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
}

impl Descriptor {
    /// The function called `name`: a trigger, or else an action, as the platform's other sailors look it up.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.triggers.get(name).or_else(|| self.actions.get(name))
    }

    /// The select models that fields ask for, and where.
    pub(crate) fn models(&self) -> impl Iterator<Item = (String, &str)> {
        let of_functions = self.triggers.iter().chain(&self.actions).flat_map(|(name, function)| {
            function.fields.iter().map(move |(field, f)| (format!("field \"{field}\" of \"{name}\""), f))
        });
        let of_credentials = self
            .credentials
            .iter()
            .flat_map(|c| &c.fields)
            .map(|(field, f)| (format!("credential field \"{field}\""), f));
        of_functions.chain(of_credentials).filter_map(|(place, field)| match &field.model {
            Some(Value::String(model)) => Some((place, model.as_str())),
            _ => None,
        })
    }
}
