//! What the body of an error response says: its code, wherever a server puts it, and its texts.

use super::lenient_members;
use serde_json::Value;
use std::fmt;

/// The members that hold a code, besides `error`.
const CODE_NAMES: [&str; 6] = [
    "code",
    "error_code",
    "errorCode",
    "errorType",
    "type",
    "status",
];

/// The body of an error response.
pub(crate) struct ErrorBody {
    pub(crate) text: String,
    /// A text if the body is neither JSON nor a form.
    pub(crate) json: Value,
}

impl ErrorBody {
    pub(crate) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        let json = serde_json::from_slice(body).ok();
        let json = json.or_else(|| lenient_members(body).map(Value::Object));
        let json = json.unwrap_or_else(|| text.clone().into());
        Self { text, json }
    }

    /// Returns the error's code: the first known one, `error` before any other member, list or object, or else an unknown
    /// word in one of the usual members.
    pub(crate) fn code(&self, is_known: impl Fn(&str) -> bool) -> Option<String> {
        let known = self.known_code(is_known);
        known
            .or_else(|| unknown_code(&self.json))
            .map(str::to_owned)
    }

    /// Returns whether a body that lacks what was asked for is an error, whatever its status.
    pub(crate) fn is_error(&self, is_known: impl Fn(&str) -> bool) -> bool {
        let says_so = |name| self.json.get(name).is_some_and(is_set);
        let denies = |name| self.json.get(name) == Some(&Value::Bool(false));
        says_so("error")
            || says_so("errors")
            || denies("ok")
            || denies("success")
            || self.known_code(is_known).is_some()
    }

    /// Returns whether the body is HTML or XML, such as the error page of a gateway.
    pub(crate) fn is_page(&self) -> bool {
        let text = self.text.trim_start_matches('\u{feff}').trim_start();
        text.starts_with('<')
    }

    /// Returns a member that is a code.
    pub(crate) fn word(&self, name: &str) -> Option<&str> {
        word_in(&self.json, name)
    }

    /// Returns all texts, in their order.
    pub(crate) fn texts(&self) -> Vec<&str> {
        let mut texts = vec![];
        collect_texts(&self.json, &mut texts);
        texts
    }

    fn known_code(&self, is_known: impl Fn(&str) -> bool) -> Option<&str> {
        let first = self.json.get("error").and_then(Value::as_str);
        let all = first.into_iter().chain(self.texts());
        let mut words = all.filter_map(first_word);
        words.find(|word| is_known(word))
    }
}

/// Returns the text for people of an error: itself, or its member for that.
pub(crate) fn error_message(error: &Value) -> Option<&str> {
    let text = error.as_str().or_else(|| {
        let members = ["message", "detail", "title", "error_description", "error"];
        members.iter().find_map(|name| error.get(name)?.as_str())
    });
    text.map(str::trim).filter(|text| !text.is_empty())
}

fn collect_texts<'a>(json: &'a Value, texts: &mut Vec<&'a str>) {
    match json {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|item| collect_texts(item, texts)),
        _ => {}
    }
}

/// The first word of a text if it can be a code; of a qualified one, such as `oauth.v2.invalid_grant`, the last part.
fn first_word(text: &str) -> Option<&str> {
    let word = text.split(|c: char| c.is_whitespace() || c == ':').next()?;
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    word.rsplit('.').next().filter(|word| is_code(word))
}

/// A word in one of the usual members, in the first error of a list or an object of errors before the outer members.
fn unknown_code(json: &Value) -> Option<&str> {
    match json {
        Value::String(text) => Some(text.as_str()).filter(|text| is_code(text)),
        Value::Array(errors) => errors.iter().find_map(unknown_code),
        Value::Object(members) => ["error", "errors"]
            .iter()
            .find_map(|name| unknown_code(members.get(*name)?))
            .or_else(|| CODE_NAMES.iter().find_map(|name| word_in(json, name))),
        _ => None,
    }
}

fn word_in<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str().filter(|word| is_code(word))
}

fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        value => value != 0,
    }
}

/// How much of an error's body a message shows, in bytes.
const SHOWN: usize = 2048;

/// The body of an error as the end of a message: after a colon, and cut to 2 KiB.
pub(crate) struct ShownBody<'a>(pub(crate) &'a str);

impl fmt::Display for ShownBody<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.0[..self.0.floor_char_boundary(SHOWN)];
        match shown.len() {
            0 => Ok(()),
            length if length < self.0.len() => write!(f, ": {shown}…"),
            _ => write!(f, ": {shown}"),
        }
    }
}

/// Whether this is a word that names an error, not a sentence and not a secret. Secrets have digits.
pub(crate) fn is_code(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.');
    let is_word = (1..=64).contains(&text.len()) && text.bytes().all(is_part);
    is_word && !text.eq_ignore_ascii_case("error")
}
