//! The step's fields: those of the platform, choices as Graph writes them, and what must not be missing.

use anyhow::Context as _;
pub use sailor::fields::{checked, flag, text};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, value},
};
use serde_json::Value;

/// A whole number, or its text; none when nothing was said.
pub fn whole<'de, D: Deserializer<'de>>(field: D) -> Result<Option<i32>, D::Error> {
    let number = match Option::<Value>::deserialize(field)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_i64().and_then(|number| number.try_into().ok()),
    };
    number
        .map(Some)
        .ok_or_else(|| D::Error::custom("no whole number"))
}

/// One of several names in any case of its first letter, as Graph writes them; none when nothing was chosen.
pub fn choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let Some(text) = Option::<String>::deserialize(field)?.filter(|text| !text.trim().is_empty())
    else {
        return Ok(None);
    };
    let text = text.trim();
    let (first, rest) = text.split_at(text.chars().next().map_or(0, char::len_utf8));
    let name = if text.chars().all(|c| c.is_ascii_uppercase()) {
        text.to_ascii_lowercase()
    } else {
        first.to_ascii_lowercase() + rest
    };
    T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(name))
        .map(Some)
        .map_err(D::Error::custom)
}

/// The value of a field that must have one.
///
/// # Errors
/// When it has none; names the field and says what to do.
pub fn required<'a>(
    field: Option<&'a String>,
    name: &str,
    remedy: &str,
) -> anyhow::Result<&'a str> {
    field
        .map(String::as_str)
        .with_context(|| format!("`{name}` is empty: {remedy}"))
}

/// A number of items from the environment of the component.
pub fn count_from_env(name: &str, default: u32) -> anyhow::Result<u32> {
    match std::env::var(name) {
        Ok(text) if !text.trim().is_empty() => {
            let count = text
                .trim()
                .parse()
                .ok()
                .filter(|count| (1..=1000).contains(count));
            count.with_context(|| {
                format!("the environment variable {name} must be a number from 1 to 1000")
            })
        }
        _ => Ok(default),
    }
}
