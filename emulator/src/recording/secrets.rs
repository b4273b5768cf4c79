//! Replaces secrets in a recording with placeholders such as `secret-1`: the same value by the same placeholder wherever it
//! occurs, so that a replayed component sends in a request what it read in the configuration or in a response.
//!
//! Secrets are the values that the emulator knows (tokens that its provider issued, client secrets, keys of the platform), and
//! the values under names that say so, in headers, queries, forms, JSON and XML. A placeholder has only characters that no
//! encoding changes.

use super::{
    exchanges::Exchange,
    names::{is_secret_name, is_secret_parameter},
    views,
};
use http_double::{authorization_text, percent_decoded};
use regex_lite::Regex;
use serde_json::Value;
use std::{collections::BTreeMap, sync::LazyLock};

/// Shorter values are replaced only under their own name: they would be found by chance elsewhere.
const SHORTEST: usize = 8;

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

    /// Adds what the user has entered into fields for passwords, by the descriptor.
    pub(super) fn collect_fields(&mut self, descriptor: &Value, configuration: &Value) {
        match descriptor {
            Value::Array(items) => {
                let each = items.iter();
                each.for_each(|item| self.collect_fields(item, configuration));
            }
            Value::Object(members) => {
                for (name, member) in members {
                    if member["viewClass"] == "PasswordFieldView" {
                        self.collect_entered(&configuration[name]);
                    }
                    self.collect_fields(member, configuration);
                }
            }
            _ => {}
        }
    }

    /// Adds what is in fields whose names say that they hold secrets.
    pub(super) fn collect_configuration(&mut self, configuration: &Value) {
        for (name, value) in configuration.as_object().into_iter().flatten() {
            if is_secret_parameter(name) {
                self.collect_entered(value);
            }
        }
    }

    fn collect_entered(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.collect_entered(item)),
            Value::Object(members) => members.values().for_each(|v| self.collect_entered(v)),
            _ => {}
        }
    }

    /// Adds the value of a variable of the component, unless it is plain: an address, a number, a flag or a short word.
    pub(super) fn collect_variable(&mut self, value: &str) {
        let is_address = value.contains("://") && !value.contains('@');
        if !is_address && value.parse::<f64>().is_err() {
            self.add(value);
        }
        self.collect_text(value);
    }

    pub(super) fn collect_exchange(&mut self, exchange: &Exchange) {
        let (request, response) = (&exchange.request, &exchange.response);
        self.collect_url(&request.url);
        for (name, values) in request.headers.iter().chain(&response.headers) {
            for value in values {
                if is_secret_parameter(name) {
                    self.collect_header(name, value);
                }
                // Such as the signature in the address of `Location`.
                self.collect_text(value);
            }
        }
        for body in [&request.body, &response.body] {
            self.collect(&body.value());
        }
    }

    fn collect_header(&mut self, name: &str, value: &str) {
        if name.contains("cookie") {
            // What follows the first pair of a response are attributes.
            let pairs = if name == "set-cookie" { 1 } else { usize::MAX };
            for pair in value.split(';').take(pairs) {
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
                    self.add(&views::without_entities(found[2].trim()));
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

    /// Returns a text with placeholders in the place of secrets, in every encoding.
    fn replaced(&mut self, text: &str) -> String {
        let known = self.known.clone();
        let mut found = views::places(text.as_bytes(), &known);
        // A longer secret may contain a shorter one.
        found.sort_by_key(|(start, end, secret)| std::cmp::Reverse((end - start, secret.len())));
        let mut taken: Vec<(usize, usize, &str)> = Vec::new();
        for (start, end, secret) in found {
            if taken.iter().all(|other| end <= other.0 || other.1 <= start) {
                taken.push((start, end, secret));
            }
        }
        taken.sort_unstable();
        let (mut replaced, mut done) = (String::new(), 0);
        for (start, end, secret) in taken {
            replaced += &text[done..start];
            replaced += &self.placeholder(secret);
            done = end;
        }
        replaced += &text[done..];
        self.short_parameters(replaced)
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

    /// Whether a secret is in a value, in any encoding: in a text or the name of a member.
    pub(super) fn is_in(&self, value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(_) => false,
            Value::Number(number) => self.is_in_bytes(number.to_string().as_bytes()),
            Value::String(text) => self.is_in_bytes(text.as_bytes()),
            Value::Array(items) => items.iter().any(|item| self.is_in(item)),
            Value::Object(members) => members
                .iter()
                .any(|(name, value)| self.is_in_bytes(name.as_bytes()) || self.is_in(value)),
        }
    }

    /// Whether a secret is in bytes, in any encoding.
    pub(super) fn is_in_bytes(&self, bytes: &[u8]) -> bool {
        !views::places(bytes, &self.known).is_empty()
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

    /// A secret that is found where a form, XML or an address has it is known as it is.
    #[test]
    fn a_secret_is_known_decoded_wherever_it_is_found() {
        for (found, secret) in [
            ("client_secret=a%7Eb*c%21d%2Fe&x=1", "a~b*c!d/e"),
            ("https://a.test/?sig=abc%2bdef%2fghi%3D", "abc+def/ghi="),
            ("https://u:pa%7Ess*word@a.test/", "pa~ss*word"),
            ("<a><password>p&amp;ss&lt;word</password></a>", "p&ss<word"),
            (r#"{"n":1.10,"password":"pa\"ss\\word9"}"#, "pa\"ss\\word9"),
        ] {
            let mut secrets = Secrets::default();
            secrets.collect(&json!(found));
            let mut value = json!([found, secret, {"json": json!({"x": secret}).to_string()}]);
            assert!(secrets.is_in(&value), "{found}");
            secrets.replace(&mut value);
            assert!(!secrets.is_in(&value), "{value}");
            assert_eq!(value[1], "secret-1", "{value}");
        }
    }

    #[test]
    fn a_secret_with_line_breaks_is_replaced_also_in_json_in_a_text() {
        let key = "-----BEGIN KEY-----\nab\"c\n-----END KEY-----\n";
        let file = json!({"private_key": key, "type": "service_account"}).to_string();
        let config = json!({"file": file, "base64": base64_simd::STANDARD.encode_to_string(key)});
        let shown = replaced(config.clone(), config).to_string();
        assert!(
            !shown.contains("BEGIN") && !shown.contains("LS0tLS1C"),
            "{shown}"
        );
        assert!(shown.contains("service_account"), "{shown}");
    }

    /// The last check sees what cannot be replaced.
    #[test]
    fn a_secret_in_the_name_of_a_member_is_seen() {
        let mut secrets = Secrets::default();
        secrets.add("p&ss\"word");
        for name in ["p&ss\"word", "p%26ss%22word", "p&amp;ss&quot;word"] {
            assert!(secrets.is_in(&json!([{name: 1}])), "{name}");
        }
        assert!(!secrets.is_in(&json!([{"word": "p&ss"}])));
    }

    #[test]
    fn attributes_of_a_cookie_are_no_secrets() {
        let mut secrets = Secrets::default();
        let cookie = "sid=abcdefgh; Domain=api.example.com; Expires=Wed, 21 Oct 2026 07:28:00 GMT; SameSite=Strict";
        secrets.collect_header("set-cookie", cookie);
        secrets.collect_header("cookie", "a=12345678; b=87654321");
        assert_eq!(secrets.known, ["abcdefgh", "12345678", "87654321"]);
    }

    #[test]
    fn the_descriptor_says_which_fields_are_secret() {
        let password = json!({"viewClass": "PasswordFieldView"});
        let descriptor = json!({
            "credentials": {"fields": {"phrase": password, "user": {"viewClass": "TextFieldView"}}},
            "actions": {"a": {"fields": {"door": password}}},
        });
        let configuration =
            json!({"phrase": "open sesame", "user": "ada.lovelace", "door": 12_345_678});
        let mut secrets = Secrets::default();
        secrets.collect_fields(&descriptor, &configuration);
        secrets.collect_configuration(&json!({"appKey": "app-key-1", "name": "Ada Lovelace"}));
        secrets.known.sort();
        assert_eq!(secrets.known, ["12345678", "app-key-1", "open sesame"]);
    }

    #[test]
    fn variables_are_secret_unless_they_are_plain() {
        let mut secrets = Secrets::default();
        for plain in ["https://a.test/token", "1234567890", "true", "eu-west"] {
            secrets.collect_variable(plain);
        }
        assert!(secrets.known.is_empty(), "{:?}", secrets.known);
        secrets.collect_variable("3f9a0c-tenant");
        secrets.collect_variable("https://a.test/?sig=abcdefghi");
        assert_eq!(secrets.known, ["3f9a0c-tenant", "abcdefghi"]);
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
