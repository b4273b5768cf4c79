//! `{{name}}` in component.json: a credential field of this configuration, or a variable of the environment;
//! `{{name|other}}` is the first of these that is given.

use super::definition::ConfigError;
use reqwest::Url;
use serde_json::Value;
use std::net::IpAddr;

/// What names in templates stand for.
pub(super) struct Names<'a> {
    /// The credential fields that component.json declares; only they are read from the configuration.
    pub(super) fields: Vec<&'a str>,
    pub(super) config: &'a Value,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Names<'_> {
    /// Whether every name in `template` stands for something: for what may be left out.
    pub(super) fn are_given(&self, template: &str) -> bool {
        let names = template
            .split("{{")
            .skip(1)
            .filter_map(|part| part.split_once("}}"));
        names
            .map(|(name, _)| name)
            .all(|name| self.found(name).is_some())
    }

    /// The text that `template` stands for. `place` says where it is written, for the error.
    pub(super) fn expand(&self, place: &str, template: &str) -> Result<String, ConfigError> {
        self.fill(place, template, |_, _| true)
    }

    /// The address that `template` stands for: https, or http on this machine.
    ///
    /// What users enter may choose the whole beginning of an address, or a part of its host or path, but must not end
    /// the part that it stands in: `https://{{tenant}}.example.com` with a tenant `evil.test/` would send the client
    /// secret elsewhere.
    pub(super) fn address(&self, place: &str, template: &str) -> Result<Url, ConfigError> {
        let stays_inside = |before: &str, value: &str| {
            before.is_empty()
                || !value.contains(['/', '\\', '?', '#', '@', '%'])
                    && !value.contains(char::is_whitespace)
        };
        let text = self.fill(place, template.trim(), stays_inside)?;
        let wrong = |what: &str| {
            ConfigError(format!(
                "{place} is not an address that can be used: {what}"
            ))
        };
        let url = Url::parse(text.trim()).map_err(|e| wrong(&e.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "it holds a user name or a password, which have no place there",
            ));
        }
        if url.fragment().is_some() {
            return Err(wrong("it ends in a fragment (#)"));
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_this_machine(&url) => Ok(url),
            // What stands before the colon is not shown: it may be a secret that was put into the wrong place.
            _ => Err(wrong(
                "it does not begin with https://, and tokens go over https only",
            )),
        }
    }

    fn fill(
        &self,
        place: &str,
        template: &str,
        fits: impl Fn(&str, &str) -> bool,
    ) -> Result<String, ConfigError> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, from)) = rest.split_once("{{") {
            let Some((name, after)) = from.split_once("}}") else {
                break;
            };
            text.push_str(before);
            match self.found(name) {
                Some((value, Given::Field)) if !fits(&text, &value) => {
                    return Err(ConfigError(format!(
                        "the credential field \"{}\", which is part of an address ({place}), holds a character \
                         that is not possible there: enter only the name that the field asks for",
                        name.trim()
                    )));
                }
                Some((value, _)) => text.push_str(&value),
                None => return Err(self.nothing_given(place, name)),
            }
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    /// What is given of `names`, which `|` separates: the first of them.
    fn found(&self, names: &str) -> Option<(String, Given)> {
        alternatives(names).find_map(|name| {
            let variable = || (self.env)(name).filter(|value| !value.is_empty());
            let field = self.field(name).map(|value| (value, Given::Field));
            field.or_else(|| variable().map(|value| (value, Given::Environment)))
        })
    }

    fn nothing_given(&self, place: &str, names: &str) -> ConfigError {
        let names = names.trim();
        let name = alternatives(names).next().unwrap_or_default();
        let other = alternatives(names).last().unwrap_or_default();
        let remedy = match self.is_declared(name) {
            true if name == other => {
                format!(
                    "fill in the credential field \"{name}\" (or set an environment variable of this name)"
                )
            }
            true => format!(
                "fill in the credential field \"{name}\" (or set the environment variable {other})"
            ),
            false => {
                format!(
                    "set the environment variable {name} (it is no credential field of component.json)"
                )
            }
        };
        ConfigError(format!("{place} needs {{{{{names}}}}}: {remedy}"))
    }

    fn is_declared(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.fields
            .iter()
            .any(|field| *field == name || *field == first)
    }

    fn field(&self, name: &str) -> Option<String> {
        if !self.is_declared(name) {
            return None;
        }
        let nested = || {
            name.split('.')
                .try_fold(self.config, |value, part| value.get(part))
        };
        match self.config.get(name).or_else(nested)? {
            Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }
}

/// Where a value comes from: users may not enter everything everywhere.
enum Given {
    Field,
    Environment,
}

fn alternatives(names: &str) -> impl Iterator<Item = &str> {
    names.split('|').map(str::trim)
}

/// Whether a token may go there at all: over TLS, or not off this machine.
pub(super) fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
