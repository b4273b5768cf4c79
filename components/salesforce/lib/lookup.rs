//! Finding the one record that has a value in a field.

use super::{
    api::{Api, Record},
    describe::Object,
    literal::literal,
    pages::Pages,
    soql::Name,
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// By which fields users look for a record; what they can choose from depends on it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum TypeOfSearch {
    /// Those that at most one record has a value of.
    UniqueFields,
    /// External ids.
    ExternalIds,
    /// All that can be searched.
    #[default]
    AllFields,
}

/// A body with the value to look for, by the field's name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Criteria(pub Record);

impl Criteria {
    /// The value, in any case of the name; none where it is missing, empty or null.
    pub fn value(&self, field: &Name) -> Option<&Value> {
        let found = self
            .0
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(field.as_str()));
        found
            .map(|(_, value)| value)
            .filter(|value| !value.is_null() && value.as_str() != Some(""))
    }
}

/// The only record that has this value; an error when there are more.
pub async fn only(
    api: &Api,
    object: &Object,
    field: &Name,
    value: &Value,
    select: &str,
) -> anyhow::Result<Option<Record>> {
    let literal = literal(object.field(field.as_str())?, value)?;
    let query = format!(
        "SELECT {select} FROM {} WHERE {field} = {literal} LIMIT 2",
        object.name
    );
    let mut found = Pages::of(api, query).first(2).await?;
    anyhow::ensure!(
        found.len() < 2,
        "more than one {} has this value in {field}: look for one by a field with unique values",
        object.name
    );
    Ok(found.pop())
}
