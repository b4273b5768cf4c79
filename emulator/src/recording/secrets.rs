//! Replaces secrets in a recording with placeholders such as `secret-1`: the same value by the same placeholder wherever it
//! occurs, so that a replayed component sends in a request what it read in the configuration or in a response.
//!
//! Secrets are the values that the emulator knows (tokens that its provider issued, client secrets, keys of the platform), and
//! the values under names that say so, in headers, queries, forms, JSON and XML. A placeholder has only characters that no
//! encoding changes.

use super::exchanges::Exchange;
use http_double::{authorization_text, percent_decoded, percent_encoded};
use regex_lite::Regex;
use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};

/// Shorter values are replaced only under their own name: they would be found by chance elsewhere.
const SHORTEST: usize = 8;

/// Parts of names whose values are secrets, without `-` and `_`.
const PARTS: [&str; 22] = [
    "accesskey",
    "apikey",
    "assertion",
    "authkey",
    "authorization",
    "bearer",
    "codeverifier",
    "cookie",
    "credential",
    "functionskey",
    "hmac",
    "jwt",
    "passcode",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "sessionid",
    "signature",
    "subscriptionkey",
    "token",
];
/// Whole names. Those of the second list are common words in JSON, and secrets in queries and forms.
const NAMES: [&str; 4] = ["pwd", "otp", "pin", "xauth"];
const NAMES_OF_PARAMETERS: [&str; 6] = ["auth", "code", "devicecode", "key", "sid", "sig"];
/// What a name ends with that only speaks of a secret.
const HARMLESS_ENDS: [&str; 11] = [
    "endpoint",
    "expirytime",
    "expiresat",
    "expiresin",
    "hint",
    "secretid",
    "type",
    "types",
    "uri",
    "url",
    "credentialid",
];

/// Whether a member of this name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = plain(name);
    !HARMLESS_ENDS.iter().any(|end| name.ends_with(end))
        && (NAMES.contains(&&*name) || PARTS.iter().any(|part| name.contains(part)))
}

fn is_secret_parameter(name: &str) -> bool {
    is_secret_name(name) || NAMES_OF_PARAMETERS.contains(&&*plain(name))
}

fn plain(name: &str) -> String {
    let letters = name.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// The secrets that are known, and their placeholders.
#[derive(Default)]
pub(super) struct Secrets {
    known: Vec<String>,
    placeholders: BTreeMap<String, String>,
}

impl Secrets {
    /// Adds a value that must not be seen.
    pub(super) fn add(&mut self, value: &str) {
        let is_new = || !self.known.iter().any(|known| known == value);
        if value.len() >= SHORTEST && is_new() {
            self.known.push(value.to_owned());
        }
    }

    /// Adds all values under names that say that they are secret.
    pub(super) fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    if is_secret_name(name) {
                        texts(value).into_iter().for_each(|text| self.add(text));
                    }
                    self.collect(value);
                }
            }
            Value::String(text) => self.collect_text(text),
            _ => {}
        }
    }

    pub(super) fn collect_exchange(&mut self, exchange: &Exchange) {
        let (request, response) = (&exchange.request, &exchange.response);
        self.collect_url(&request.url);
        for (name, values) in request.headers.iter().chain(&response.headers) {
            let values = values.iter().filter(|_| is_secret_name(name));
            values.for_each(|value| self.collect_header(name, value));
        }
        for body in [&request.body, &response.body] {
            self.collect(&body.value());
        }
    }

    fn collect_header(&mut self, name: &str, value: &str) {
        if name.contains("cookie") {
            for pair in value.split(';') {
                let value = pair.split_once('=').map_or("", |(_, value)| value);
                self.add(value.trim());
            }
            return;
        }
        let credentials = value.split_once(' ').map_or(value, |(_, rest)| rest);
        self.add(credentials.trim());
        if let Ok(value) = value.parse()
            && let text = authorization_text(&value)
            && text != value.to_str().unwrap_or_default()
        {
            text.split(':').for_each(|part| self.add(part));
        }
    }

    fn collect_url(&mut self, url: &str) {
        if let Some((user_info, _)) = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'))
        {
            user_info
                .split(':')
                .for_each(|part| self.add(&percent_decoded(part)));
        }
        if let Some((_, query)) = url.split_once('?') {
            self.collect_parameters(query);
        }
    }

    fn collect_parameters(&mut self, parameters: &str) {
        for (name, value) in parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='))
        {
            if is_secret_parameter(name) {
                self.add(&decoded(value));
            }
        }
    }

    /// A text may be an address, a form, JSON or XML.
    fn collect_text(&mut self, text: &str) {
        static ELEMENT: LazyLock<Option<Regex>> =
            LazyLock::new(|| Regex::new(r"<([\w:.-]+)[^<>]*>([^<>]+)</").ok());
        if text.contains("://") {
            self.collect_url(text);
        } else if text.contains('=') && !text.contains(char::is_whitespace) {
            self.collect_parameters(text);
        }
        if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text) {
            self.collect(&value);
        }
        if text.contains('<')
            && let Some(element) = &*ELEMENT
        {
            for found in element.captures_iter(text) {
                if is_secret_name(&found[1]) {
                    self.add(found[2].trim());
                }
            }
        }
    }

    /// Replaces secrets everywhere in a value.
    pub(super) fn replace(&mut self, value: &mut Value) {
        self.replace_below("", value);
    }

    fn replace_below(&mut self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                *text = self.replaced(text);
                if is_secret_name(name) && text.len() < SHORTEST && !text.is_empty() {
                    *text = self.placeholder(&text.clone());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|i| self.replace_below(name, i)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.replace_below(name, value);
                }
            }
            _ => {}
        }
    }

    /// Returns a text with placeholders in the place of secrets, in every encoding in which they are known.
    fn replaced(&mut self, text: &str) -> String {
        // A longer secret may contain a shorter one.
        self.known
            .sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = text.to_owned();
        for secret in self.known.clone() {
            for variant in variants(&secret) {
                if text.contains(&variant) {
                    text = text.replace(&variant, &self.placeholder(&secret));
                }
            }
        }
        self.short_parameters(text)
    }

    /// Replaces short secrets in a query or form by their name.
    fn short_parameters(&mut self, text: String) -> String {
        if !text.contains('=') || text.contains(char::is_whitespace) {
            return text;
        }
        let (start, query) = match text.split_once('?') {
            Some((start, query)) => (format!("{start}?"), query),
            None => (String::new(), &*text),
        };
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, value))
                    if is_secret_parameter(name) && !value.is_empty() && value.len() < SHORTEST =>
                {
                    format!("{name}={}", self.placeholder(value))
                }
                _ => pair.to_owned(),
            })
            .collect();
        start + &pairs.join("&")
    }

    /// Whether a secret is still in a text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.known
            .iter()
            .any(|secret| text.contains(secret.as_str()))
    }

    /// Whether a secret is in bytes that are no text, where it cannot be replaced.
    pub(super) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        let is_in = |secret: &str| {
            let secret = secret.as_bytes();
            bytes.windows(secret.len()).any(|window| window == secret)
        };
        self.known.iter().any(|secret| is_in(secret))
    }

    fn placeholder(&mut self, secret: &str) -> String {
        let next = format!("secret-{}", self.placeholders.len() + 1);
        let entry = self.placeholders.entry(secret.to_owned());
        entry.or_insert(next).clone()
    }
}

