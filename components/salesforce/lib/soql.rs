//! SOQL that says what it is meant to say: names are checked, values are always literals of their field's type.

use super::describe::Field;
use anyhow::Context as _;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::fmt;

/// The API name of an object, a field or a relationship; for fields of parents with dots: `Account.Name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl Name {
    /// None when no name can look like this.
    pub fn new(text: &str) -> Option<Self> {
        let is_name = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        text.split('.').all(is_name).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text.trim())
            .ok_or_else(|| D::Error::custom("not a name, expected an API name such as Account or Size__c"))
    }
}

/// A text literal, with everything escaped that could end it.
pub fn text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for character in value.chars() {
        match character {
            '\\' => literal.push_str("\\\\"),
            '\'' => literal.push_str("\\'"),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            '\u{8}' => literal.push_str("\\b"),
            '\u{c}' => literal.push_str("\\f"),
            character => literal.push(character),
        }
    }
    literal.push('\'');
    literal
}

/// A value as a literal that this field can be compared with.
pub fn literal(field: &Field, value: &Value) -> anyhow::Result<String> {
    let given = match value {
        Value::Null => return Ok("null".to_owned()),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => anyhow::bail!("`{}` must be a single value", field.name),
    };
    let given = match field.kind.as_str() {
        "base64" | "address" | "location" => {
            anyhow::bail!("`{}` is of type {}, which cannot be searched", field.name, field.kind)
        }
        "textarea" if !field.filterable => anyhow::bail!("`{}` is a long text, which cannot be searched", field.name),
        "boolean" | "int" | "long" | "double" | "currency" | "percent" | "date" | "datetime" => given.trim().to_owned(),
        _ => return Ok(text(&given)),
    };
    let (fits, example) = match field.kind.as_str() {
        "boolean" => (matches!(given.as_str(), "true" | "false"), "true or false"),
        "date" => (is_date(&given) || is_relative(&given), "a date such as 2024-01-31"),
        "datetime" => (instant(&given).is_ok() || is_relative(&given), "a time such as 2024-01-31T12:00:00Z"),
        _ => (is_number(&given), "a number"),
    };
    anyhow::ensure!(fits, "`{}` is of type {}: it must be {example}", field.name, field.kind);
    if field.kind == "datetime" && !is_relative(&given) {
        return instant(&given);
    }
    Ok(given)
}

/// A point in time as a literal. A date alone means its beginning in UTC.
pub fn instant(text: &str) -> anyhow::Result<String> {
    let text = text.trim();
    if is_date(text) {
        return Ok(format!("{text}T00:00:00.000Z"));
    }
    let wrong = || format!("{text:?} is no time such as 2024-01-31T12:00:00Z or 2024-01-31T12:00:00.000+02:00");
    let (date, time) = text.split_once('T').with_context(wrong)?;
    let (time, zone) = time.split_at(time.find(['Z', '+', '-']).with_context(wrong)?);
    let (seconds, millis) = time.split_once('.').unwrap_or((time, "000"));
    let zone = match zone {
        "Z" | "+0000" | "+00:00" | "-00:00" => "Z".to_owned(),
        zone if is_shaped(&zone[1..], "00:00") => zone.to_owned(),
        zone if is_shaped(&zone[1..], "0000") => format!("{}:{}", &zone[..3], &zone[3..]),
        _ => anyhow::bail!(wrong()),
    };
    let fits = is_date(date)
        && is_shaped(seconds, "00:00:00")
        && !millis.is_empty()
        && millis.bytes().all(|b| b.is_ascii_digit());
    anyhow::ensure!(fits, wrong());
    Ok(format!("{date}T{seconds}.{}{zone}", &format!("{millis}00")[..3]))
}

fn is_date(text: &str) -> bool {
    is_shaped(text, "0000-00-00")
}

/// TODAY, LAST_N_DAYS:5
fn is_relative(text: &str) -> bool {
    let (word, number) = text.split_once(':').unwrap_or((text, "1"));
    !word.is_empty()
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'))
        && text.parse::<f64>().is_ok_and(f64::is_finite)
}

/// Whether a text is the pattern, whose zeros are digits.
fn is_shaped(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(t, p)| if p == b'0' { t.is_ascii_digit() } else { t == p })
}
