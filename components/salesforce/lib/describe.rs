//! Objects and their fields as this user sees them. They are requested each time: users differ, and objects change.

use crate::{
    api::{self, Api, ApiError},
    soql::{self, Name},
};
use anyhow::Context as _;
use jiff::fmt::rfc2822;
use sailor::{http::path_segment, oauth2::AuthorizedClient};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    pub name: String,
    pub fields: Vec<Field>,
    #[serde(default)]
    pub child_relationships: Vec<Child>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Field {
    pub name: String,
    pub label: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub nillable: bool,
    pub createable: bool,
    pub updateable: bool,
    pub filterable: bool,
    pub defaulted_on_create: bool,
    pub unique: bool,
    pub external_id: bool,
    pub id_lookup: bool,
    pub reference_to: Vec<String>,
    pub relationship_name: Option<String>,
    pub picklist_values: Vec<Choice>,
}

#[derive(Debug, Deserialize)]
pub struct Choice {
    pub value: String,
    pub active: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Child {
    #[serde(rename = "childSObject")]
    pub object: String,
    pub relationship_name: Option<String>,
}

impl Object {
    /// The object that a step has chosen.
    pub async fn chosen(oauth: &AuthorizedClient, name: Option<&Name>) -> anyhow::Result<Self> {
        let name = name.context("choose an object first (the field `sobject`)")?;
        Self::describe(&Api::new(oauth), name).await
    }

    pub async fn describe(api: &Api, name: &Name) -> anyhow::Result<Self> {
        Ok(Self::describe_with_date(api, name).await?.0)
    }

    /// The object, and the time of the response by Salesforce's clock, as a literal of SOQL.
    pub async fn describe_with_date(
        api: &Api,
        name: &Name,
    ) -> anyhow::Result<(Self, Option<String>)> {
        let path = format!("sobjects/{}/describe", path_segment(name.as_str())?);
        let response = api::send(api.get(&path)).await;
        let response = response.map_err(|error| match ApiError::find(&error) {
            Some(api_error) if api_error.has_code("NOT_FOUND") => anyhow::anyhow!(
                "Salesforce has no object {name} that this user may see: check the field `sobject`"
            ),
            _ => error,
        })?;
        let date = response.headers().get("date");
        let date = date.and_then(|date| date_literal(date.to_str().ok()?));
        let object = response.json().await.map_err(reqwest::Error::without_url);
        Ok((
            object.with_context(|| format!("reading the description of {name}"))?,
            date,
        ))
    }

    pub fn field(&self, name: &str) -> anyhow::Result<&Field> {
        let found = self
            .fields
            .iter()
            .find(|field| field.name.eq_ignore_ascii_case(name));
        found.with_context(|| format!("{} has no field {name} that this user may see", self.name))
    }

    /// The field with the content of a file.
    pub fn file_field(&self) -> Option<&Field> {
        self.fields.iter().find(|field| field.kind == "base64")
    }

    /// The fields that a query selects: all but files.
    pub fn queried_fields(&self) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(|field| field.kind != "base64")
            .map(|field| field.name.as_str())
    }
}

/// `Tue, 15 Nov 1994 08:12:31 GMT` → `1994-11-15T08:12:31.000Z`
fn date_literal(http_date: &str) -> Option<String> {
    let parser = rfc2822::DateTimeParser::new();
    let date = parser.parse_timestamp(http_date).ok()?;
    Some(soql::timestamp(date))
}

#[cfg(test)]
mod tests {
    use super::date_literal;

    #[test]
    fn a_date_header_becomes_a_soql_literal() {
        assert_eq!(
            date_literal("Tue, 15 Nov 1994 08:12:31 GMT").as_deref(),
            Some("1994-11-15T08:12:31.000Z")
        );
        for odd in [
            "",
            "Tuesday, 15-Nov-94 08:12:31 GMT",
            "Tue, 15 Nvo 1994 08:12:31 GMT",
        ] {
            assert_eq!(date_literal(odd), None, "{odd}");
        }
    }
}
