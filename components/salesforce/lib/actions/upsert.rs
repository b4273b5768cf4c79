//! Action "Upsert object": changes the record that a field's value leads to, or creates it.

use super::{
    api::{self, Api, Record},
    create,
    describe::Object,
    fields,
    lookup::{self, TypeOfSearch},
    soql::Name,
};
use anyhow::Context as _;
use sailor::prelude::*;
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

/// What became of the record.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Upserted {
    /// Its id.
    id: String,
    /// Always true: what fails is an error.
    success: bool,
    /// Whether it is new.
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

/// Without a value to look for it creates; more than one record found is an error.
pub async fn upsert(message: Message<Record>, cx: Context<Config, Upserted>) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        sobject,
        type_of_search,
        lookup_field,
        utilize_attachment,
    } = &cx.config;
    let mut record = message.body.clone();
    if *utilize_attachment {
        create::attach(&api, sobject, &message, &cx, &mut record).await?;
    }
    anyhow::ensure!(
        !record.is_empty(),
        "there are no fields for {sobject}: the message's body is empty"
    );
    let named = |record: &Record, wanted: &str| {
        record
            .keys()
            .find(|name| name.eq_ignore_ascii_case(wanted))
            .cloned()
    };
    if type_of_search.is_none()
        && let Some(own) = named(&record, "Id")
        && let id = record.remove(&own)
        && let Some(id) = api::as_text("Id", id.as_ref())?
    {
        // Steps of the earlier action, which had no type of search, give the id where they know it.
        return cx.data(&update(&api, sobject, &id, &record).await?).await;
    }
    let key = named(&record, lookup_field.as_str());
    let value = key.as_ref().and_then(|key| record.get(key)).cloned();
    let text = api::as_text(lookup_field.as_str(), value.as_ref())?;
    let is_id = lookup_field.as_str().eq_ignore_ascii_case("Id");
    let upserted = match (text, value) {
        (None, _) => {
            key.iter().for_each(|key| drop(record.remove(key)));
            insert(&api, sobject, &record).await?
        }
        (Some(id), _) if is_id => {
            key.iter().for_each(|key| drop(record.remove(key)));
            update(&api, sobject, &id, &record).await?
        }
        (Some(text), _) if type_of_search.is_none_or(|kind| kind == TypeOfSearch::ExternalIds) => {
            // The address has the value; the body must not have it as well.
            key.iter().for_each(|key| drop(record.remove(key)));
            by_external_id(&api, sobject, lookup_field, &text, &record).await?
        }
        (Some(_), value) => {
            let object = Object::of(&api, sobject).await?;
            let value = value.unwrap_or_default();
            let found = lookup::only(&api, &object, lookup_field, &value, "Id").await?;
            let field = object.field(lookup_field.as_str())?;
            let may_be_written = if found.is_some() {
                field.updateable
            } else {
                field.createable
            };
            if !may_be_written {
                // It was for looking only.
                key.iter().for_each(|key| drop(record.remove(key)));
            }
            match found
                .as_ref()
                .and_then(|found| found.get("Id"))
                .and_then(Value::as_str)
            {
                Some(id) => update(&api, sobject, id, &record).await?,
                None => insert(&api, sobject, &record).await?,
            }
        }
    };
    cx.data(&upserted).await
}

async fn insert(api: &Api, object: &Name, record: &Record) -> anyhow::Result<Upserted> {
    let id = create::insert(api, object, record).await?;
    Ok(Upserted::new(id.as_str().unwrap_or_default(), true))
}

/// Changing a record twice in the same way is changing it once.
async fn update(api: &Api, object: &Name, id: &str, record: &Record) -> anyhow::Result<Upserted> {
    let path = format!("sobjects/{object}/{}", api::segment(id)?);
    api::send(api.patch(&path).json(record).idempotent(true)).await?;
    Ok(Upserted::new(id, false))
}

async fn by_external_id(
    api: &Api,
    object: &Name,
    field: &Name,
    value: &str,
    record: &Record,
) -> anyhow::Result<Upserted> {
    let path = format!("sobjects/{object}/{field}/{}", api::segment(value)?);
    let answer: Option<Upserted> =
        api::json(api.patch(&path).json(record).idempotent(true)).await?;
    match answer {
        Some(upserted) => Ok(upserted),
        // Old versions of the API do not tell the id of a record that they have changed.
        None => {
            let found: Value = api::json(api.get(&path).query(&[("fields", "Id")])).await?;
            let id = found["Id"]
                .as_str()
                .context("Salesforce does not tell the id of the changed record")?;
            Ok(Upserted::new(id, false))
        }
    }
}
