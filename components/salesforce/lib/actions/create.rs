//! Action "Create object": creates one record, and its file from an attachment.

use crate::{
    api::{Api, Record},
    describe::Object,
    fields,
    soql::Name,
};
use anyhow::Context as _;
use sailor::{
    http::{BodyError, path_segment, read_body},
    prelude::*,
};
use serde::Deserialize;
use serde_json::Value;

/// Salesforce accepts 50 MB of base64 in a record.
const MAX_FILE: usize = 36 << 20;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(default, deserialize_with = "fields::checked")]
    utilize_attachment: bool,
}

/// Emits the fields of the message, and the new record's id. A request that fails is not sent again: the record may have
/// been created.
pub async fn create(message: Message<Record>, cx: Context<Config, Record>) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        sobject,
        utilize_attachment,
    } = &cx.config;
    let mut record = message.body.clone();
    let mut blob = None;
    if *utilize_attachment {
        blob = attach(&api, sobject, &message, &cx, &mut record).await?;
    }
    anyhow::ensure!(
        !record.is_empty(),
        "there are no fields to create a {sobject} with: the message's body is empty"
    );
    let id = insert(&api, sobject, &record).await?;
    if let Some(blob) = blob {
        record.remove(&blob);
    }
    record.insert("id".to_owned(), id);
    cx.data(&record).await
}

/// Creates a record and returns its id.
pub async fn insert(api: &Api, object: &Name, record: &Record) -> anyhow::Result<Value> {
    let request = api
        .post(&format!("sobjects/{}", path_segment(object.as_str())?))
        .json(record);
    let mut created: Value = request.read_json().await?;
    Ok(created.get_mut("id").map(Value::take).unwrap_or_default())
}

/// Puts the first attachment into the object's file field, and returns the name of that field.
pub async fn attach<C, O>(
    api: &Api,
    object: &Name,
    message: &Message<Record>,
    cx: &Context<C, O>,
    record: &mut Record,
) -> anyhow::Result<Option<String>> {
    let Some((name, attachment)) = message.attachments.iter().next().transpose()? else {
        return Ok(None);
    };
    let described = Object::describe(api, object).await?;
    let field = described.file_field().with_context(|| {
        format!("{object} has no field for a file: uncheck \"Utilize data attachment\" or choose another object")
    })?;
    let file = cx.attachments()?.download(&attachment.url).await;
    let file = file.with_context(|| format!("the attachment {name:?}"))?;
    let bytes = match read_body(file, MAX_FILE).await {
        Ok(bytes) => bytes,
        Err(BodyError::TooLarge { max_bytes }) => anyhow::bail!(
            "the attachment {name:?} is larger than {} MB, the most that Salesforce takes",
            max_bytes >> 20
        ),
        Err(error) => return Err(error).with_context(|| format!("the attachment {name:?}")),
    };
    record.insert(
        field.name.clone(),
        base64_simd::STANDARD.encode_to_string(&bytes).into(),
    );
    Ok(Some(field.name.clone()))
}
