//! The challenges of `WWW-Authenticate` (RFC 9110 section 11.6.1).
//!
//! A header can hold several challenges, and a response several headers. Commas separate challenges as well as the
//! parameters of one, so the header is read as a list of words.

use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// One challenge: its scheme and parameters, both with names in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    pub(crate) scheme: String,
    pub(super) params: Vec<(String, String)>,
}

impl Challenge {
    /// Returns a parameter that is not empty.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let param = self.params.iter().find(|(known, _)| known == name);
        param
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }
}

/// Returns the challenges of a response. Unreadable parts are skipped.
pub(crate) fn challenges(headers: &HeaderMap) -> impl Iterator<Item = Challenge> {
    let values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.flat_map(|value| read(&String::from_utf8_lossy(value.as_bytes())))
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
