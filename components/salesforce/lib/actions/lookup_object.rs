//! Action "Lookup object": the one record that a field's value leads to, with what it is linked with, and its file.

use super::{
    api::{self, Api, Record},
    describe::Object,
    fields, linked,
    lookup::{self, Criteria, TypeOfSearch},
    soql::Name,
};
use anyhow::Context as _;
use reqwest::Body;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(rename = "typeOfSearch", default, deserialize_with = "fields::choice")]
    _type_of_search: TypeOfSearch,
    lookup_field: Name,
    #[serde(default, deserialize_with = "fields::list")]
    linked_objects: Vec<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_criteria_to_be_omitted: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_zero_results: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    pass_binary_data: bool,
}

/// Emits the record, or an empty object where none is found or looked for and that is allowed.
pub async fn lookup_object(
    message: Message<Criteria>,
    cx: Context<Config, Record>,
) -> anyhow::Result<()> {
    let config = &cx.config;
    let (object, field) = (&config.sobject, &config.lookup_field);
    let Some(value) = message.body.value(field) else {
        anyhow::ensure!(
            config.allow_criteria_to_be_omitted,
            "the message has no value for `{field}` to look for; \"Allow criteria to be omitted\" makes that no error"
        );
        return cx.data(&Record::new()).await;
    };
    let api = Api::new(cx.oauth());
    let described = Object::of(&api, object).await?;
    let select = linked::select(&api, &described, &[], &config.linked_objects).await?;
    let Some(record) = lookup::only(&api, &described, field, value, &select).await? else {
        anyhow::ensure!(
            config.allow_zero_results,
            "no {object} has this value in {field}; \"Allow zero results\" makes that no error"
        );
        return cx.data(&Record::new()).await;
    };
    let mut found = Message::new(record);
    if config.pass_binary_data
        && let Some(blob) = described.blob()
    {
        let id = found
            .body
            .get("Id")
            .and_then(Value::as_str)
            .context("the record has no Id")?;
        let request = api.get(&format!(
            "sobjects/{object}/{}/{}",
            api::segment(id)?,
            blob.name
        ));
        let file = api::send(request).await?;
        let name = found
            .body
            .get("Name")
            .and_then(Value::as_str)
            .unwrap_or(&blob.name)
            .to_owned();
        let kind = found
            .body
            .get("ContentType")
            .and_then(Value::as_str)
            .unwrap_or("application/octet-stream");
        let stored = cx
            .attachments()?
            .upload(Body::wrap_stream(file.bytes_stream()), kind)
            .await?;
        let attachment = Attachment {
            url: stored.url,
            content_type: Some(stored.content_type),
            size: stored.size,
            more: Map::new(),
        };
        found = found.with_attachment(name, attachment);
    }
    cx.message(found).await
}
