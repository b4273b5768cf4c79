//! The step's fields: those of the runtime, API names, and time limits.

use crate::soql::Name;
pub use sailor::fields::{checked, choice, count as number, list, text};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;

/// A time limit in seconds; none if the field is empty.
pub fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let seconds = number(deserializer)?.map(Duration::from_secs);
    if seconds.is_none_or(|seconds| (1..=86_400).contains(&seconds.as_secs())) {
        Ok(seconds)
    } else {
        Err(D::Error::custom("not usable, expected 1 to 86400 seconds"))
    }
}

/// An API name; none if the field is empty.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let expected =
        || D::Error::custom("not a name, expected an API name such as Account or Size__c");
    match text.trim() {
        "" => Ok(None),
        text => Name::new(text).map(Some).ok_or_else(expected),
    }
}
