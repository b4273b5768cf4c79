//! The step's fields: those of the platform, and API names.

use super::soql::Name;
pub use sailor::fields::{checked, choice, count as number, list, text};
use serde::{Deserialize, Deserializer, de::Error as _};

/// A name; empty is none.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Name>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    let expected = || D::Error::custom("not a name, expected an API name such as Account or Size__c");
    match text.trim() {
        "" => Ok(None),
        text => Name::new(text).map(Some).ok_or_else(expected),
    }
}
