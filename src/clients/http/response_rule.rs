//! Rules that say which responses of an API mean something else than their status alone.

use reqwest::header::HeaderMap;
use serde::Deserialize;

/// A response of the API, described by its status and content.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResponseRule {
    status: u16,
    /// A header that must be present.
    #[serde(default)]
    header: Option<HeaderRule>,
    /// A text that the beginning of the body contains; not case-sensitive.
    #[serde(default)]
    text: Option<String>,
}

/// A header of a response.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderRule {
    name: String,
    /// A text that the header contains; not case-sensitive, and empty for any value.
    #[serde(default)]
    text: String,
}

impl ResponseRule {
    /// Which responses a rule can name, for errors.
    pub(crate) const SCOPE: &str =
        "the status must be from 400 to 599, or from 200 to 299 with a text of the body";

    /// Reads a list such as `403 token expired; 419`: statuses, each with a text of the body if it needs one.
    ///
    /// # Errors
    /// Returns what is wrong with which entry, and nothing of the list.
    pub(crate) fn read_list(list: &str) -> Result<Vec<Self>, String> {
        let entries = list.split([';', '\n']).map(str::trim);
        let entries = entries.filter(|entry| !entry.is_empty()).enumerate();
        let read = |(at, entry)| Self::read(entry).ok_or_else(|| wrong_entry(at + 1));
        entries.map(read).collect()
    }

    fn read(entry: &str) -> Option<Self> {
        let (status, text) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
        let rule = Self {
            status: status.parse().ok()?,
            header: None,
            text: Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        };
        Some(rule).filter(Self::is_narrow)
    }

    /// Returns whether the rule leaves some responses with their usual meaning.
    pub(crate) fn is_narrow(&self) -> bool {
        match self.status {
            200..300 => self.header.is_some() || self.text.as_ref().is_some_and(|t| !t.is_empty()),
            status => (400..600).contains(&status),
        }
    }

    pub(crate) fn reads_body(&self, status: u16) -> bool {
        self.status == status && self.text.is_some()
    }

    pub(crate) fn matches(&self, status: u16, headers: &HeaderMap, body_start: &str) -> bool {
        let has_header = |rule: &HeaderRule| rule.matches(headers);
        let has_text = |wanted: &String| contains_ignoring_case(body_start, wanted);
        self.status == status
            && self.header.as_ref().is_none_or(has_header)
            && self.text.as_ref().is_none_or(has_text)
    }
}

impl HeaderRule {
    fn matches(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        values.any(|value| {
            contains_ignoring_case(&String::from_utf8_lossy(value.as_bytes()), &self.text)
        })
    }
}

fn wrong_entry(number: usize) -> String {
    let scope = ResponseRule::SCOPE;
    format!(
        "entry {number} is not usable: {scope}. Write a status and, after a space, the text; a semicolon separates \
         entries, as in \"403 token expired; 419\""
    )
}

pub(crate) fn contains_ignoring_case(text: &str, wanted: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains(&wanted.to_ascii_lowercase())
}
