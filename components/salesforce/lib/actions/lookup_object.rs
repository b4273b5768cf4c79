//! Action "Lookup object": finds the one record that has a value in a field, with its linked objects and its file.

use crate::{
    api::{Api, Record},
    describe::Object,
    fields, linked,
    lookup::{self, Criteria, TypeOfSearch},
    soql::Name,
};
use anyhow::Context as _;
use reqwest::Body;
use sailor::{http::path_segment, prelude::*};
use serde::Deserialize;
use serde_json::Value;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(rename = "typeOfSearch", default, deserialize_with = "fields::choice")]
    _type_of_search: TypeOfSearch,
    lookup_field: Name,
    #[serde(default, deserialize_with = "fields::list")]
    selected_fields: Vec<String>,
    #[serde(default, deserialize_with = "fields::list")]
    linked_objects: Vec<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_criteria_to_be_omitted: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_zero_results: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    pass_binary_data: bool,
}

/// Emits the record; an empty object if the step allows no result or no value to search for.
pub async fn lookup_object(
    message: Message<Criteria>,
    cx: Context<Config, Record>,
) -> anyhow::Result<()> {
    let config = &cx.config;
    let (object, field) = (&config.sobject, &config.lookup_field);
    let Some(value) = message.body.value(field) else {
        anyhow::ensure!(
            config.allow_criteria_to_be_omitted,
            "the message has no value for `{field}` to search for: give one, or check \"Allow criteria to be omitted\""
        );
        return cx.data(&Record::new()).await;
    };
    let api = Api::new(cx.oauth());
    let described = Object::describe(&api, object).await?;
    let fields = selected(config, &described)?;
    let select = linked::select(&api, &described, &fields, &config.linked_objects).await?;
    let Some(record) = lookup::find_one(&api, &described, field, value, &select).await? else {
        anyhow::ensure!(
            config.allow_zero_results,
            "no {object} has this value in {field}: check the value, or check \"Allow zero results\""
        );
        return cx.data(&Record::new()).await;
    };
    let mut message = Message::new(record);
    if config.pass_binary_data
        && let Some(field) = described.file_field()
    {
        let (name, file) = store_file(&api, &cx, &message.body, &field.name).await?;
        message = message.with_attachment(name, file);
    }
    cx.message(message).await
}

/// The chosen fields, with the id, and what the file of the record needs.
fn selected(config: &Config, object: &Object) -> anyhow::Result<Vec<Name>> {
    let mut needed = vec!["Id"];
    if config.pass_binary_data && object.file_field().is_some() {
        let of_file = ["Name", "ContentType"].into_iter();
        needed.extend(of_file.filter(|name| object.field(name).is_ok()));
    }
    linked::chosen(&config.selected_fields, &needed)
}

/// Copies the record's file to object storage; returns its name and the attachment.
async fn store_file(
    api: &Api,
    cx: &Context<Config, Record>,
    record: &Record,
    field: &str,
) -> anyhow::Result<(String, Attachment)> {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let id = path_segment(text("Id").context("the record has no Id")?)?;
    let path = format!("sobjects/{}/{id}/{field}", cx.config.sobject);
    let file = api.get(&path).send().await?;
    let content_type = text("ContentType").unwrap_or("application/octet-stream");
    let content = Body::wrap_stream(file.bytes_stream());
    let stored = cx.attachments()?.upload(content, content_type).await?;
    let name = text("Name").unwrap_or(field).to_owned();
    Ok((name, stored.into()))
}
