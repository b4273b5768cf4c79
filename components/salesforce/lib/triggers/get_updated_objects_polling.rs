//! Trigger "Get updated objects polling": emits each record that is new or has changed, in the order of the changes.
//!
//! Pages follow each other by time and id, so that records of the same time are neither lost nor repeated. Salesforce's
//! times are whole seconds: records of the current second wait for the next poll.

use super::position::Position;
use crate::{
    api::{Api, Record},
    describe::Object,
    fields, linked,
    pages::Pages,
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

/// What a message holds.
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
        let start = config.start_time.as_deref().unwrap_or(EPOCH);
        let start = soql::instant(start).context("the field `startTime`")?;
        let mut position = since.unwrap_or_else(|| Position::from_start(start));

        let api = Api::new(cx.oauth());
        let list = List::prepare(&api, config, page_size).await?;
        loop {
            let records = list.after(&api, &position).await?;
            let count = records.len();
            let Some(last) = records.last() else {
                return Ok(None);
            };
            position = position_after(last)?;
            match config.emit_behavior {
                EmitBehavior::EmitIndividually => {
                    cx.data_all(records.into_iter().map(Value::Object)).await?;
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

/// The records of an object in the order of their changes.
struct List {
    object: String,
    /// The fields to select.
    select: String,
    /// Conditions in addition to the position.
    conditions: Vec<String>,
    page_size: usize,
}

impl List {
    async fn prepare(api: &Api, config: &Config, page_size: usize) -> anyhow::Result<Self> {
        let (object, now) = Object::describe_with_date(api, &config.sobject).await?;
        anyhow::ensure!(
            object.field("LastModifiedDate").is_ok(),
            "{} does not keep the time of its last change: it cannot be polled for changes",
            object.name
        );
        let mut conditions = vec![];
        conditions.extend(now.map(|now| format!("LastModifiedDate < {now}")));
        if let Some(end) = &config.end_time {
            let end = soql::instant(end).context("the field `endTime`")?;
            conditions.push(format!("LastModifiedDate < {end}"));
        }
        let selected = linked::chosen(&config.selected_fields, &["Id", "LastModifiedDate"])?;
        let select = linked::select(api, &object, &selected, &config.linked_objects).await?;
        Ok(Self {
            object: object.name,
            select,
            conditions,
            page_size,
        })
    }

    /// The next page behind a position.
    async fn after(&self, api: &Api, position: &Position) -> anyhow::Result<Vec<Record>> {
        let position = position
            .condition()
            .context("the step's snapshot; reset it on the platform")?;
        let conditions = [&[position], &*self.conditions].concat();
        let query = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY LastModifiedDate, Id LIMIT {}",
            self.select,
            self.object,
            conditions.join(" AND "),
            self.page_size
        );
        Pages::query(api, query).first(self.page_size).await
    }
}

fn position_after(record: &Record) -> anyhow::Result<Position> {
    let text = |name: &str| {
        record
            .get(name)
            .and_then(Value::as_str)
            .with_context(|| format!("a record has no {name}"))
    };
    Ok(Position::after(text("LastModifiedDate")?, text("Id")?))
}
