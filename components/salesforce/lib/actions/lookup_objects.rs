//! Action "Lookup objects": finds the records that match search terms, as one message, by page, or one by one.

use crate::{
    api::{Api, Record},
    describe::Object,
    fields, linked,
    pages::Pages,
    soql::Name,
    terms,
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// The default number of records in a message or page.
const DEFAULT_SIZE: usize = 1000;
/// The largest OFFSET that Salesforce accepts.
const MAX_OFFSET: usize = 2000;
/// The largest number of records that are read and dropped.
const MAX_SKIPPED: usize = 1_000_000;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(default, deserialize_with = "fields::list")]
    selected_fields: Vec<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    include_deleted: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    output_method: OutputMethod,
    #[serde(default, deserialize_with = "fields::number")]
    term_number: Option<usize>,
    #[serde(default, deserialize_with = "fields::number")]
    max_fetch: Option<usize>,
}

/// What a message holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum OutputMethod {
    /// All records.
    #[default]
    #[serde(rename = "emitAll")]
    All,
    /// The records of the page that the message names.
    #[serde(rename = "emitPage")]
    Page,
    /// Each record.
    #[serde(rename = "emitIndividually")]
    Individually,
}

/// Which of the records are emitted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    #[serde(default, deserialize_with = "fields::number")]
    limit: Option<usize>,
    #[serde(default, deserialize_with = "fields::number")]
    page_size: Option<usize>,
    #[serde(default, deserialize_with = "fields::number")]
    page_number: Option<usize>,
}

/// Emits `{"results": […]}`, or the records themselves.
pub async fn lookup_objects(
    message: Message<Record>,
    cx: Context<Config, Value>,
) -> anyhow::Result<()> {
    let config = &cx.config;
    let terms = config.term_number.unwrap_or(1);
    anyhow::ensure!(terms <= 99, "the field `termNumber` must be from 0 to 99");
    let api = Api::new(cx.oauth());
    let object = Object::describe(&api, &config.sobject).await?;
    let condition = terms::condition(&object, &message.body, terms)?;
    let (skip, take) = range(config, &message.body)?;
    // OFFSET has a limit: further records are read and dropped.
    let (offset, dropped) = if skip > MAX_OFFSET {
        (0, skip)
    } else {
        (skip, 0)
    };
    let fields = linked::chosen(&config.selected_fields, &["Id"])?;
    let select = linked::select(&api, &object, &fields, &[]).await?;
    let query = query(
        &select,
        &object,
        condition,
        take.saturating_add(dropped),
        offset,
    );
    let pages = Pages::query(&api, query).include_deleted(config.include_deleted);
    let results = pages.range(dropped, take).await?;
    match config.output_method {
        OutputMethod::Individually => cx.data_all(results.into_iter().map(Value::Object)).await,
        OutputMethod::All | OutputMethod::Page => cx.data(&json!({ "results": results })).await,
    }
}

fn query(
    select: &str,
    object: &Object,
    condition: Option<String>,
    limit: usize,
    offset: usize,
) -> String {
    let mut query = format!("SELECT {select} FROM {}", object.name);
    if let Some(condition) = condition {
        query += &format!(" WHERE {condition}");
    }
    // The pages of several messages need the same order.
    query += &format!(" ORDER BY Id LIMIT {}", limit.max(1));
    if offset > 0 {
        query += &format!(" OFFSET {offset}");
    }
    query
}

/// How many records are skipped, and how many are emitted at most.
fn range(config: &Config, body: &Record) -> anyhow::Result<(usize, usize)> {
    let limits = Limits::deserialize(Value::Object(body.clone()))
        .context("`limit`, `pageSize` and `pageNumber` of the message must be numbers")?;
    if config.output_method != OutputMethod::Page {
        let limit = limits.limit.or(config.max_fetch);
        return Ok((0, limit.unwrap_or(DEFAULT_SIZE)));
    }
    let size = limits.page_size.unwrap_or(DEFAULT_SIZE);
    anyhow::ensure!(size > 0, "`pageSize` must be at least 1");
    let skip = size
        .checked_mul(limits.page_number.unwrap_or(0))
        .filter(|skip| *skip <= MAX_SKIPPED)
        .context("`pageNumber` is too large: search for fewer records")?;
    Ok((skip, size))
}
