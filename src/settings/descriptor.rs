//! component.json, as far as the runtime needs it (wire-contract: Component descriptor). Other members are ignored.

use secrecy::SecretString;
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The content of component.json.
///
/// ```
/// use sailor::Component;
///
/// let json = r#"{"title": "Mail", "actions": {"send": {"main": "./send.rs", "fields": {"to": {"label": "To"}}}}}"#;
/// let component = Component::new(json)?;
/// let send = component.descriptor().function("send").unwrap();
/// assert_eq!(send.main.as_deref(), Some("./send.rs"));
/// assert_eq!(send.fields["to"].more["label"], "To");
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The name that users see.
    #[serde(default)]
    pub title: String,
    /// The component's version.
    #[serde(default)]
    pub version: Option<String>,
    /// The functions that start flows.
    #[serde(default)]
    pub triggers: BTreeMap<String, Function>,
    /// The functions that process messages.
    #[serde(default)]
    pub actions: BTreeMap<String, Function>,
    /// What users enter to connect an account.
    #[serde(default)]
    pub credentials: Option<Credentials>,
    /// The environment variables that whoever deploys the component sets.
    #[serde(default, deserialize_with = "env_vars")]
    pub env_vars: BTreeMap<String, EnvVar>,
}

/// A member of `envVars`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnvVar {
    /// Whether the component cannot work without it.
    pub required: bool,
    /// What it is.
    pub description: String,
}

/// Reads `envVars`. The platform reads it; a mistake in it is for `component check`, and does not keep a step from running.
fn env_vars<'de, D: Deserializer<'de>>(json: D) -> Result<BTreeMap<String, EnvVar>, D::Error> {
    let Value::Object(members) = Value::deserialize(json)? else {
        return Ok(BTreeMap::new());
    };
    let variable = |value: &Value| EnvVar {
        required: value["required"] == true,
        description: value["description"].as_str().unwrap_or_default().to_owned(),
    };
    let variables = members
        .iter()
        .map(|(name, value)| (name.clone(), variable(value)));
    Ok(variables.collect())
}

/// A trigger or an action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Function {
    /// The file of the module.
    #[serde(default)]
    pub main: Option<String>,
    /// The name that users see.
    #[serde(default)]
    pub title: Option<String>,
    /// Fetch bodies from object storage before the module runs; true by default.
    #[serde(default)]
    pub auto_resolve_object_references: Option<bool>,
    /// `true` if `getMetaModel` returns the metadata.
    #[serde(default)]
    pub dynamic_metadata: Option<Value>,
    /// The schemas, or the paths of files with schemas.
    #[serde(default)]
    pub metadata: Option<MetadataPlaces>,
    /// What users enter for a step.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
}

impl Function {
    /// Returns true if bodies are fetched from object storage before the module runs.
    ///
    /// ```
    /// use sailor::descriptor::Function;
    ///
    /// let function: Function = serde_json::from_str(r#"{"autoResolveObjectReferences": false}"#)?;
    /// assert!(!function.resolves_references());
    /// assert!(Function::default().resolves_references());
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn resolves_references(&self) -> bool {
        self.auto_resolve_object_references.unwrap_or(true)
    }

    fn models<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (String, &'a str)> {
        self.fields.iter().filter_map(move |(field_name, field)| {
            let place = format!("field \"{field_name}\" of \"{name}\"");
            Some((place, field.select_model()?))
        })
    }
}

/// The schemas of a function. Each is an object, or the path of a file.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MetadataPlaces {
    /// The schema of incoming bodies.
    #[serde(rename = "in", default)]
    pub input: Option<Value>,
    /// The schema of emitted bodies.
    #[serde(rename = "out", default)]
    pub output: Option<Value>,
}

/// An input field of a step or of a credential.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Field {
    /// The values and labels to choose from, or the name of a select model.
    #[serde(default)]
    pub model: Option<Value>,
    /// All other members.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Field {
    /// How the field is shown to users, such as `OAuthFieldView`.
    ///
    /// ```
    /// use sailor::descriptor::Field;
    ///
    /// let field: Field = serde_json::from_str(r#"{"viewClass": "OAuthFieldView", "label": "Connection"}"#)?;
    /// assert_eq!(field.view_class(), Some("OAuthFieldView"));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn view_class(&self) -> Option<&str> {
        self.more.get("viewClass")?.as_str()
    }

    /// Returns the name of the select model that the field asks for.
    pub(crate) fn select_model(&self) -> Option<&str> {
        self.model.as_ref()?.as_str()
    }
}

/// The `credentials` section.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Credentials {
    /// What users enter.
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    /// The OAuth2 client that gets the tokens in one of the fields.
    #[serde(default)]
    pub oauth2: Option<OAuth2Credentials>,
}

impl Credentials {
    /// Returns true if one of the fields holds OAuth2 tokens.
    pub(crate) fn are_oauth2(&self) -> bool {
        self.oauth2.is_some() || self.fields.values().any(holds_tokens)
    }

