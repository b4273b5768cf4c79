//! Trigger "Get updated objects polling": emits each record that is new or has changed, in the order of the changes.
//!
//! Pages follow each other by time and id, so that records of the same time are neither lost nor repeated. Salesforce's
//! times are whole seconds: records of the current second wait for the next poll.

use super::poll_page::{EmitBehavior, PollPage};
use crate::{
    api::Api,
    describe::Object,
    fields, linked,
    position::{Order, Position},
    soql::{self, Name},
    sorted_list::SortedList,
};
use anyhow::Context as _;
use sailor::{
    prelude::*,
    snapshot::{Memory, Snapshot},
};
use serde::Deserialize;
use serde_json::Value;

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

/// The position moves with each page, after its records are confirmed or reported.
#[derive(Default)]
pub struct UpdatedObjects {
    memory: Memory<Position>,
}

impl Trigger for UpdatedObjects {
    type Config = Config;
    type Snapshot = Snapshot<Position>;
    type Output = Value;

    async fn poll(
        &self,
        since: Option<Snapshot<Position>>,
        cx: Context<Config, Value>,
    ) -> anyhow::Result<Option<Snapshot<Position>>> {
        let config = &cx.config;
        let page_size = config.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        anyhow::ensure!(
            (1..=10_000).contains(&page_size),
            "the field `pageSize` must be from 1 to 10000"
        );
        let start = config.start_time.as_deref().unwrap_or(EPOCH);
        let start = soql::instant(start).context("the field `startTime`")?;
        let mut position = match since {
            Some(since) => self.memory.recall(since),
            None => Position::from_start(start),
        };

        let api = Api::new(cx.oauth());
        let list = prepare(&api, config).await?;
        loop {
            // Those that were done stand at the start of the page.
            let part = list
                .read(&position, page_size + position.done.len())
                .await?;
            let mut page = PollPage::new(&cx, part.entries, &position);
            let emitted = page.emit(config.emit_behavior).await;
            let next = page.position_after(&position)?;
            if next != position {
                position = next;
                cx.snapshot(&self.memory.save(position.clone())?).await?;
            }
            emitted?;
            if part.is_last || config.single_page_per_interval || cx.cancelled.is_cancelled() {
                return Ok(None);
            }
        }
    }
}

/// The records of the object in the order of their changes.
async fn prepare<'a>(api: &'a Api, config: &Config) -> anyhow::Result<SortedList<'a>> {
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
    let fields = linked::chosen(&config.selected_fields, &["Id", "LastModifiedDate"])?;
    let select = linked::select(api, &object, &fields, &config.linked_objects).await?;
    Ok(SortedList {
        api,
        select,
        from: object.name,
        conditions,
        order: Order::Change,
    })
}
