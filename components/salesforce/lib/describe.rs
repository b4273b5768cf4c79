//! Objects and their fields as this user sees them. They are requested each time: users differ, and objects change.

use crate::{
    api::{Api, ApiError, MAX_RESPONSE},
    soql::{self, Name},
};
use anyhow::Context as _;
use sailor::{
    http::{parse_time, path_segment},
    oauth2::AuthorizedClient,
};
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
        let received = api.get(&path).read(MAX_RESPONSE).await;
        let received = received.map_err(|error| match ApiError::find(&error) {
            Some(api_error) if api_error.has_code("NOT_FOUND") => anyhow::anyhow!(
                "Salesforce has no object {name} that this user may see: check the field `sobject`"
            ),
            _ => error,
        })?;
        let date = received.headers.get("date");
        let date = date.and_then(|date| parse_time(date.to_str().ok()?));
        Ok((received.parse()?, date.map(soql::timestamp)))
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
