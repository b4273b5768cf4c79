//! The variables in a recording: those that component.json names, and those of the sailor that change what a component does.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Plain HTTP for tokens, when they are refreshed, and the largest message. A replay has them as the run had them.
pub(super) const HTTP_HOSTS: &str = "ELASTICIO_OAUTH_HTTP_HOSTS";
pub(super) const MODE: &str = "ELASTICIO_OAUTH_MODE";
pub(super) const SIZE_LIMIT: &str = "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT";
pub(super) const OF_SAILOR: [&str; 3] = [HTTP_HOSTS, MODE, SIZE_LIMIT];
const PLATFORM: &str = "ELASTICIO_";

/// Returns the variables to record. `given` is what the emulator gives to the component, which also has `inherited`, those of this
/// process, but for the platform's.
pub(super) fn recorded(
    descriptor: &Value,
    given: &[(String, String)],
    inherited: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let own = named(descriptor)
        .into_iter()
        .filter(|name| !name.starts_with(PLATFORM));
    let own = own.map(|name| {
        let value = value(given, name).or_else(|| inherited(name));
        (name, value)
    });
    let of_sailor = OF_SAILOR.map(|name| (name, value(given, name)));
    own.chain(of_sailor)
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

fn value(given: &[(String, String)], name: &str) -> Option<String> {
    let mut given = given.iter().filter(|(known, _)| known == name);
    given.next().map(|(_, value)| value.clone())
}

/// The names in `envVars`, and those in templates such as `{{name|OTHER_NAME}}`.
fn named(descriptor: &Value) -> BTreeSet<&str> {
    let variables = descriptor["envVars"].as_object().into_iter().flatten();
    let mut names: BTreeSet<&str> = variables.map(|(name, _)| name.as_str()).collect();
    add_templates(descriptor, &mut names);
    names
}

fn add_templates<'a>(value: &'a Value, names: &mut BTreeSet<&'a str>) {
    match value {
        Value::String(text) => {
            let parts = text.split("{{").skip(1);
            let templates = parts.filter_map(|part| part.split_once("}}"));
            names.extend(templates.flat_map(|(inside, _)| inside.split('|').map(str::trim)));
        }
        Value::Array(items) => items.iter().for_each(|item| add_templates(item, names)),
        Value::Object(members) => members.values().for_each(|v| add_templates(v, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_variables_that_are_named_are_recorded() {
        let descriptor = json!({
            "description": "It reads ACME_URL and ACME.",
            "envVars": {"ACME_URL_SUFFIX": {}, "ELASTICIO_FLOW_ID": {}, "MISSING": {}, "OF_SHELL": {}},
            "credentials": {"oauth2": {"client_id": "{{ user | ACME_ID }}", "token_uri": "https://{{ACME_HOST}}/{{PATH_OF_IT}}"}},
        });
        let given = [
            "ACME",
            "ACME_URL",
            "ACME_URL_SUFFIX",
            "ACME_ID",
            "ACME_HOST",
            "ID",
            "ELASTICIO_FLOW_ID",
            "ELASTICIO_OAUTH_MODE",
        ];
        let given = given.map(|name| (name.to_owned(), format!("value of {name}")));
        let inherited = |name: &str| {
            ["OF_SHELL", "ACME_ID", "HOME"]
                .contains(&name)
                .then(|| "shell".to_owned())
        };
        let found = recorded(&descriptor, &given, inherited);
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        let expected = [
            "ACME_HOST",
            "ACME_ID",
            "ACME_URL_SUFFIX",
            "ELASTICIO_OAUTH_MODE",
            "OF_SHELL",
        ];
        assert_eq!(names, expected);
        assert_eq!(
            (&*found["ACME_ID"], &*found["OF_SHELL"]),
            ("value of ACME_ID", "shell")
        );
    }
}
