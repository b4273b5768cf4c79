//! Action "Upsert object": updates the record that has a value in a field, or creates one.

use super::create;
use crate::{
    api::{self, Api, Record},
    describe::Object,
    fields,
    lookup::{self, TypeOfSearch},
    soql::Name,
};
use anyhow::Context as _;
use sailor::{http::path_segment, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(default, deserialize_with = "fields::choice")]
    type_of_search: Option<TypeOfSearch>,
    #[serde(alias = "extIdField")]
    lookup_field: Name,
    #[serde(default, deserialize_with = "fields::checked")]
    utilize_attachment: bool,
}

/// The result.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Upserted {
    /// The record's id.
    id: String,
    /// Always true: a failure is an error.
    success: bool,
    /// Whether the record was created.
    #[serde(default)]
    created: bool,
    /// Always empty.
    #[serde(default)]
    errors: Vec<Value>,
}

impl Upserted {
    fn new(id: impl Into<String>, created: bool) -> Self {
        Self {
            id: id.into(),
            success: true,
            created,
            errors: vec![],
        }
    }
}

/// Creates a record if there is no value to search for. If more than one record has the value, that is an error.
pub async fn upsert(message: Message<Record>, cx: Context<Config, Upserted>) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let config = &cx.config;
    let mut record = message.body.clone();
    if config.utilize_attachment {
        create::attach(&api, &config.sobject, &message, &cx, &mut record).await?;
    }
    anyhow::ensure!(
        !record.is_empty(),
        "there are no fields for {}: the message's body is empty",
        config.sobject
    );
    let upserted = upsert_record(&api, config, record).await?;
    cx.data(&upserted).await
}

async fn upsert_record(api: &Api, config: &Config, mut record: Record) -> anyhow::Result<Upserted> {
    let (object, field) = (&config.sobject, &config.lookup_field);
    if config.type_of_search.is_none()
        && let Some(name) = name_in(&record, "Id")
        && let Some(id) = api::as_text("Id", record.remove(&name).as_ref())?
    {
        // Steps of the earlier action, which has no type of search, give the id if they know it.
        return update(api, object, &id, &record).await;
    }
    let name = name_in(&record, field.as_str());
    let value = name.as_ref().and_then(|name| record.get(name)).cloned();
    let text = api::as_text(field.as_str(), value.as_ref())?;
    let (Some(name), Some(value), Some(text)) = (&name, &value, text) else {
        record.retain(|key, _| Some(key) != name.as_ref());
        return insert(api, object, &record).await;
    };
    if field.as_str().eq_ignore_ascii_case("Id") {
        record.remove(name);
        return update(api, object, &text, &record).await;
    }
    match config.type_of_search {
        None | Some(TypeOfSearch::ExternalIds) => {
            // The value is in the path, so it must not be in the body.
            record.remove(name);
            upsert_by_external_id(api, object, field, &text, &record).await
        }
        Some(TypeOfSearch::UniqueFields | TypeOfSearch::AllFields) => {
            upsert_by_search(api, config, name, value, record).await
        }
    }
}

/// The record's own spelling of a field's name.
fn name_in(record: &Record, field: &str) -> Option<String> {
    let mut names = record.keys();
    names.find(|name| name.eq_ignore_ascii_case(field)).cloned()
}

/// Searches for the record, then updates or creates it. `name` is the field's name in the record.
async fn upsert_by_search(
    api: &Api,
    config: &Config,
    name: &str,
    value: &Value,
    mut record: Record,
) -> anyhow::Result<Upserted> {
    let (object, field) = (&config.sobject, &config.lookup_field);
    let described = Object::describe(api, object).await?;
    let found = lookup::find_one(api, &described, field, value, "Id").await?;
    let description = described.field(field.as_str())?;
    let is_writable = if found.is_some() {
        description.updateable
    } else {
        description.createable
    };
    if !is_writable {
        // The value was only for the search.
        record.remove(name);
    }
    let found = found.as_ref().and_then(|found| found.get("Id"));
    match found.and_then(Value::as_str) {
        Some(id) => update(api, object, id, &record).await,
        None => insert(api, object, &record).await,
    }
}

async fn insert(api: &Api, object: &Name, record: &Record) -> anyhow::Result<Upserted> {
    let id = create::insert(api, object, record).await?;
    Ok(Upserted::new(id.as_str().unwrap_or_default(), true))
}

/// The request is idempotent: a second update with the same fields has no further effect.
async fn update(api: &Api, object: &Name, id: &str, record: &Record) -> anyhow::Result<Upserted> {
    let path = format!("sobjects/{object}/{}", path_segment(id)?);
    api.patch(&path)
        .json(record)
        .idempotent(true)
        .send()
        .await?;
    Ok(Upserted::new(id, false))
}

async fn upsert_by_external_id(
    api: &Api,
    object: &Name,
    field: &Name,
    value: &str,
    record: &Record,
) -> anyhow::Result<Upserted> {
    let path = format!("sobjects/{object}/{field}/{}", path_segment(value)?);
    let request = api.patch(&path).json(record).idempotent(true);
    if let Some(upserted) = request.read_json().await? {
        return Ok(upserted);
    }
    // Old versions of the API do not return the id of an updated record.
    let found: Value = api
        .get(&path)
        .query(&[("fields", "Id")])
        .read_json()
        .await?;
    let id = found["Id"]
        .as_str()
        .context("Salesforce does not return the id of the updated record")?;
    Ok(Upserted::new(id, false))
}
