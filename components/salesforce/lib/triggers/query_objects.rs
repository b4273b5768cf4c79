//! Triggers "Query objects" and "New account": emit the whole result of a query as one message, each time the flow runs.

use crate::{
    api::{Api, Record},
    pages::Pages,
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const ACCOUNTS: &str = "SELECT Id, Name, AnnualRevenue FROM Account";

/// The step's fields.
#[derive(Deserialize)]
pub struct Config {
    query: String,
}

/// The result of a query, with all its pages.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The number of records.
    total_size: u64,
    /// Always true: the result is complete.
    done: bool,
    /// The records.
    records: Vec<Record>,
}

/// Trigger "Query objects".
pub async fn query_objects(_: Message<NoBody>, cx: Context<Config, Found>) -> anyhow::Result<()> {
    anyhow::ensure!(
        !cx.config.query.trim().is_empty(),
        "the field `query` is empty: it must be SOQL"
    );
    let found = all(&Api::new(cx.oauth()), &cx.config.query).await?;
    cx.data(&found).await
}

/// Trigger "New account".
pub async fn new_account(_: Message<NoBody>, cx: Context<Value, Found>) -> anyhow::Result<()> {
    let found = all(&Api::new(cx.oauth()), ACCOUNTS).await?;
    cx.data(&found).await
}

async fn all(api: &Api, query: &str) -> anyhow::Result<Found> {
    let mut pages = Pages::query(api, query);
    let (mut total_size, mut records) = (0, vec![]);
    while let Some(page) = pages.next().await? {
        total_size = page.total_size;
        records.extend(page.records);
    }
    Ok(Found {
        total_size,
        done: true,
        records,
    })
}
