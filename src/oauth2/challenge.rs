//! The API's response to the token, mostly in `WWW-Authenticate` (RFC 6750 section 3, RFC 9110 section 11.6.1).
//!
//! A header can hold several challenges, and a response several headers. Commas separate challenges as well as the
//! parameters of one, so the header is read as a list of words.

use super::refusal::Refusal;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What a response of the API means for the token that the request carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenStatus {
    /// The token is accepted.
    Accepted,
    /// The token must be refreshed.
    Expired,
    /// The token is valid but lacks a scope. Holds the required scopes, if the API names them.
    InsufficientScope(Option<String>),
    /// The provider requires another authorization by the user. Holds the claims that it requests, as sent (base64).
    InsufficientClaims(String),
    /// The response says nothing about the token, or a new token would not help.
    Unrelated,
}

/// One challenge: its scheme and parameters, both with names in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    pub(super) params: Vec<(String, String)>,
}

impl Challenge {
    fn param(&self, name: &str) -> Option<&str> {
        self.params
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn is_about_tokens(&self) -> bool {
        matches!(self.scheme.as_str(), "bearer" | "dpop")
    }
}

/// Returns what the response means for the token, without a profile. Every 401 counts as an expired token, whatever its
/// code, unless it asks for a scope or for claims: that costs at most one refresh, while the opposite mistake would leave
/// the credential unusable (token-failures: T41). Without a code in the headers, that in the body counts.
pub(super) fn token_status(status: u16, headers: &HeaderMap, body_start: &str) -> TokenStatus {
    if !matches!(status, 401 | 403) {
        return TokenStatus::Accepted;
    }
    let challenge = challenge_with_error(headers);
    let param = |name| challenge.as_ref().and_then(|found| found.param(name));
    let error = match param("error") {
        None if status == 401 => code_in_body(body_start),
        error => error.map(str::to_owned),
    };
    let error = error.unwrap_or_default().to_ascii_lowercase();
    match (status, error.as_str()) {
        (_, "insufficient_scope") => {
            TokenStatus::InsufficientScope(param("scope").map(str::to_owned))
        }
        (403, _) => TokenStatus::Accepted,
        (_, "insufficient_claims") => {
            TokenStatus::InsufficientClaims(param("claims").unwrap_or_default().to_owned())
        }
        _ => TokenStatus::Expired,
    }
}

/// The code in the body: one that asks for a scope or for claims, wherever it is, or another one.
fn code_in_body(body_start: &str) -> Option<String> {
    let asks_for_more = |code: &str| {
        let codes = ["insufficient_scope", "insufficient_claims"];
        codes.iter().any(|known| known.eq_ignore_ascii_case(code))
    };
    Refusal::read(body_start.as_bytes()).code(asks_for_more)
}

/// The first challenge for tokens that names an error.
fn challenge_with_error(headers: &HeaderMap) -> Option<Challenge> {
    headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .flat_map(|value| read(&String::from_utf8_lossy(value.as_bytes())))
        .find(|challenge| challenge.is_about_tokens() && challenge.param("error").is_some())
}

/// Parses the challenges of one header. Unreadable parts are skipped.
pub(super) fn read(header: &str) -> Vec<Challenge> {
    let mut challenges: Vec<Challenge> = vec![];
    let mut rest = header;
    while let Some((word, after)) = word(rest) {
        let value = after
            .trim_start()
            .strip_prefix('=')
            .filter(|_| !challenges.is_empty());
        match (value, challenges.last_mut()) {
            (Some(value), Some(challenge)) if !is_token68_end(value) => {
                let (text, after) = self::value(value.trim_start());
                challenge.params.push((word.to_ascii_lowercase(), text));
                rest = after;
            }
            // `Negotiate oYGs…==`: a value without a name is of no use here.
            (Some(value), _) => rest = value.trim_start_matches('='),
            (None, _) => {
                challenges.push(Challenge {
                    scheme: word.to_ascii_lowercase(),
                    params: vec![],
                });
                rest = after;
            }
        }
    }
    challenges
}

/// The padding of base64, rather than a parameter's value.
fn is_token68_end(after_equals: &str) -> bool {
    let rest = after_equals.trim_start_matches('=').trim_start();
    rest.is_empty() || rest.starts_with(',')
}

/// The next run of characters that belong to a name, and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let in_word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
    let start = text.find(in_word)?;
    let text = &text[start..];
    Some(text.split_at(text.find(|c| !in_word(c)).unwrap_or(text.len())))
}

/// A parameter's value, quoted or not, and what follows it.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, after) = text.split_at(text.find([',', ' ', '\t']).unwrap_or(text.len()));
        return (value.to_owned(), after);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}
