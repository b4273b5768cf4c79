//! The component's component.json: its functions, and the variables that it names.

use crate::{input::InputError, provider::Provider};
use serde_json::{Map, Value};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A component.json that was found.
#[derive(Clone, Debug)]
pub(crate) struct ComponentFile {
    path: PathBuf,
    json: Value,
}

impl ComponentFile {
    /// Reads the file at `path`, or else the first one in `folders`. Returns nothing if no folder has one.
    pub(crate) fn find(
        path: Option<&Path>,
        folders: &[PathBuf],
    ) -> Result<Option<Self>, InputError> {
        let candidates = match path {
            Some(path) => vec![path.to_owned()],
            None => folders.iter().map(|f| f.join("component.json")).collect(),
        };
        for candidate in candidates {
            match fs::read(&candidate) {
                Ok(text) => return Self::parse(candidate, &text).map(Some),
                Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let file = candidate.display();
                    let text = format!("the descriptor {file} cannot be read: {error}");
                    return Err(InputError::new(text));
                }
            }
        }
        Ok(None)
    }

    fn parse(path: PathBuf, text: &[u8]) -> Result<Self, InputError> {
        match serde_json::from_slice(text) {
            Ok(json @ Value::Object(_)) => Ok(Self { path, json }),
            _ => Err(InputError::new(format!(
                "{} is not a JSON object; `component check --descriptor {0}` tells the place",
                path.display()
            ))),
        }
    }

    /// Returns the function to run: the one that is named, or the only one that there is.
    pub(crate) fn function(&self, name: Option<&str>) -> Result<String, InputError> {
        let known = self.functions();
        let text = match (name, &known[..]) {
            (Some(name), known) if known.contains(&name) => return Ok(name.to_owned()),
            (None, [only]) => return Ok((*only).to_owned()),
            (Some(name), _) => format!(
                "{} has no trigger or action \"{name}\". {}. --descriptor names another component.json",
                self.path.display(),
                listed(&known)
            ),
            (None, _) => format!(
                "name a trigger or action with --function. {} of {}",
                listed(&known),
                self.path.display()
            ),
        };
        Err(InputError::new(text))
    }

    fn functions(&self) -> Vec<&str> {
        let kinds = ["triggers", "actions"].map(|kind| self.json[kind].as_object());
        let names = kinds.into_iter().flatten().flat_map(Map::keys);
        names.map(String::as_str).collect()
    }

    /// Whether the function is a trigger that receives the requests to the flow's webhook address.
    pub(crate) fn is_webhook(&self, function: &str) -> bool {
        let trigger = self.json["triggers"].get(function);
        trigger.is_some_and(|trigger| trigger["type"] != "polling")
    }

    /// Whether the platform does not parse the bodies of these requests.
    pub(crate) fn consumes_raw_data(&self) -> bool {
        self.json["consumesRawData"] == true
    }

    /// Returns the variables that must be set, each with what it is.
    pub(crate) fn required(&self) -> Vec<(&str, &str)> {
        let variables = self.json["envVars"].as_object().into_iter().flatten();
        let required = variables.filter(|(_, variable)| variable["required"] == true);
        required
            .map(|(name, v)| (name.as_str(), v["description"].as_str().unwrap_or_default()))
            .collect()
    }

    /// Returns its content.
    pub(crate) fn text(&self) -> String {
        self.json.to_string()
    }

    /// Returns the path, for errors.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the variables from which the component reads its OAuth2 client, each with the member that it is for.
    ///
    /// There are none if an endpoint is written into the file: then the component is made for that provider.
    pub(crate) fn client_variables(&self) -> Vec<(&str, ClientMember)> {
        let oauth2 = &self.json["credentials"]["oauth2"];
        let text = |member: &str| oauth2[member].as_str().unwrap_or_default();
        let uris = ["auth_uri", "token_uri"];
        if uris.iter().any(|uri| self.variable(text(uri)).is_none()) {
            return Vec::new();
        }
        let members = [
            ("client_id", ClientMember::Id),
            ("client_secret", ClientMember::Secret),
            ("auth_uri", ClientMember::AuthUri),
            ("token_uri", ClientMember::TokenUri),
        ];
        members
            .into_iter()
            .filter_map(|(name, member)| Some((self.variable(text(name))?, member)))
            .collect()
    }

    /// Returns the variable in a template that is nothing else, such as `{{ACME_ID}}` or `{{field|ACME_ID}}`.
    fn variable<'a>(&self, template: &'a str) -> Option<&'a str> {
        let names = template.trim().strip_prefix("{{")?.strip_suffix("}}")?;
        let fields = &self.json["credentials"]["fields"];
        let mut names = names.split('|').map(str::trim);
        names.find(|name| {
            !name.is_empty() && !name.contains(['{', '}']) && fields.get(name).is_none()
        })
    }
}

