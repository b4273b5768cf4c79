//! The step's fields: those of the runtime, JSON pointers, and lists of statuses.

use reqwest::header::{HeaderName, HeaderValue};
pub use sailor::fields::{checked, choice, count, text};
use sailor::http::{List, take_list};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

/// Reads a number above zero, or its text. Returns `None` if the field is empty.
pub fn number<'de, D: Deserializer<'de>, T>(field: D) -> Result<Option<T>, D::Error>
where
    T: FromStr + PartialOrd + Default,
{
    let Some(text) = as_text(field)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) if number > T::default() => Ok(Some(number)),
        _ => Err(D::Error::custom("not usable, expected a number above zero")),
    }
}

/// Reads an HTTP status. Returns `None` if the field is empty.
pub fn status<'de, D: Deserializer<'de>>(field: D) -> Result<Option<u16>, D::Error> {
    let Some(text) = as_text(field)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(status @ 200..600) => Ok(Some(status)),
        _ => Err(D::Error::custom("not usable, expected a status from 200")),
    }
}

/// Returns a field's value as text, or `None` if the field is empty.
fn as_text<'de, D: Deserializer<'de>>(field: D) -> Result<Option<String>, D::Error> {
    let text = match Value::deserialize(field)? {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

/// Reads a value. `null` becomes the default.
pub fn or_default_if_empty<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    field: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(field)?.unwrap_or_default())
}

/// A JSON pointer (RFC 6901), with or without `#` before it. The empty one points to the whole document.
#[derive(Clone, Debug, Default)]
pub struct Pointer(String);

impl Pointer {
    pub fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        document.pointer(&self.0)
    }

    /// Takes the list at the pointer out of the document. `field` is the step's field with the pointer, for the error.
    pub fn take_list(&self, document: &mut Value, field: &str) -> anyhow::Result<List> {
        take_list(document, &self.0).map_err(|error| {
            anyhow::anyhow!("{error}: set `{field}` to the JSON pointer of its list")
        })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let pointer = text.strip_prefix('#').unwrap_or(text);
        if pointer.is_empty() || pointer.starts_with('/') {
            Ok(Self(pointer.to_owned()))
        } else {
            Err("a JSON pointer: a text that begins with /, or #")
        }
    }
}

impl<'de> Deserialize<'de> for Pointer {
    fn deserialize<D: Deserializer<'de>>(field: D) -> Result<Self, D::Error> {
        Ok(pointer(field)?.unwrap_or_default())
    }
}

/// Reads a pointer. Returns `None` if the field is empty; `#` points to the whole document.
pub fn pointer<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Pointer>, D::Error> {
    text(field)?.map(parse).transpose()
}

/// Reads a text with a syntax of its own. Returns `None` if the field is empty.
pub fn parsed<'de, D: Deserializer<'de>, T>(field: D) -> Result<Option<T>, D::Error>
where
    T: FromStr<Err = &'static str>,
{
    as_text(field)?.map(parse).transpose()
}

fn parse<T: FromStr<Err = &'static str>, E: Error>(text: String) -> Result<T, E> {
    let wrong = |expected| E::custom(format!("not usable, expected {expected}"));
    text.parse().map_err(wrong)
}

/// A list of statuses such as `200, 404, 5xx, 420-429`.
#[derive(Clone, Debug)]
pub struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    pub fn contains(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.contains(&status))
    }
}

impl FromStr for Statuses {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let parts = text.split([',', ' ', ';']).filter(|part| !part.is_empty());
        parts
            .map(status_range)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or(())
    }
}

/// The statuses of a part such as `404`, `5xx` or `420-429`.
fn status_range(part: &str) -> Option<RangeInclusive<u16>> {
    if let Some(class) = part.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let (first, last) = part.split_once('-').unwrap_or((part, part));
    Some(any_status(first)?..=any_status(last)?).filter(|range| !range.is_empty())
}

fn any_status(text: &str) -> Option<u16> {
    let status = text.trim().parse().ok()?;
    (100..600).contains(&status).then_some(status)
}

/// Reads a list of statuses. Returns `None` if the field is empty.
pub fn statuses<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Statuses>, D::Error> {
    let statuses = as_text(field)?.map(|text| text.parse());
    let wrong =
        |()| D::Error::custom("not usable, expected statuses such as 200, 404, 5xx, 420-429");
    statuses.transpose().map_err(wrong)
}

/// Reads headers: a line such as `Notion-Version: 2022-06-28` for each.
pub fn headers<'de, D: Deserializer<'de>>(field: D) -> Result<BTreeMap<String, String>, D::Error> {
    let text = as_text(field)?.unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(at, line)| header(line).ok_or_else(|| wrong_header(at + 1)))
        .collect()
}

fn header(line: &str) -> Option<(String, String)> {
    let (name, value) = line.split_once(':')?;
    let (name, value) = (name.trim(), value.trim());
    let name: HeaderName = name.parse().ok()?;
    HeaderValue::from_str(value).ok()?;
    Some((name.to_string(), value.to_owned()))
}

/// The error for a line, without its contents, which can be secret.
fn wrong_header<E: Error>(line: usize) -> E {
    E::custom(format!(
        "not usable, expected a header such as \"Notion-Version: 2022-06-28\" in line {line}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lists_are_parsed_or_rejected() {
        for (text, inside, outside) in [
            ("200", &[200][..], &[199, 201][..]),
            ("200, 404", &[200, 404], &[204]),
            ("2xx;420-429", &[200, 299, 420, 429], &[300, 419]),
            (" 5xx ", &[500, 599], &[499]),
        ] {
            let statuses: Statuses = text.parse().unwrap();
            assert!(
                inside.iter().all(|status| statuses.contains(*status)),
                "{text}"
            );
            assert!(
                !outside.iter().any(|status| statuses.contains(*status)),
                "{text}"
            );
        }
        for text in ["ok", "20", "2x", "6xx", "299-200", "200-", "-200"] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
