//! Action "Delete object": deletes the record that has a value in a field.

use crate::{
    api::{self, Api, ApiError},
    describe::Object,
    fields,
    lookup::{self, Criteria, TypeOfSearch},
    soql::Name,
};
use anyhow::Context as _;
use reqwest::StatusCode;
use sailor::{http::path_segment, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(rename = "typeOfSearch", default, deserialize_with = "fields::choice")]
    _type_of_search: TypeOfSearch,
    lookup_field: Name,
}

/// The deleted record; nothing if there was none.
#[derive(Serialize, JsonSchema)]
pub struct Deleted {
    /// The record.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
}

/// The deleted record.
#[derive(Serialize, JsonSchema)]
pub struct Response {
    /// Its id.
    id: String,
    /// Always true: a failure is an error.
    success: bool,
    /// Always empty.
    errors: Vec<Value>,
}

/// If more than one record has the value, that is an error, and nothing is deleted.
pub async fn delete(
    message: Message<Criteria>,
    cx: Context<Config, Deleted>,
) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        sobject,
        lookup_field,
        ..
    } = &cx.config;
    let value = message.body.value(lookup_field);
    let value = value
        .with_context(|| format!("the message has no value for `{lookup_field}` to search for"))?;
    let id = if lookup_field.as_str().eq_ignore_ascii_case("Id") {
        api::as_text("Id", Some(value))?
    } else {
        let object = Object::describe(&api, sobject).await?;
        let found = lookup::find_one(&api, &object, lookup_field, value, "Id").await?;
        found.and_then(|record| record.get("Id")?.as_str().map(str::to_owned))
    };
    let Some(id) = id else {
        return cx.data(&Deleted { response: None }).await;
    };
    let path = format!("sobjects/{sobject}/{}", path_segment(&id)?);
    let response = match api.delete(&path).send().await {
        Ok(_) => Some(Response {
            id,
            success: true,
            errors: vec![],
        }),
        Err(error) if ApiError::find(&error).is_some_and(is_gone) => {
            // Salesforce responds the same if the object does not exist, which is an error.
            Object::describe(&api, sobject).await?;
            None
        }
        Err(error) => return Err(error),
    };
    cx.data(&Deleted { response }).await
}

/// Whether the record does not exist or was deleted.
fn is_gone(error: &ApiError) -> bool {
    error.status == StatusCode::NOT_FOUND
        && (error.has_code("NOT_FOUND") || error.has_code("ENTITY_IS_DELETED"))
}