/// What a component needs to be a client of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientMember {
    Id,
    Secret,
    AuthUri,
    TokenUri,
}

impl ClientMember {
    /// The value for the emulator's provider.
    pub(crate) fn of(self, provider: &Provider) -> String {
        match self {
            Self::Id => provider.client_id().to_owned(),
            Self::Secret => provider.client_secret().to_owned(),
            Self::AuthUri => provider.authorize_url(),
            Self::TokenUri => provider.token_url(),
        }
    }
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() {
        return "There are none".to_owned();
    }
    format!("There are: {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(json: Value) -> ComponentFile {
        ComponentFile::parse("component.json".into(), json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn an_unknown_function_lists_the_known_ones() {
        let two = file(json!({ "triggers": { "poll": {} }, "actions": { "send": {} } }));
        assert_eq!(two.function(Some("send")).unwrap(), "send");
        for name in [Some("sent"), None] {
            let error = two.function(name).unwrap_err().to_string();
            assert!(error.contains("There are: poll, send"), "{error}");
        }
        let one = file(json!({ "actions": { "send": {} } }));
        assert_eq!(one.function(None).unwrap(), "send");
        let error = file(json!({})).function(None).unwrap_err().to_string();
        assert!(error.contains("There are none"), "{error}");
    }

    #[test]
    fn only_triggers_that_do_not_poll_receive_webhooks() {
        let file = file(json!({
            "triggers": { "poll": { "type": "polling" }, "hook": { "type": "webhook" }, "old": {} },
            "actions": { "send": {} },
        }));
        let webhooks = ["poll", "hook", "old", "send", "none"].map(|name| file.is_webhook(name));
        assert_eq!(webhooks, [false, true, true, false, false]);
    }

    #[test]
    fn the_variables_of_a_client_are_known_by_its_templates() {
        use ClientMember::{AuthUri, Id, Secret, TokenUri};
        let of = |oauth2: Value| {
            let fields = json!({ "tenant": {} });
            let file = file(json!({ "credentials": { "oauth2": oauth2, "fields": fields } }));
            let variables = file.client_variables();
            variables
                .into_iter()
                .map(|(name, member)| (name.to_owned(), member))
                .collect::<Vec<_>>()
        };
        let templates = json!({
            "client_id": "{{ID}}", "client_secret": "{{ SECRET }}", "auth_uri": "{{tenant|AUTH}}", "token_uri": "{{TOKEN}}"
        });
        let expected = [
            ("ID", Id),
            ("SECRET", Secret),
            ("AUTH", AuthUri),
            ("TOKEN", TokenUri),
        ];
        assert_eq!(
            of(templates),
            expected.map(|(name, member)| (name.to_owned(), member))
        );
        let fixed = json!({
            "client_id": "{{ID}}", "client_secret": "{{SECRET}}", "auth_uri": "https://a.example", "token_uri": "https://b.example"
        });
        assert_eq!(of(fixed), []);
        let of_a_tenant = json!({
            "client_id": "{{ID}}", "client_secret": "{{SECRET}}", "auth_uri": "{{AUTH}}", "token_uri": "https://{{tenant}}.example"
        });
        assert_eq!(of(of_a_tenant), []);
        assert_eq!(of(Value::Null), []);
    }
}
