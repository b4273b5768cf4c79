//! `WWW-Authenticate`: what a resource server says about the token it was sent (RFC 6750 §3, RFC 9110 §11.6.1).
//!
//! A header can hold several challenges and an answer several headers, with commas between challenges as well as
//! between the parameters of one, so they are read as a list of words.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// What an answer of the API says about the token it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// Nothing.
    Accepted,
    /// It has to be renewed.
    Expired,
    /// It is good, but not for this. The scopes that it would take, when the API names them.
    InsufficientScope(Option<String>),
    /// The provider wants the user to do more; the claims it asks for, as sent (base64).
    InsufficientClaims(String),
    /// The API refused for another reason; a new token would not help.
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
    }
}

/// What the answer says about the token, by the RFC alone. A 401 that gives no reason is taken for an expired token:
/// that costs one refresh, whereas the other way round a credential would be dead.
pub(super) fn judge(status: u16, headers: &HeaderMap) -> TokenStatus {
    if !matches!(status, 401 | 403) {
        return TokenStatus::Accepted;
    }
    let challenges = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .flat_map(|value| read(&String::from_utf8_lossy(value.as_bytes())));
    let bearer =
        challenges.filter(|challenge| matches!(challenge.scheme.as_str(), "bearer" | "dpop"));
    let reason = bearer.into_iter().find(|challenge| {
        challenge
            .param("error")
            .is_some_and(|code| !code.is_empty())
    });
    let Some(reason) = reason else {
        return if status == 401 {
            TokenStatus::Expired
        } else {
            TokenStatus::Accepted
        };
    };
    match (
        status,
        reason
            .param("error")
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str(),
    ) {
        (_, "insufficient_scope") => TokenStatus::InsufficientScope(
            reason
                .param("scope")
                .filter(|s| !s.is_empty())
                .map(str::to_owned),
        ),
        (403, _) => TokenStatus::Accepted,
        (_, "invalid_token") => TokenStatus::Expired,
        (_, "insufficient_claims") => {
            TokenStatus::InsufficientClaims(reason.param("claims").unwrap_or_default().to_owned())
        }
        _ => TokenStatus::Unrelated,
    }
}

/// The challenges of one header. What cannot be read is passed over.
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
            // `Negotiate oYGs…==`: what belongs to a scheme without names is of no use here.
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
