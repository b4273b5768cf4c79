//! What an error response says: its code, wherever a provider puts it, and details for people.

use crate::clients::http::lenient_members;
use serde_json::{Map, Value};

/// The members that hold a code, besides `error` of the RFC.
const CODE_NAMES: [&str; 6] = [
    "code",
    "error_code",
    "errorCode",
    "errorType",
    "type",
    "status",
];

/// What a refresh token is once it is of no use any more.
const DEAD: [&str; 5] = ["expired", "inactive", "incorrect", "invalid", "revoked"];
/// Words that may stand between such a word and the token.
const FILLERS: &[&str] = &[
    "a", "already", "an", "and", "been", "given", "had", "has", "is", "longer", "no", "not", "or",
    "passed", "provided", "supplied", "the", "this", "was", "your",
];
/// A text with one of these is about the request, whatever it says of tokens.
const ABOUT_REQUEST: [&str; 4] = ["endpoint", "missing", "parameter", "type"];

/// Returns the members of a response of a token endpoint: JSON as far as it can be read, or a form.
pub(super) fn members(body: &[u8]) -> Option<Map<String, Value>> {
    lenient_members(body, &["access_token", "error"])
}

/// The body of an error response.
pub(super) struct Refusal {
    pub(super) text: String,
    /// A text if the body is neither JSON nor a form.
    json: Value,
}

impl Refusal {
    pub(super) fn read(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        let json = serde_json::from_slice(body).ok();
        let json = json.or_else(|| members(body).map(Value::Object));
        let json = json.unwrap_or_else(|| text.clone().into());
        Self { text, json }
    }

    /// Returns the error's code: the first known one, `error` of the RFC before any other member, list or object, or else
    /// an unknown word in one of the usual members.
    pub(super) fn code(&self, is_known: impl Fn(&str) -> bool) -> Option<String> {
        let known = self.known_code(is_known);
        known
            .or_else(|| unknown_code(&self.json))
            .map(str::to_owned)
    }

    /// Returns whether a body without an access token is an error, whatever its status.
    pub(super) fn is_error(&self, is_known: impl Fn(&str) -> bool) -> bool {
        let says_so = |name| self.json.get(name).is_some_and(is_set);
        let denies = |name| self.json.get(name) == Some(&Value::Bool(false));
        says_so("error")
            || says_so("errors")
            || denies("ok")
            || denies("success")
            || self.known_code(is_known).is_some()
    }

    /// Returns whether a text says that the refresh token is invalid, revoked or expired.
    pub(super) fn says_token_is_dead(&self) -> bool {
        let mut texts = vec![];
        collect_texts(&self.json, &mut texts);
        texts.into_iter().any(says_token_is_dead)
    }

    /// Returns the detail of a code for people: `suberror` and Microsoft's numbers. No decision depends on it, because the
    /// numbers change.
    pub(super) fn diagnostic(&self) -> Option<String> {
        let number = self.microsoft_number().map(|n| format!("AADSTS{n}"));
        match (word_in(&self.json, "suberror"), number) {
            (Some(suberror), Some(number)) => Some(format!("{suberror}, {number}")),
            (suberror, number) => suberror.map(str::to_owned).or(number),
        }
    }

    /// The number of a Microsoft error, from `error_codes` or from `AADSTS…` in its description.
    fn microsoft_number(&self) -> Option<u64> {
        let codes = self.json.get("error_codes").and_then(|codes| codes.get(0));
        if let Some(number) = codes.and_then(Value::as_u64) {
            return Some(number);
        }
        let description = self.json.get("error_description")?.as_str()?;
        let (_, after) = description.split_once("AADSTS")?;
        let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse().ok()
    }

    fn known_code(&self, is_known: impl Fn(&str) -> bool) -> Option<&str> {
        let rfc = self.json.get("error").and_then(Value::as_str);
        let mut all = rfc.into_iter().collect();
        collect_texts(&self.json, &mut all);
        let mut words = all.into_iter().filter_map(first_word);
        words.find(|word| is_known(word))
    }
}

/// Collects all texts of a JSON document, in its order.
fn collect_texts<'a>(json: &'a Value, texts: &mut Vec<&'a str>) {
    match json {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.values().for_each(|item| collect_texts(item, texts)),
        _ => {}
    }
}

/// Whether a text says that the refresh token, and no other one, is dead: "Token has been revoked", "Invalid or expired
/// refresh_token".
fn says_token_is_dead(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let text = text.replace("refreshtoken", "refresh token");
    let words = text.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let mut tokens = (0..words.len()).filter(|at| words[*at] == "token");
    !words.iter().any(|word| ABOUT_REQUEST.contains(word))
        && tokens.any(|at| is_dead(&words[..at], &words[at + 1..]))
}

/// Whether the words around "token" say that it is dead.
fn is_dead(before: &[&str], after: &[&str]) -> bool {
    let (before, is_named) = match before {
        [before @ .., "refresh"] => (before, true),
        before => (before, false),
    };
    // An access token, a token request.
    let is_kind = |word: &&str| !is_named && !FILLERS.contains(word) && !DEAD.contains(word);
    let is_other = before.last().is_some_and(is_kind) || after.first() == Some(&"request");
    !is_other && (leads_to_dead(before.iter().rev()) || leads_to_dead(after.iter()))
}

/// Whether the first word that is not a filler says so; "not valid" does, "not expired" does not.
fn leads_to_dead<'a>(words: impl Iterator<Item = &'a &'a str>) -> bool {
    let mut is_negated = false;
    for word in words {
        match *word {
            "no" | "not" => is_negated = true,
            "active" | "valid" => return is_negated,
            filler if FILLERS.contains(&filler) => {}
            word => return !is_negated && DEAD.contains(&word),
        }
    }
    false
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

/// Whether this is a word that names an error, not a sentence and not a secret. Secrets have digits.
pub(super) fn is_code(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'-' | b'.');
    let is_word = (1..=64).contains(&text.len()) && text.bytes().all(is_part);
    is_word && !text.eq_ignore_ascii_case("error")
}
