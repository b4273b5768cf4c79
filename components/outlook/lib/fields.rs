//! The step's fields: those of the runtime, choices as Graph spells them, and required values.

use anyhow::Context as _;
pub use sailor::fields::{checked, flag, text};
use sailor::settings;
use serde::{
    Deserialize, Deserializer,
    de::{Error, IntoDeserializer, value},
};
use serde_json::Value;

/// A whole number, or its text; none if the field is empty.
pub fn whole<'de, D: Deserializer<'de>>(field: D) -> Result<Option<i32>, D::Error> {
    let number = match Option::<Value>::deserialize(field)? {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_i64().and_then(|number| number.try_into().ok()),
    };
    number
        .map(Some)
        .ok_or_else(|| D::Error::custom("not usable, expected a whole number"))
}

/// One of several names; none if nothing was chosen. The first letter may have any case, and a name of capital letters
/// only may be all lower case: component.json has `HTML` and `WorkingElsewhere`, Graph has `html` and
/// `workingElsewhere`.
pub fn choice<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    field: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(field)?.unwrap_or_default();
    let text = text.trim();
    let Some(first) = text.chars().next() else {
        return Ok(None);
    };
    let name = if text.chars().all(|c| c.is_ascii_uppercase()) {
        text.to_ascii_lowercase()
    } else {
        let (first, rest) = text.split_at(first.len_utf8());
        first.to_ascii_lowercase() + rest
    };
    T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(name))
        .map(Some)
        .map_err(D::Error::custom)
}

/// The value of a field that must have one.
///
/// # Errors
/// Returns an error that names the field and says what to do if there is none.
pub fn required<'a>(
    field: Option<&'a String>,
    name: &str,
    remedy: &str,
) -> anyhow::Result<&'a str> {
    field
        .map(String::as_str)
        .with_context(|| format!("`{name}` is empty: {remedy}"))
}

/// A number of items from an environment variable.
pub fn count_from_env(name: &str, default: u32) -> anyhow::Result<u32> {
    let text = settings::environment(name).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(default);
    }
    let count = text.trim().parse().ok();
    count
        .filter(|count| (1..=1000).contains(count))
        .with_context(|| format!("the environment variable {name} must be a number from 1 to 1000"))
}
