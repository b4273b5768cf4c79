//! Action "Lookup objects": all records that search terms fit, as one message, page by page, or one by one.

use super::{
    api::{Api, Record},
    describe::Object,
    fields,
    pages::Pages,
    soql::Name,
    terms,
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// How many records one message or page holds unless said otherwise.
const DEFAULT_SIZE: usize = 1000;
/// The greatest OFFSET that Salesforce takes.
const MAX_OFFSET: usize = 2000;
/// How many records are read for the sake of those behind them.
const MAX_SKIPPED: usize = 1_000_000;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(default, deserialize_with = "fields::checked")]
    include_deleted: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    output_method: OutputMethod,
    #[serde(default, deserialize_with = "fields::number")]
    term_number: Option<usize>,
    #[serde(default, deserialize_with = "fields::number")]
    max_fetch: Option<usize>,
}

/// What becomes a message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub enum OutputMethod {
    /// All records.
    #[default]
    #[serde(rename = "emitAll")]
    All,
    /// The records of the page that the message asks for.
    #[serde(rename = "emitPage")]
    Page,
    /// Each record.
    #[serde(rename = "emitIndividually")]
    Individually,
}

/// How much of what is found is wanted.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Range {
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
    let Config {
        sobject,
        include_deleted,
        output_method,
        term_number,
        max_fetch,
    } = &cx.config;
    let terms = term_number.unwrap_or(1);
    anyhow::ensure!(terms <= 99, "the field `termNumber` must be from 0 to 99");
    let api = Api::new(cx.oauth());
    let object = Object::of(&api, sobject).await?;
    let condition = terms::condition(&object, &message.body, terms)?;
    let range = range(&message.body)?;
    let limit = range.limit.or(*max_fetch).unwrap_or(DEFAULT_SIZE);
    let (skip, take) = match output_method {
        OutputMethod::Page => {
            let size = range.page_size.unwrap_or(DEFAULT_SIZE);
            anyhow::ensure!(size > 0, "`pageSize` must be at least 1");
            let skip = size
                .checked_mul(range.page_number.unwrap_or(0))
                .filter(|skip| *skip <= MAX_SKIPPED);
            let skip = skip.context("`pageNumber` is too far behind: search for fewer records")?;
            (skip, size)
        }
        _ => (0, limit),
    };
    let mut query = format!(
        "SELECT {} FROM {}",
        object.shown().collect::<Vec<_>>().join(", "),
        object.name
    );
    if let Some(condition) = condition {
        query += &format!(" WHERE {condition}");
    }
    // Pages have to fit together.
    query += " ORDER BY Id";
    // What OFFSET cannot skip is read and left out.
    let (offset, left_out) = if skip > MAX_OFFSET {
        (0, skip)
    } else {
        (skip, 0)
    };
    query += &format!(" LIMIT {}", take.saturating_add(left_out).max(1));
    if offset > 0 {
        query += &format!(" OFFSET {offset}");
    }
    let pages = Pages::of(&api, query).with_deleted(*include_deleted);
    let results = pages.range(left_out, take).await?;
    match output_method {
        OutputMethod::Individually => cx.data_all(results.into_iter().map(Value::Object)).await,
        OutputMethod::All | OutputMethod::Page => cx.data(&json!({ "results": results })).await,
    }
}

fn range(body: &Record) -> anyhow::Result<Range> {
    Range::deserialize(Value::Object(body.clone()))
        .context("`limit`, `pageSize` and `pageNumber` of the message must be numbers")
}
