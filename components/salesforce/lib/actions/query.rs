//! Action "Query": the records that a query of the user's own finds.

use super::{
    api::{Api, Record},
    fields,
    pages::Pages,
};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// How many records are emitted at most unless said otherwise.
const MAX_FETCH: usize = 1000;

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

/// What to ask.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// SOQL, such as SELECT Id, Name FROM Account
    query: String,
}

/// Emits a message per record, or `{"result": […]}` with all of them. All are there before the first is emitted: trouble
/// between pages, which has the message come again, must not double any.
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
    let pages = Pages::of(&api, message.body.query)
        .with_deleted(include_deleted)
        .of_size(batch_size);
    let records = pages.first(max_fetch.unwrap_or(MAX_FETCH)).await?;
    if allow_result_as_set {
        let result = records.into_iter().map(Value::Object).collect();
        return cx
            .data(&Record::from_iter([("result".to_owned(), result)]))
            .await;
    }
    cx.data_all(records).await
}
