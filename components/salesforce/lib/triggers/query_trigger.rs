//! Trigger "Query": emits the results of a query each time the flow runs.

use super::query_run::{OutputMethod, Progress, QueryRun};
use crate::{
    api::{self, Api, Record},
    fields,
    pages::{Page, Pages},
    position::{Order, Position},
    soql_parts::Parts,
    sorted_list::{Entry, SortedList},
};
use anyhow::Context as _;
use sailor::{
    prelude::*,
    snapshot::{Memory, Snapshot},
};
use serde::Deserialize;
use serde_json::Value;

/// How many records are requested at once in the order of their ids.
const PART: usize = 200;
/// How often a page is requested whose response breaks off.
const MAX_TRIES: usize = 3;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    query: String,
    #[serde(default, deserialize_with = "fields::choice")]
    output_method: OutputMethod,
    #[serde(default, deserialize_with = "fields::checked")]
    dont_emit_on_empty_results: bool,
}

/// Emits each record as the pages arrive, or `{"records": […]}` with all of them. An empty result is an empty object.
///
/// A run that fails says in the snapshot what it has emitted, and the next run continues it.
#[derive(Default)]
pub struct QueryTrigger {
    memory: Memory<Progress>,
}

impl Action for QueryTrigger {
    type Config = Config;
    type Input = NoBody;
    type Output = Record;

    async fn process(&self, _: Message<NoBody>, cx: Context<Config, Record>) -> anyhow::Result<()> {
        let api = Api::new(cx.oauth());
        let config = &cx.config;
        anyhow::ensure!(
            !config.query.trim().is_empty(),
            "the field `query` is empty: it must be SOQL"
        );
        // Other snapshots are those of earlier components, which say nothing about this run.
        let stored = cx.stored_snapshot::<Value>()?.unwrap_or_default();
        let stored = serde_json::from_value::<Snapshot<Progress>>(stored);
        let before =
            stored.map_or_else(|_| Progress::default(), |stored| self.memory.recall(stored));
        let mut run = QueryRun::new(&cx, config.output_method, &before);
        let mut result = read(&api, &config.query, &mut run).await;
        if result.is_ok() {
            result = run.finish(!config.dont_emit_on_empty_results).await;
        }
        let progress = run.progress(result.is_ok());
        if progress != before {
            cx.snapshot(&self.memory.save(progress)?).await?;
        }
        result
    }
}

/// Reads all pages. If Salesforce cannot return one of them, the records that are left are read in the order of their ids.
async fn read(api: &Api, query: &str, run: &mut QueryRun<'_, Config>) -> anyhow::Result<()> {
    let mut pages = Pages::query(api, query).with_count();
    loop {
        match next(&mut pages).await {
            Ok(Some(page)) => run.take(page.into_items().map(Entry::of)).await?,
            Ok(None) => return Ok(()),
            Err(error) if !api::is_about_content(&error) => return Err(error),
            Err(error) => match Parts::of(query) {
                Some(parts) => {
                    tracing::warn!(
                        code = "page-unreadable",
                        "A page cannot be read; its records are read one by one: {error:#}"
                    );
                    return read_by_id(api, parts, run).await;
                }
                None => return Err(error),
            },
        }
    }
}

/// The next page. A connection that breaks once says nothing about the page.
async fn next(pages: &mut Pages<'_>) -> anyhow::Result<Option<Page>> {
    let mut tries = 1;
    loop {
        match pages.next().await {
            Err(error) if tries < MAX_TRIES && api::is_interrupted(&error) => tries += 1,
            result => return result,
        }
    }
}

async fn read_by_id(
    api: &Api,
    parts: Parts<'_>,
    run: &mut QueryRun<'_, Config>,
) -> anyhow::Result<()> {
    run.read_again();
    let condition = parts.condition.map(|condition| format!("({condition})"));
    let list = SortedList {
        api,
        select: parts.select.to_owned(),
        from: parts.from.to_owned(),
        conditions: condition.into_iter().collect(),
        order: Order::Id,
    };
    let mut position = Position::from_start("");
    loop {
        let part = list.read(&position, PART).await?;
        let mut positions = part.entries.iter().rev();
        let last = positions.find_map(|entry| entry.position.clone());
        run.take(part.entries).await?;
        if part.is_last {
            return Ok(());
        }
        position = last.context("the records of the query have no ids, and one cannot be read")?;
    }
}
