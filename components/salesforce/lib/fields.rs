//! How the platform writes what users enter: boxes are `"on"` or missing, numbers and lists may be text.

use super::soql::Name;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;

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
