//! Templates in component.json: `{{name}}` is a credential field of the configuration, or an environment variable;
//! `{{name|other}}` is the first of these that is defined.

use reqwest::Url;
use serde_json::Value;
use std::net::{IpAddr, Ipv6Addr};

/// Hosts that may get tokens and secrets over plain HTTP, such as a provider behind the same firewall.
pub(crate) const HTTP_HOSTS: &str = super::variables::OAUTH_HTTP_HOSTS.name;

/// The credential is configured incorrectly. The text says where, and how to fix it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the OAuth2 credential is not usable: {0}")]
pub(crate) struct ConfigError(pub(crate) String);

/// Returns the names of fields and variables in `template`, alternatives included. Of a path into a field, it is the field's.
pub(crate) fn names(template: &str) -> impl Iterator<Item = &str> {
    let parts = template.split("{{").skip(1);
    let names = parts.filter_map(|part| part.split_once("}}"));
    let names = names.flat_map(|(names, _)| alternatives(names));
    names.map(|name| name.split('.').next().unwrap_or(name))
}

/// The values of the names in templates.
pub(crate) struct Variables<'a> {
    /// The credential fields that component.json declares; only they are read from the configuration.
    pub(crate) fields: Vec<&'a str>,
    pub(crate) config: &'a Value,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
}

impl Variables<'_> {
    /// Whether every name in `template` has a value.
    pub(crate) fn are_defined(&self, template: &str) -> bool {
        let parts = template.split("{{").skip(1);
        let mut names = parts.filter_map(|part| part.split_once("}}"));
        names.all(|(name, _)| self.lookup(name).is_some())
    }

    /// Replaces the names in `template` with their values. `place` is where the template is written, for the error.
    pub(crate) fn expand(&self, place: &str, template: &str) -> Result<String, ConfigError> {
        self.fill(place, template, |_, _| true)
    }

    /// Expands `template` to a URL with https, or with http on this machine or on a host of [`HTTP_HOSTS`].
    ///
    /// A value that a user enters may be the whole beginning of a URL, or a part of its host or path, but must not
    /// extend beyond that part. For example, with `https://{{tenant}}.example.com` and the tenant `evil.test/`, the
    /// client secret would be sent to another host.
    pub(crate) fn url(&self, place: &str, template: &str) -> Result<Url, ConfigError> {
        let text = self.fill(place, template.trim(), stays_inside_its_part)?;
        parse_url(place, &text, &self.plain_hosts())
    }

    /// Expands `template` as [`url`](Self::url) does, to any number of URLs with spaces between them.
    pub(crate) fn urls(&self, place: &str, template: &str) -> Result<Vec<Url>, ConfigError> {
        let text = self.fill(place, template.trim(), stays_inside_its_part)?;
        let urls = text.split_whitespace();
        let plain = self.plain_hosts();
        urls.map(|url| parse_url(place, url, &plain)).collect()
    }

    /// The hosts that may get tokens and secrets without TLS.
    pub(crate) fn plain_hosts(&self) -> PlainHosts {
        PlainHosts::read((self.env)(HTTP_HOSTS).unwrap_or_default().as_str())
    }

    /// Expands `template`. `allowed` gets the text before a value and the value that a user entered.
    fn fill(
        &self,
        place: &str,
        template: &str,
        allowed: impl Fn(&str, &str) -> bool,
    ) -> Result<String, ConfigError> {
        let mut text = String::new();
        let mut rest = template;
        while let Some((before, from)) = rest.split_once("{{") {
            let Some((name, after)) = from.split_once("}}") else {
                break;
            };
            text.push_str(before);
            let Some((value, is_entered)) = self.lookup(name) else {
                return Err(self.undefined(place, name));
            };
            if is_entered && !allowed(&text, &value) {
                return Err(ConfigError(format!(
                    "the credential field \"{}\", which is part of an address ({place}), contains a character \
                     that is not allowed there: enter only the name that the field asks for",
                    name.trim()
                )));
            }
            text.push_str(&value);
            rest = after;
        }
        text.push_str(rest);
        Ok(text)
    }

    /// The first value of `names`, which `|` separates, and whether a user has entered it: such a value must not change the
    /// host of a URL.
    fn lookup(&self, names: &str) -> Option<(String, bool)> {
        let variable = |name: &str| (self.env)(name).filter(|value| !value.is_empty());
        alternatives(names).find_map(|name| match self.field(name) {
            Some(value) => Some((value, true)),
            None => Some((variable(name)?, false)),
        })
    }

    fn undefined(&self, place: &str, names: &str) -> ConfigError {
        let names = names.trim();
        let name = alternatives(names).next().unwrap_or_default();
        let other = alternatives(names).last().unwrap_or_default();
        let remedy = if !self.is_declared(name) {
            format!(
                "set the environment variable {name} (it is not a credential field of component.json)"
            )
        } else {
            let variable = if name == other {
                "an environment variable of this name".to_owned()
            } else {
                format!("the environment variable {other}")
            };
            format!("fill in the credential field \"{name}\" (or set {variable})")
        };
        ConfigError(format!("{place} needs {{{{{names}}}}}: {remedy}"))
    }

    fn is_declared(&self, name: &str) -> bool {
        let first = name.split('.').next().unwrap_or(name);
        self.fields.contains(&name) || self.fields.contains(&first)
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

fn parse_url(place: &str, text: &str, plain: &PlainHosts) -> Result<Url, ConfigError> {
    let invalid = |what: &str| ConfigError(format!("{place} is not a valid address: {what}"));
    let url = Url::parse(text.trim()).map_err(|e| invalid(&e.to_string()))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it must not contain a user name or a password"));
    }
    if url.fragment().is_some() {
        return Err(invalid("it must not end in a fragment (#)"));
    }
    if !plain.is_safe(&url) {
        // Neither scheme nor host is shown: they may be a secret that was put into the wrong place.
        return Err(invalid(&format!(
            "it must begin with https://, since what is sent there must stay secret. http:// is allowed for this machine, \
             and for hosts that {HTTP_HOSTS} names"
        )));
    }
    Ok(url)
}

