//! Finds the secrets in what was recorded. [`replacing`](super::replacing) replaces them.
//!
//! Secrets are the values that the emulator knows (tokens that its provider issued, client secrets, keys of the platform), and
//! the values under names that say so, in headers, queries, forms, parts of multipart bodies, JSON and XML. The same values are
//! secrets wherever else they occur. What cannot be decided is a reason to write nothing.

use super::{
    body::Body,
    exchanges::{Exchange, Headers, content_type},
    multipart::{self, Part},
    names::{
        Meaning, is_secret_name, is_secret_number, is_secret_parameter, of_member, of_parameter,
    },
    replacing::Placeholders,
    values::looks_generated,
    views,
};
use http_double::{authorization_text, percent_decoded};
use regex_lite::Regex;
use serde_json::{Number, Value};
use std::sync::LazyLock;

/// Shorter values are replaced only under their own name: they would be found by chance elsewhere.
pub(super) const SHORTEST: usize = 8;

/// The secrets that are known, and their placeholders.
#[derive(Default)]
pub(super) struct Secrets {
    pub(super) known: Vec<String>,
    pub(super) placeholders: Placeholders,
    /// Why it cannot be told what is secret.
    undecided: Option<String>,
}

impl Secrets {
    /// Adds a value that must not be seen.
    pub(super) fn add(&mut self, value: &str) {
        let is_new = || !self.known.iter().any(|known| known == value);
        if value.len() >= SHORTEST && is_new() {
            self.known.push(value.to_owned());
        }
    }

    /// Why nothing can be written: there is something that may be a secret, and cannot be replaced.
    pub(super) fn undecided(&self) -> Option<&str> {
        self.undecided.as_deref()
    }

    fn refuse(&mut self, why: String) {
        self.undecided.get_or_insert(why);
    }

    /// Adds all values under names that say that they are secret.
    pub(super) fn collect(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.collect_member(name, value);
                    self.collect(value);
                }
            }
            Value::String(text) => self.collect_text(text),
            _ => {}
        }
    }

    fn collect_member(&mut self, name: &str, value: &Value) {
        match (of_member(name), value) {
            (Meaning::Other, _) => {}
            (_, Value::Array(items)) => {
                items
                    .iter()
                    .for_each(|item| self.collect_member(name, item));
            }
            (Meaning::Secret, Value::String(text)) => self.add(text),
            (Meaning::Secret, Value::Number(number)) if is_secret_number(name) => {
                self.add_number(name, number);
            }
            (Meaning::Key, Value::String(text)) if looks_generated(text) => self.add(text),
            _ => {}
        }
    }

    fn add_number(&mut self, name: &str, number: &Number) {
        let text = number.to_string();
        if number.is_u64() {
            self.add(&text);
        } else if text.len() >= SHORTEST {
            self.refuse(format!(
                "the value of `{name}` may be a secret, and is a number for which there is no placeholder"
            ));
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
                        self.collect_entered(name, &configuration[name]);
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
            match (of_parameter(name), value) {
                (Meaning::Secret, _) => self.collect_entered(name, value),
                (Meaning::Key, Value::String(text)) => self.collect_parameter(name, text),
                _ => {}
            }
        }
    }

    fn collect_entered(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add_number(name, number),
            Value::Array(items) => {
                let each = items.iter();
                each.for_each(|item| self.collect_entered(name, item));
            }
            Value::Object(members) => {
                let each = members.values();
                each.for_each(|value| self.collect_entered(name, value));
            }
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
        self.collect_body(&request.headers, &request.body);
        self.collect_body(&response.headers, &response.body);
    }

    fn collect_body(&mut self, headers: &Headers, body: &Body) {
        let content_type = content_type(headers);
        if multipart::is_multipart(content_type) && !body.is_empty() {
            let bytes = body.bytes().unwrap_or_default();
            self.collect_parts(content_type, &bytes);
        } else if !matches!(body, Body::Base64(_)) {
            self.collect(&body.value());
        }
    }

    fn collect_parts(&mut self, content_type: &str, body: &[u8]) {
        let boundary = multipart::boundary(content_type);
        let Some(parts) = boundary.and_then(|boundary| multipart::parts(body, &boundary)) else {
            self.refuse("the parts of a multipart body cannot be told apart".to_owned());
            return;
        };
        for part in parts {
            self.collect_part(&part, &body[part.content.clone()]);
        }
    }

    /// A field has its name like one of a form. A file has one too.
    fn collect_part(&mut self, part: &Part, content: &[u8]) {
        if multipart::is_multipart(&part.content_type) {
            self.collect_parts(&part.content_type, content);
            return;
        }
        match std::str::from_utf8(content) {
            Ok(text) if part.is_plain() => {
                self.collect_parameter(&part.name, text.trim());
                self.collect_text(text);
            }
            _ if of_parameter(&part.name) == Meaning::Other => {}
            _ => self.refuse(format!(
                "the field `{}` of a multipart body may be a secret, and is no plain text",
                part.name
            )),
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

    fn collect_parameter(&mut self, name: &str, value: &str) {
        let is_secret = match of_parameter(name) {
            Meaning::Secret => true,
            Meaning::Key => looks_generated(value),
            Meaning::Other => false,
        };
        if is_secret {
            self.add(value);
        }
    }

    fn collect_parameters(&mut self, parameters: &str) {
        for (name, value) in parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='))
        {
            self.collect_parameter(name, &decoded(value));
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
                let text = views::without_entities(found[2].trim());
                let is_key = || of_member(&found[1]) == Meaning::Key && looks_generated(&text);
                if is_secret_name(&found[1]) || is_key() {
                    self.add(&text);
                }
            }
        }
    }
}

