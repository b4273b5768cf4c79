//! A failed exchange at the token endpoint, and what it means for the credential.
//!
//! A profile's own rules take precedence over the codes of RFC 6749 section 5.2.

use super::profile::{ErrorClass, Profile};
use crate::clients::http::ErrorBody;
use serde_json::Value;
use std::{fmt, time::Duration};

/// A failed exchange. It contains nothing of the request, and only error names of the response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExchangeError {
    pub(crate) class: ErrorClass,
    /// The provider's name for the error, such as `invalid_grant`.
    pub(crate) code: Option<String>,
    /// A detail for people, such as `AADSTS50076`. No decision depends on it.
    pub(crate) diagnostic: Option<String>,
    /// The status, if there was a response.
    pub(crate) status: Option<u16>,
    /// How long the provider asks to wait, at most a minute.
    pub(crate) retry_after: Option<Duration>,
    /// The provider may have processed the request: a single-use refresh token may be spent, and its successor lost.
    pub(crate) outcome_unknown: bool,
    /// The operation that failed, and where.
    pub(super) operation: Box<str>,
    pub(super) reason: Box<str>,
}

impl std::error::Error for ExchangeError {}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}", self.operation, self.reason)?;
        let status = self.status.map(|status| format!("status {status}"));
        let details = [self.code.clone(), self.diagnostic.clone(), status];
        let details: Vec<_> = details.into_iter().flatten().collect();
        if !details.is_empty() {
            write!(f, " ({})", details.join(", "))?;
        }
        f.write_str(self.advice())
    }
}

impl ExchangeError {
    pub(super) fn new(operation: &str, class: ErrorClass, reason: impl Into<Box<str>>) -> Self {
        Self {
            class,
            code: None,
            diagnostic: None,
            status: None,
            retry_after: None,
            outcome_unknown: false,
            operation: operation.into(),
            reason: reason.into(),
        }
    }

    /// An exchange whose outcome is unknown, because something in this process went wrong.
    pub(super) fn unknown(reason: &str) -> Self {
        let operation = "refreshing the token at the token endpoint";
        Self {
            outcome_unknown: true,
            ..Self::new(operation, ErrorClass::Transient, reason)
        }
    }

    /// Returns whether the provider refused the client, and so did not process the request.
    pub(super) fn refuses_client(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        self.class == ErrorClass::Config && is_same_code(code, "invalid_client")
    }

    /// Returns advice on how to fix it.
    fn advice(&self) -> &'static str {
        match self.class {
            ErrorClass::Reauth => ". A user must connect the account again",
            ErrorClass::Config => {
                ". Check credentials.oauth2 in component.json and its variables; the stored tokens remain valid"
            }
            ErrorClass::Transient
                if self.code.is_none() && self.status.is_some_and(is_ambiguous_status) =>
            {
                ". It can be retried; if it persists, check credentials.oauth2 in component.json and its variables"
            }
            ErrorClass::Transient => ". It can be retried",
            ErrorClass::Malformed => {
                ". The provider's profile does not know this response. It can be retried; if it persists, connect the \
                 account again"
            }
        }
    }
}

/// The codes of RFC 6749 section 5.2, OpenID Connect Core section 3.1.2.6, and those that several providers use.
const CODES: [(&str, ErrorClass); 17] = [
    ("invalid_grant", ErrorClass::Reauth),
    ("interaction_required", ErrorClass::Reauth),
    ("consent_required", ErrorClass::Reauth),
    ("login_required", ErrorClass::Reauth),
    ("access_denied", ErrorClass::Reauth),
    ("expired_token", ErrorClass::Reauth),
    ("invalid_refresh_token", ErrorClass::Reauth),
    ("bad_refresh_token", ErrorClass::Reauth),
    ("invalid_client", ErrorClass::Config),
    ("unauthorized_client", ErrorClass::Config),
    ("invalid_scope", ErrorClass::Config),
    ("invalid_request", ErrorClass::Config),
    ("invalid_target", ErrorClass::Config),
    ("unsupported_grant_type", ErrorClass::Config),
    ("temporarily_unavailable", ErrorClass::Transient),
    ("server_error", ErrorClass::Transient),
    ("slow_down", ErrorClass::Transient),
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

/// Returns whether the RFCs or the profile give this code a meaning.
pub(super) fn is_known(profile: &Profile, code: &str) -> bool {
    class_of_code(code).is_some() || profile.names_code(code)
}

/// Classifies an error response of the token endpoint: `code` is the name of the error.
pub(super) fn classify(
    profile: &Profile,
    status: u16,
    code: Option<&str>,
    body: &ErrorBody,
) -> ErrorClass {
    if let Some(class) = profile.class_of(status, code, &body.text) {
        return class;
    }
    if matches!(status, 408 | 425 | 429 | 500..) {
        return ErrorClass::Transient;
    }
    match code {
        // Several servers refuse a refresh token in this way.
        Some(code) if is_same_code(code, "invalid_request") && says_token_is_dead(body) => {
            ErrorClass::Reauth
        }
        Some(code) => class_of_code(code).unwrap_or(ErrorClass::Malformed),
        // A gateway in front of the provider can send an error page, or a status without an error name.
        None if body.is_page() || is_ambiguous_status(status) => ErrorClass::Transient,
        None => ErrorClass::Malformed,
    }
}

fn class_of_code(code: &str) -> Option<ErrorClass> {
    let found = CODES.iter().find(|(known, _)| is_same_code(known, code));
    found.map(|(_, class)| *class)
}

/// Some providers write `InvalidGrant` or `INVALID-GRANT`.
fn is_same_code(one: &str, other: &str) -> bool {
    letters(one).eq(letters(other))
}

fn letters(text: &str) -> impl Iterator<Item = u8> {
    let letters = text.bytes().filter(u8::is_ascii_alphabetic);
    letters.map(|letter| letter.to_ascii_lowercase())
}

/// Statuses that a gateway returns while the provider is unavailable, and that a provider returns for a wrong address
/// or an unknown client.
fn is_ambiguous_status(status: u16) -> bool {
    matches!(status, 401 | 403 | 404 | 405 | 410)
}

/// Returns whether a text says that the refresh token is invalid, revoked or expired.
pub(super) fn says_token_is_dead(body: &ErrorBody) -> bool {
    body.texts().into_iter().any(is_about_dead_token)
}

/// Returns the detail of a code for people: `suberror` and Microsoft's numbers. No decision depends on it, because the
/// numbers change.
pub(super) fn diagnostic(body: &ErrorBody) -> Option<String> {
    let number = microsoft_number(&body.json).map(|number| format!("AADSTS{number}"));
    match (body.word("suberror"), number) {
        (Some(suberror), Some(number)) => Some(format!("{suberror}, {number}")),
        (suberror, number) => suberror.map(str::to_owned).or(number),
    }
}

/// The number of a Microsoft error, from `error_codes` or from `AADSTS…` in its description.
fn microsoft_number(json: &Value) -> Option<u64> {
    if let Some(number) = json.pointer("/error_codes/0").and_then(Value::as_u64) {
        return Some(number);
    }
    let description = json.get("error_description")?.as_str()?;
    let (_, after) = description.split_once("AADSTS")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Whether a text says that the refresh token, and no other one, is dead: "Token has been revoked", "Invalid or expired
/// refresh_token".
fn is_about_dead_token(text: &str) -> bool {
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
