//! Trigger "Get updated objects polling": each record that is new or has changed, in the order of its change.
//!
//! Pages follow each other by time and id, so that records of the same instant are neither lost nor doubled. Salesforce
//! stamps whole seconds: the second that still runs is left for the next poll.

use super::{
    api::{Api, Record},
    describe::Object,
    fields, linked,
    pages::Pages,
    position::Position,
    soql::{self, Name},
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

const EPOCH: &str = "1970-01-01T00:00:00.000Z";
const DEFAULT_PAGE_SIZE: usize = 1000;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    sobject: Name,
    #[serde(default, deserialize_with = "fields::list")]
    selected_fields: Vec<String>,
    #[serde(default, deserialize_with = "fields::list")]
    linked_objects: Vec<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    emit_behavior: EmitBehavior,
    #[serde(default, deserialize_with = "fields::text")]
    start_time: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    end_time: Option<String>,
    #[serde(default, deserialize_with = "fields::number")]
    page_size: Option<usize>,
    #[serde(default, deserialize_with = "fields::checked")]
    single_page_per_interval: bool,
}

/// What becomes a message.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum EmitBehavior {
    /// Each record.
    #[default]
    EmitIndividually,
    /// Each page, as `{"results": […]}`.
    #[serde(alias = "emitPage", alias = "emitAll")]
    FetchPage,
}

/// The position moves with each page, after its records are confirmed.
pub struct UpdatedObjects;

impl Trigger for UpdatedObjects {
    type Config = Config;
    type Snapshot = Position;
    type Output = Value;

    async fn poll(
        &self,
        since: Option<Position>,
        cx: Context<Config, Value>,
    ) -> anyhow::Result<Option<Position>> {
        let config = &cx.config;
        let page_size = config.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        anyhow::ensure!(
            (1..=10_000).contains(&page_size),
            "the field `pageSize` must be from 1 to 10000"
        );
        let time = |field: &str, text: &str| {
            soql::instant(text).with_context(|| format!("the field `{field}`"))
        };
        let start = time("startTime", config.start_time.as_deref().unwrap_or(EPOCH))?;
        let mut position = since.unwrap_or_else(|| Position::from_start(start));

        let api = Api::new(cx.oauth());
        let (object, now) = Object::with_date(&api, &config.sobject).await?;
        anyhow::ensure!(
            object.field("LastModifiedDate").is_ok(),
            "{} does not keep the time of its last change: it cannot be polled for changes",
            object.name
        );
        let mut conditions = vec![];
        conditions.extend(now.map(|now| format!("LastModifiedDate < {now}")));
        if let Some(end) = &config.end_time {
            conditions.push(format!("LastModifiedDate < {}", time("endTime", end)?));
        }
        let select = linked::select(
            &api,
            &object,
            &selected(&config.selected_fields)?,
            &config.linked_objects,
        )
        .await?;
        loop {
            let mut conditions = conditions.clone();
            conditions.insert(
                0,
                position
                    .condition()
                    .context("the step's snapshot; reset it on the platform")?,
            );
            let query = format!(
                "SELECT {select} FROM {} WHERE {} ORDER BY LastModifiedDate, Id LIMIT {page_size}",
                object.name,
                conditions.join(" AND ")
            );
            let records = Pages::of(&api, query).first(page_size).await?;
            let count = records.len();
            let Some(last) = records.last() else {
                return Ok(None);
            };
            position = behind(last)?;
            match config.emit_behavior {
                EmitBehavior::EmitIndividually => {
                    cx.data_all(records.into_iter().map(Value::Object)).await?
                }
                EmitBehavior::FetchPage => cx.data(&json!({ "results": records })).await?,
            }
            if count < page_size || config.single_page_per_interval || cx.cancelled.is_cancelled() {
                return Ok(Some(position));
            }
            cx.snapshot(&position).await?;
        }
    }
}

/// What orders the records is always among the fields.
fn selected(fields: &[String]) -> anyhow::Result<Vec<Name>> {
    if fields.is_empty() {
        return Ok(vec![]);
    }
    let mut names = Vec::new();
    for field in fields
        .iter()
        .map(String::as_str)
        .chain(["Id", "LastModifiedDate"])
    {
        let name = Name::new(field)
            .with_context(|| format!("the field `selectedFields`: {field:?} is no API name"))?;
        if !names
            .iter()
            .any(|known: &Name| known.as_str().eq_ignore_ascii_case(field))
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn behind(record: &Record) -> anyhow::Result<Position> {
    let text = |name: &str| {
        record
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("a record has no {name}"))
    };
    Ok(Position::behind(text("LastModifiedDate")?, text("Id")?))
}