fn decoded(value: &str) -> String {
    percent_decoded(&value.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is replaced, given where the secret was found.
    fn replaced(found_in: Value, mut value: Value) -> Value {
        let mut secrets = Secrets::default();
        secrets.collect(&found_in);
        secrets.look_at(&json!([found_in, value]));
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

    /// In JSON, the value decides on a key whose name does not.
    #[test]
    fn keys_in_json_are_secrets_by_their_names_or_values() {
        const GENERATED: &str = "R03J8XKQ2M7VZT9B4W6NYCDHF5GLPSA1";
        for name in ["apiKey", "api_key", "accessKey", "signing-key"] {
            let body = json!({ name: "abcdefgh" });
            assert_eq!(replaced(body.clone(), body)[name], "secret-1", "{name}");
        }
        for name in ["key", "routing_key", "primaryKey", "accountKeys", "key2"] {
            let body = json!({ name: [GENERATED] });
            assert_eq!(replaced(body.clone(), body)[name][0], "secret-1", "{name}");
        }
        for (name, data) in [
            ("key", "PROJ-123"),
            ("key", "reports/2024/01/summary.pdf"),
            ("primaryKey", "0f8fad5b-d9cb-469f-a165-70867728950e"),
            ("publicKey", GENERATED),
            ("idempotencyKey", GENERATED),
            ("name", GENERATED),
        ] {
            let body = json!({ name: data });
            assert_eq!(replaced(body.clone(), body)[name], data, "{name}");
        }
        // What is known from elsewhere is a secret below each name.
        let known = json!("https://a.test/?key=PROJ-12345");
        assert_eq!(
            replaced(known, json!({"key": "PROJ-12345"}))["key"],
            "secret-1"
        );
    }

    #[test]
    fn a_secret_number_becomes_a_number_everywhere() {
        let found = json!({"token": 12_345_678, "pin": 4711});
        let value = json!({
            "token": 12_345_678, "pin": 4711, "text": "12345678", "url": "https://a.test/?pin=4711&token=12345678",
            "json": "{\"amount\":1.10,\"token\":12345678}", "taken": 10_000_001, "year": 4711,
            "token_count": 87_654_321, "page_token": 2, "expires_in": 3600,
        });
        let expected = json!({
            "token": 10_000_002, "pin": 1002, "text": "10000002", "url": "https://a.test/?pin=1002&token=10000002",
            "json": "{\"amount\":1.10,\"token\":10000002}", "taken": 10_000_001, "year": 4711,
            "token_count": 87_654_321, "page_token": 2, "expires_in": 3600,
        });
        assert_eq!(replaced(found, value), expected);
        // A text in one place, a number in another.
        let value = json!({"id": 12_345_678, "password": "12345678"});
        let shown = replaced(value.clone(), value);
        assert_eq!(shown, json!({"id": 10_000_001, "password": "10000001"}));
    }

    #[test]
    fn a_number_that_cannot_be_replaced_is_a_reason_to_write_nothing() {
        for (value, is_undecided) in [
            (json!({"token": -12_345_678}), true),
            (json!({"apiKey": 1.234_567_89}), true),
            (
                json!(r#"{"password":123456789012345678901234567890}"#),
                true,
            ),
            (json!({"token": -1, "tokenCount": 1.234_567_89}), false),
        ] {
            let mut secrets = Secrets::default();
            secrets.collect(&value);
            assert_eq!(secrets.undecided().is_some(), is_undecided, "{value}");
        }
    }
}
