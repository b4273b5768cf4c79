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
                let value = pair.split_once('=').map_or("", |(_, value)| value).trim();
                let is_short = value.len() < SHORTEST;
                self.add(if is_short { pair.trim() } else { value });
            }
            return;
        }
        let scheme = name
            .contains("authorization")
            .then(|| value.split_once(' '));
        let credentials = scheme.flatten().map_or(value, |(_, rest)| rest).trim();
        // Short ones are replaced with their scheme.
        let is_short = credentials.len() < SHORTEST;
        self.add(if is_short { value } else { credentials });
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
        // The implicit flow has its tokens in the fragment.
        let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
        let (_, query) = url.split_once('?').unwrap_or_default();
        self.collect_parameters(query);
        self.collect_parameters(fragment);
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
        let plain = text.trim();
        if plain.contains("://") {
            self.collect_url(plain);
        }
        // A form can have an address in it.
        if plain.contains('=') && !plain.contains(char::is_whitespace) {
            self.collect_parameters(plain);
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
mod tests;
