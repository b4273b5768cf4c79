//! Action "Query": emits the records that the message's query finds.

use crate::{
    api::{Api, Record},
    fields,
    pages::Pages,
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// The default of the field `maxFetch`.
const DEFAULT_MAX_FETCH: usize = 1000;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::number")]
    batch_size: Option<usize>,
    #[serde(default, deserialize_with = "fields::checked")]
    allow_result_as_set: bool,
    #[serde(default, deserialize_with = "fields::checked")]
    include_deleted: bool,
    #[serde(default, deserialize_with = "fields::number")]
    max_fetch: Option<usize>,
}

/// The query.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// SOQL, such as SELECT Id, Name FROM Account
    query: String,
}

/// Emits a message for each record, or `{"result": […]}` with all of them. The result of
/// `COUNT()` is one record, `{"totalSize": …}`. All pages are read before the first record is
/// emitted: a transient error between pages rebounds the message, and must not repeat records.
pub async fn query(message: Message<Input>, cx: Context<Config, Record>) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        batch_size,
        allow_result_as_set,
        include_deleted,
        max_fetch,
    } = cx.config;
    anyhow::ensure!(
        !message.body.query.trim().is_empty(),
        "`query` is empty: it must be SOQL"
    );
    let pages = Pages::query(&api, message.body.query)
        .include_deleted(include_deleted)
        .page_size(batch_size)
        .with_count();
    let records = pages.first(max_fetch.unwrap_or(DEFAULT_MAX_FETCH)).await?;
    if allow_result_as_set {
        let result = records.into_iter().map(Value::Object).collect();
        return cx
            .data(&Record::from_iter([("result".to_owned(), result)]))
            .await;
    }
    cx.data_all(records).await
}