    fn models(&self) -> impl Iterator<Item = (String, &str)> {
        self.fields.iter().filter_map(|(field_name, field)| {
            let place = format!("credential field \"{field_name}\"");
            Some((place, field.select_model()?))
        })
    }
}

impl Descriptor {
    /// Returns the variables that `envVars` requires and that have no value in this environment, in the order of their names.
    /// An empty text is no value.
    ///
    /// ```
    /// use sailor::Component;
    ///
    /// let json = r#"{"envVars": {"KEY": {"required": true, "description": "The key"}, "SIZE": {"required": false}}}"#;
    /// let component = Component::new(json)?;
    /// let missing = component.descriptor().missing_variables(|_| None);
    /// assert_eq!(missing.len(), 1);
    /// assert_eq!((missing[0].0, &*missing[0].1.description), ("KEY", "The key"));
    /// assert_eq!(component.descriptor().missing_variables(|_| Some("x".to_owned())), []);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn missing_variables(&self, get: impl Fn(&str) -> Option<String>) -> Vec<(&str, &EnvVar)> {
        let required = self
            .env_vars
            .iter()
            .filter(|(_, variable)| variable.required);
        let is_missing = |name: &str| get(name).is_none_or(|value| value.is_empty());
        required
            .filter(|(name, _)| is_missing(name))
            .map(|(name, variable)| (name.as_str(), variable))
            .collect()
    }

    /// Returns the paths of the metadata files that functions name, relative to component.json. A file can be named twice.
    pub(crate) fn metadata_files(&self) -> impl Iterator<Item = &str> {
        let functions = self.triggers.values().chain(self.actions.values());
        let places = functions.filter_map(|function| function.metadata.as_ref());
        let schemas = places.flat_map(|places| places.input.iter().chain(&places.output));
        schemas.filter_map(Value::as_str)
    }

    /// The names of the credential's fields.
    pub(crate) fn credential_fields(&self) -> Vec<&str> {
        let fields = self.credentials.iter().flat_map(|c| c.fields.keys());
        fields.map(String::as_str).collect()
    }

    /// The name of the credential field that holds OAuth2 tokens.
    pub(crate) fn token_field(&self) -> Option<&str> {
        let mut fields = self.credentials.iter().flat_map(|c| &c.fields);
        let (name, _) = fields.find(|(_, field)| holds_tokens(field))?;
        Some(name)
    }
}

fn holds_tokens(field: &Field) -> bool {
    matches!(field.view_class(), Some("OAuthFieldView" | "HTTPAuthView"))
}

/// `credentials.oauth2`. Its texts are templates: `{{NAME}}` is replaced by an environment variable or a credential
/// field.
///
/// ```
/// use sailor::descriptor::OAuth2Credentials;
///
/// let json = r#"{"client_id": "{{ACME_ID}}", "scopes": "read write", "access_type": "offline"}"#;
/// let oauth2: OAuth2Credentials = serde_json::from_str(json)?;
/// assert_eq!(oauth2.scopes, ["read", "write"]);
/// assert_eq!(oauth2.more["access_type"], "offline");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
pub struct OAuth2Credentials {
    /// The client id at the provider.
    #[serde(default)]
    pub client_id: Option<String>,
    /// The client secret at the provider.
    #[serde(default)]
    pub client_secret: Option<SecretString>,
    /// The authorization endpoint. It may have a query.
    #[serde(default)]
    pub auth_uri: Option<String>,
    /// The token endpoint.
    #[serde(default)]
    pub token_uri: Option<String>,
    /// The endpoint for refreshes, if it is not the token endpoint.
    #[serde(default)]
    pub refresh_token_uri: Option<String>,
    /// The revocation endpoint.
    #[serde(default)]
    pub revoke_uri: Option<String>,
    /// The scopes to request: a list, or a text with spaces.
    #[serde(default, deserialize_with = "scopes")]
    pub scopes: Vec<String>,
    /// How the client authenticates, such as `basic`.
    #[serde(default)]
    pub client_auth: Option<String>,
    /// All other members: parameters of the authorization request, such as `access_type`.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

fn scopes<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(json)? {
        Value::Null => Ok(vec![]),
        Value::String(text) => Ok(text.split_whitespace().map(str::to_owned).collect()),
        list => {
            serde_json::from_value(list).map_err(|_| D::Error::custom("expected a list of texts"))
        }
    }
}

impl Descriptor {
    /// Returns the trigger called `name`, or else the action, as the Node sailor does.
    #[must_use]
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.triggers.get(name).or_else(|| self.actions.get(name))
    }

    /// The names of the select models that fields refer to, each with the place of the field.
    pub(crate) fn models(&self) -> impl Iterator<Item = (String, &str)> {
        let functions = self.triggers.iter().chain(&self.actions);
        let of_functions = functions.flat_map(|(name, function)| function.models(name));
        let of_credentials = self.credentials.iter().flat_map(Credentials::models);
        of_functions.chain(of_credentials)
    }
}
