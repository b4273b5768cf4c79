//! Finds the secrets in what was recorded. [`replacing`](super::replacing) replaces them.
//!
//! Secrets are the values that the emulator knows (tokens that its provider issued, client secrets, keys of the platform), and
//! the values under names that say so, in headers, queries, forms, parts of multipart bodies, JSON and XML. The same values are
//! secrets wherever else they occur. What cannot be decided is a reason to write nothing.

use super::{
    body::{Body, characters},
    exchanges::{Exchange, Headers, content_type},
    multipart::{self, Part},
    names::{
        Meaning, is_harmless, is_part_of_names, is_secret_number, is_secret_parameter, is_typed,
        of_member, of_parameter,
    },
    replacing::Placeholders,
    values::{is_plain, looks_generated},
    views::{self, Wanted},
};
use http_double::{authorization_text, percent_decoded};
use regex_lite::Regex;
use serde_json::{Number, Value};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

/// Shorter values are replaced only under their own name.
const SHORTEST: usize = 8;

/// The secrets that are known, and their placeholders.
#[derive(Default)]
pub(super) struct Secrets {
    /// Each with a name that it was found under.
    pub(super) known: BTreeMap<String, String>,
    /// Short ones, after their names.
    pub(super) short: BTreeSet<(String, String)>,
    /// Those of them that are numbers.
    pub(super) short_numbers: BTreeSet<(String, String)>,
    pub(super) placeholders: RefCell<Placeholders>,
    /// Why it cannot be told what is secret.
    undecided: Option<String>,
}

