//! The search for the one record that has a value in a field.

use crate::{
    api::{Api, Record},
    describe::Object,
    literal::literal,
    pages::Pages,
    soql::Name,
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// The fields that the field `lookupField` offers.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum TypeOfSearch {
    /// Fields of which at most one record has the same value.
    UniqueFields,
    /// External ids.
    ExternalIds,
    /// All fields that can be searched.
    #[default]
    AllFields,
}

/// The value to search for, by the field's name.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Criteria(pub Record);

impl Criteria {
    /// The value of the field, whose name may have any case; none if it is missing, empty or `null`.
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

/// The record that has this value in a field; an error if there are more.
pub async fn find_one(
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
    let mut found = Pages::query(api, query).first(2).await?;
    anyhow::ensure!(
        found.len() < 2,
        "more than one {} has this value in {field}: search by a field with unique values",
        object.name
    );
    Ok(found.pop())
}