fn alternatives(names: &str) -> impl Iterator<Item = &str> {
    names.split('|').map(str::trim)
}

/// Returns whether `value`, entered by a user, keeps the structure of the URL. It may be the beginning of it.
fn stays_inside_its_part(before: &str, value: &str) -> bool {
    before.is_empty()
        || !value.contains(['/', '\\', '?', '#', '@', '%']) && !value.contains(char::is_whitespace)
}

/// The hosts of [`HTTP_HOSTS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PlainHosts(Vec<PlainHost>);

/// A host, on one port or on all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PlainHost {
    host: String,
    port: Option<u16>,
}

impl PlainHost {
    /// Reads a host as it stands in a URL, with a port or without one. The scheme may stand before it.
    fn read(text: &str) -> Option<Self> {
        let host = text.trim().trim_start_matches("http://");
        let host = host.trim_end_matches('/');
        let bracketed = match host.parse::<Ipv6Addr>() {
            Ok(_) => format!("[{host}]"),
            Err(_) => host.to_owned(),
        };
        // A port of its own: the default one would be left out of the URL.
        let port = bracketed
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let url = Url::parse(&format!("http://{bracketed}/")).ok()?;
        let host = url.host_str()?.trim_end_matches('.').to_owned();
        Some(Self { host, port })
    }

    fn is_of(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_end_matches('.');
        host == self.host && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

impl PlainHosts {
    /// Reads hosts with `,` between them.
    fn read(text: &str) -> Self {
        Self(text.split(',').filter_map(PlainHost::read).collect())
    }

    /// Returns whether any token may be sent to this URL: over TLS, within this machine, or to a host that is named.
    pub(crate) fn is_safe(&self, url: &Url) -> bool {
        match url.scheme() {
            "https" => true,
            "http" => is_this_machine(url) || self.0.iter().any(|named| named.is_of(url)),
            _ => false,
        }
    }
}

fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}
