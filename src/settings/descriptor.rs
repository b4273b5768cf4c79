//! component.json: what the runtime needs to know of it (wire-contract: Component descriptor). Members that are not named here are ignored.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
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

impl Field {
    /// How the field is shown to users, as `OAuthFieldView`.
    #[must_use]
    pub fn view_class(&self) -> Option<&str> {
        self.more.get("viewClass")?.as_str()
    }
}

/// The credentials section.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Credentials {
    /// What users enter.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    /// How the platform gets the tokens that one of the fields holds.
    #[serde(default)]
    pub oauth2: Option<OAuth2Credentials>,
}

impl Credentials {
    /// Whether one of the fields holds OAuth2 tokens.
    pub(crate) fn are_oauth2(&self) -> bool {
        let is_shown_so =
            |field: &Field| matches!(field.view_class(), Some("OAuthFieldView" | "HTTPAuthView"));
        self.oauth2.is_some() || self.fields.values().any(is_shown_so)
    }
}

/// `credentials.oauth2`. Texts are templates: `{{NAME}}` is an environment variable or a credential field.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct OAuth2Credentials {
    /// The component's id at the provider.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The component's secret at the provider.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// Where users authorise; may have a query.
    #[serde(default)]
    pub auth_uri: Option<String>,
    /// Where codes are exchanged, and tokens refreshed.
    #[serde(default)]
    pub token_uri: Option<String>,
    /// Where tokens are refreshed, when that is elsewhere.
    #[serde(default)]
    pub refresh_token_uri: Option<String>,
    /// Where tokens are revoked.
    #[serde(default)]
    pub revoke_uri: Option<String>,
    /// What is asked for: a list, or a text with spaces.
    #[serde(default, deserialize_with = "scopes")]
    pub scopes: Vec<String>,
    /// How the client shows who it is, as `basic`.
    #[serde(default)]
    pub client_auth: Option<String>,
    /// Everything else: parameters of the authorisation request, as `access_type`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

fn scopes<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(json)? {
        Value::Null => Ok(vec![]),
        Value::String(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        list => serde_json::from_value(list)
            .map_err(|_| D::Error::custom("a list of texts is expected")),
    }
}

impl Descriptor {
    /// The function called `name`: a trigger, or else an action, as the platform's other sailors look it up.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.triggers.get(name).or_else(|| self.actions.get(name))
    }

    /// The select models that fields ask for, and where.
    pub(crate) fn models(&self) -> impl Iterator<Item = (String, &str)> {
        let of_functions =
            self.triggers
                .iter()
                .chain(&self.actions)
                .flat_map(|(name, function)| {
                    function
                        .fields
                        .iter()
                        .map(move |(field, f)| (format!("field \"{field}\" of \"{name}\""), f))
                });
        let of_credentials = self
            .credentials
            .iter()
            .flat_map(|c| &c.fields)
            .map(|(field, f)| (format!("credential field \"{field}\""), f));
        of_functions
            .chain(of_credentials)
            .filter_map(|(place, field)| match &field.model {
                Some(Value::String(model)) => Some((place, model.as_str())),
                _ => None,
            })
    }
}
