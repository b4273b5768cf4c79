//! How the platform writes what users enter: boxes are `"on"` or missing, numbers and lists may be text.

use super::soql::Name;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::Value;
use std::time::Duration;

/// A CheckBoxView, or a choice of yes and no.
pub fn checked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(false),
        Value::Bool(flag) => Ok(flag),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "on" | "true" | "yes" => Ok(true),
            "" | "off" | "false" | "no" => Ok(false),
            _ => Err(D::Error::custom("not a choice, expected yes or no")),
        },
        _ => Err(D::Error::custom("not a choice, expected yes or no")),
    }
}

/// A whole number from 0 on; empty is none.
pub fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    let number = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_u64().and_then(|number| number.try_into().ok()),
    };
    number.map(Some).ok_or_else(|| D::Error::custom("not such a number, expected a whole number from 0 on"))
}

/// Seconds; empty is none. A time that has run out before it begins, or never does, is a mistake.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = number(deserializer)?.map(|seconds| Duration::from_secs(seconds as u64));
    match seconds.is_none_or(|seconds| (1..=86_400).contains(&seconds.as_secs())) {
        true => Ok(seconds),
        false => Err(D::Error::custom("not such a time, expected 1 to 86400 seconds")),
    }
}

/// One of several choices; the usual one where none is made.
pub fn choice<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(deserializer: D) -> Result<T, D::Error> {
    chosen(deserializer).map(Option::unwrap_or_default)
}

/// One of several choices; empty is none.
pub fn chosen<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(text) if text.is_empty() => Ok(None),
        choice => serde_json::from_value(choice).map(Some).map_err(D::Error::custom),
    }
}

/// A text; empty is none.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.trim().is_empty()))
}

/// A name; empty is none.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let expected = || D::Error::custom("not a name, expected an API name such as Account or Size__c");
    match text.trim() {
        "" => Ok(None),
        text => Name::new(text).map(Some).ok_or_else(expected),
    }
}

/// A MultiSelectView, or names with commas between them.
pub fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts: Vec<String> = match Value::deserialize(deserializer)? {
        Value::Null => vec![],
        Value::String(text) => text.split(',').map(str::to_owned).collect(),
        list => serde_json::from_value(list).map_err(|_| D::Error::custom("not a list, expected a list of names"))?,
    };
    Ok(texts.iter().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()).collect())
}