fn decoded(value: &str) -> String {
    percent_decoded(&value.replace('+', " "))
}

fn variants(secret: &str) -> [String; 4] {
    let encoded = percent_encoded(secret);
    [
        secret.to_owned(),
        secret.replace('/', "\\/"),
        encoded.replace("%20", "+"),
        encoded,
    ]
}

/// All texts in a value.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_tell_what_is_secret() {
        for name in [
            "access_token",
            "Authorization",
            "X-Api-Key",
            "client_secret",
            "dbPassword",
            "Set-Cookie",
            "ocp-apim-subscription-key",
            "SessionId",
            "pageToken",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in [
            "token_type",
            "tokenExpiryTime",
            "token_uri",
            "secretId",
            "key",
            "code",
            "name",
            "token_type_hint",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
        assert!(is_secret_parameter("key") && is_secret_parameter("code"));
    }

    /// What is replaced, given where the secret was found.
    fn replaced(found_in: Value, mut value: Value) -> Value {
        let mut secrets = Secrets::default();
        secrets.collect(&found_in);
        secrets.replace(&mut value);
        value
    }

    #[test]
    fn a_secret_is_replaced_in_every_encoding() {
        let found = json!({"config": {"password": "p/ss word=1"}});
        let value = json!([
            "p/ss word=1",
            "x=p%2Fss+word%3D1&y=2",
            "/p%2Fss%20word%3D1",
            "{\"a\":\"p\\/ss word=1\"}",
            {"other": ["p/ss word=1"]},
            "p"
        ]);
        assert_eq!(
            replaced(found, value),
            json!(["secret-1", "x=secret-1&y=2", "/secret-1", "{\"a\":\"secret-1\"}", {"other": ["secret-1"]}, "p"])
        );
    }

    #[test]
    fn secrets_are_found_in_addresses_forms_json_and_xml() {
        for (text, secret) in [
            ("https://a.test/x?key=0123456789&q=1", "0123456789"),
            ("https://user:pass%20word@a.test/x", "pass word"),
            ("grant_type=x&code=abcdefgh", "abcdefgh"),
            ("{\"nested\":[{\"apiKey\":\"abcdefgh\"}]}", "abcdefgh"),
            ("<s:Login><s:password>abcdefgh</s:password>", "abcdefgh"),
        ] {
            assert_eq!(replaced(json!(text), json!(secret)), "secret-1", "{text}");
            let shown = replaced(json!(text), json!(text)).to_string();
            assert!(
                !shown.contains(secret) && shown.contains("secret-1"),
                "{shown}"
            );
        }
    }

    #[test]
    fn a_short_secret_is_replaced_only_under_its_name() {
        let value = json!({"pin": "1234", "year": "1234", "url": "https://a.test/?key=12&year=12"});
        assert_eq!(
            replaced(json!({}), value),
            json!({"pin": "secret-1", "year": "1234", "url": "https://a.test/?key=secret-2&year=12"})
        );
    }
}