impl Secrets {
    /// Adds a value that must not be seen, found under `name`.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        if value.is_empty() || is_plain(value) || is_harmless(name, value) {
            return;
        }
        let (name, value) = (name.to_owned(), value.to_owned());
        if is_short(&value) {
            self.short.insert((name, value));
        } else {
            self.known.entry(value).or_insert(name);
        }
    }

    /// What to look for.
    pub(super) fn wanted(&self) -> Vec<Wanted<'_>> {
        let wanted = |name, value, is_short| Wanted {
            name,
            value,
            is_short,
        };
        let known = self.known.iter();
        let known = known.map(|(value, name)| wanted(name.as_str(), value.as_str(), false));
        let short = self.short.iter();
        known
            .chain(short.map(|(name, value)| wanted(name, value, true)))
            .collect()
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
            (Meaning::Secret, Value::String(text)) => self.add(name, text),
            (Meaning::Secret, Value::Number(number)) if is_secret_number(name) => {
                self.add_number(name, number, is_typed(name));
            }
            (Meaning::Key, Value::String(text)) if looks_generated(text) => self.add(name, text),
            _ => {}
        }
    }

    /// `is_typed` says whether a short number is a secret too.
    fn add_number(&mut self, name: &str, number: &Number, is_typed: bool) {
        let text = number.to_string();
        if number.is_u64() && (is_typed || text.len() >= SHORTEST) {
            self.add(name, &text);
            if is_short(&text) {
                self.short_numbers.insert((name.to_owned(), text));
            }
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
            self.collect_field(name, value);
        }
    }

    fn collect_field(&mut self, name: &str, value: &Value) {
        match (of_parameter(name), value) {
            (_, Value::Array(items)) => {
                let each = items.iter();
                each.for_each(|item| self.collect_field(name, item));
            }
            (Meaning::Secret, Value::Number(number)) => {
                self.add_number(name, number, is_typed(name));
            }
            // Not all of its members are secrets.
            (Meaning::Secret, Value::Object(members)) => {
                let texts = members.values().filter_map(Value::as_str);
                let generated = texts.filter(|text| !text.contains("://") && looks_generated(text));
                generated.for_each(|text| self.add(name, text));
                self.collect_configuration(value);
            }
            (_, Value::Object(_)) => self.collect_configuration(value),
            (_, Value::String(text)) => self.collect_parameter(name, text),
            _ => {}
        }
    }

    fn collect_entered(&mut self, name: &str, value: &Value) {
        match value {
            Value::String(text) => self.add(name, text),
            Value::Number(number) => self.add_number(name, number, true),
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
    pub(super) fn collect_variable(&mut self, name: &str, value: &str) {
        let is_address = value.contains("://") && !value.contains('@');
        if !is_address && value.parse::<f64>().is_err() && value.len() >= SHORTEST {
            self.add(name, value);
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
        } else if let Body::Base64(_) = body {
            self.collect_text(&characters(&body.bytes().unwrap_or_default()));
        } else {
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
            _ if of_parameter(&part.name) == Meaning::Other => {
                self.collect_text(&characters(content));
            }
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
                self.collect_cookie(name, pair.trim(), value);
            }
            return;
        }
        let has_scheme = ["authorization", "authentication"].map(|word| name.contains(word));
        let scheme = has_scheme.contains(&true).then(|| value.split_once(' '));
        let credentials = scheme.flatten().map_or(value, |(_, rest)| rest).trim();
        // Short ones are replaced with their scheme.
        let is_short = is_short(credentials);
        self.add(name, if is_short { value } else { credentials });
        if let Ok(value) = value.parse()
            && let text = authorization_text(&value)
            && text != value.to_str().unwrap_or_default()
        {
            text.splitn(2, ':').for_each(|part| self.add(name, part));
        }
    }

    /// A short value is replaced with its name, and a short pair with the whole header.
    fn collect_cookie(&mut self, name: &str, pair: &str, header: &str) {
        let value = pair.split_once('=').map_or(pair, |(_, value)| value).trim();
        if value.is_empty() || is_plain(value) {
            return;
        }
        let pair = if is_short(pair) { header } else { pair };
        self.add(name, if is_short(value) { pair } else { value });
    }

    fn collect_url(&mut self, url: &str) {
        if let Some((user_info, _)) = url
            .split_once("://")
            .and_then(|(_, rest)| rest.split(['/', '?', '#']).next()?.rsplit_once('@'))
        {
            let user_info = percent_decoded(user_info);
            match user_info.split_once(':') {
                // A short password is replaced with its user.
                Some((_, password)) if is_short(password) => {
                    let is_secret = !password.is_empty() && !is_plain(password);
                    if is_secret && is_short(&user_info) {
                        self.refuse(
                            "the user and the password in an address are too short to be found"
                                .to_owned(),
                        );
                    }
                    self.add("user info", &user_info);
                }
                _ => user_info
                    .splitn(2, ':')
                    .for_each(|part| self.add("user info", part)),
            }
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
            self.add(name, value);
        }
    }

    fn collect_parameters(&mut self, parameters: &str) {
        let pairs = parameters
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(name, value)| (decoded(name), decoded(value)));
        for (name, value) in pairs.filter(|(name, _)| is_name(name)) {
            self.collect_parameter(&name, &value);
        }
    }

    /// Such as `Server=db.test;User Id=ada;Password=…`, or a line for each. Every pair must be one.
    fn collect_settings(&mut self, text: &str) {
        let pairs = text.split([';', '\n']).map(str::trim);
        let pairs = pairs.filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').filter(|(name, _)| is_name(name)));
        let pairs: Option<Vec<_>> = pairs.collect();
        // A single name has no blanks: `Bearer realm="acme"` is no setting.
        let has_names = |pairs: &Vec<(&str, &str)>| {
            pairs.len() > 1 || pairs.iter().all(|(name, _)| !name.trim().contains(' '))
        };
        let pairs = pairs.filter(has_names);
        for (name, value) in pairs.into_iter().flatten() {
            self.collect_parameter(name.trim(), value.trim().trim_matches(['"', '\'']));
        }
    }

    /// A text may have addresses, and be a form, settings, JSON or XML.
    fn collect_text(&mut self, text: &str) {
        let text = without_mark(&without_zeros(text)).to_owned();
        let plain = text.trim();
        let is_end = |c: char| c.is_whitespace() || "\"'<>".contains(c);
        for word in plain.split(is_end).filter(|word| word.contains("://")) {
            self.collect_url(&views::without_entities(word));
        }
        if plain.contains('=') {
            let has_more = plain.contains(';');
            // A form can have an address in it.
            let is_form =
                !plain.contains(char::is_whitespace) && (plain.contains('&') || !has_more);
            if is_form {
                self.collect_parameters(plain);
            }
            if has_more || !is_form {
                self.collect_settings(plain);
            }
        }
        json_in(&text).for_each(|value| self.collect(&value));
        if text.contains('<') {
            self.collect_elements(&text);
        }
    }

    fn collect_elements(&mut self, text: &str) {
        static ELEMENT: LazyLock<Regex> = LazyLock::new(|| {
            let text =
                r"<([\w:.-]+)(?:[^<>]*[^<>/])?>\s*(?:<!\[CDATA\[((?s:.*?))\]\]>|([^<>]+))\s*</";
            Regex::new(text).expect("a regular expression")
        });
        for found in ELEMENT.captures_iter(text) {
            let text = match (found.get(2), found.get(3)) {
                (Some(text), _) => text.as_str().trim().to_owned(),
                (_, text) => {
                    let text = text.map_or("", |text| text.as_str());
                    views::without_entities(text.trim())
                }
            };
            let name = found[1].rsplit(':').next().unwrap_or_default();
            match of_member(name) {
                Meaning::Secret => self.add(name, &text),
                Meaning::Key if looks_generated(&text) => self.add(name, &text),
                _ => {}
            }
        }
    }
}

/// Whether this can be the name of a parameter: in JSON that has a `=` somewhere, it is not.
fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.all(|c| c.is_alphanumeric() || " _.-:$[]".contains(c))
}

/// UTF-16 has a zero beside each letter.
pub(super) fn without_zeros(text: &str) -> String {
    text.replace('\0', "")
}

/// The objects and arrays of a text that is JSON, or JSON lines, up to the first mistake.
pub(super) fn json_in(text: &str) -> impl Iterator<Item = Value> {
    let values = serde_json::Deserializer::from_str(without_mark(text)).into_iter::<Value>();
    let values = values.map_while(Result::ok);
    values.filter(|value| value.is_object() || value.is_array())
}

/// A text without its byte order mark, also where each byte is a character.
fn without_mark(text: &str) -> &str {
    let marks = [
        "\u{feff}",
        "\u{ef}\u{bb}\u{bf}",
        "\u{ff}\u{fe}",
        "\u{fe}\u{ff}",
    ];
    let without = marks.iter().find_map(|mark| text.strip_prefix(mark));
    without.unwrap_or(text)
}

/// Whether a value is replaced only under its own name: elsewhere it is found by chance, as `password` in `grant_type=password`.
fn is_short(value: &str) -> bool {
    value.len() < SHORTEST || is_part_of_names(value)
}

fn decoded(value: &str) -> String {
    percent_decoded(&value.replace('+', " "))
}

#[cfg(test)]
mod tests;
