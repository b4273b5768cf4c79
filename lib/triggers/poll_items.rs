//! Trigger "Poll for new and changed items": asks for a list, page by page, and emits what is new in it. The snapshot is
//! the [`Position`]; it moves when everything before it is confirmed.

#[path = "moment.rs"]
mod moment;
#[path = "paging.rs"]
mod paging;
#[path = "position.rs"]
mod position;

use super::{
    api,
    fields::{self, Pointer},
    limit::Limits,
};
use anyhow::{Context as _, ensure};
use moment::{compare, http_date, text_of};
use paging::{Answered, Page, Paging};
use position::Position;
use reqwest::{StatusCode, header::IF_MODIFIED_SINCE};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc};

/// The step's fields, and what of the credentials is not the runtime's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(rename = "_account", default)]
    account: String,
    #[serde(default, deserialize_with = "fields::number")]
    requests_per_minute: Option<f64>,
    path: String,
    #[serde(default)]
    items_pointer: Pointer,
    #[serde(default, deserialize_with = "fields::text")]
    id_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    changed_field: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    since_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    since_header: Option<String>,
    #[serde(default, deserialize_with = "fields::text")]
    start_value: Option<String>,
    #[serde(default, deserialize_with = "fields::choice")]
    paging: Paging,
    #[serde(default, deserialize_with = "fields::pointer")]
    next_pointer: Option<Pointer>,
    #[serde(default, deserialize_with = "fields::text")]
    page_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::count")]
    first_page: Option<u64>,
    #[serde(default, deserialize_with = "fields::number")]
    page_size: Option<u64>,
    #[serde(default, deserialize_with = "fields::text")]
    page_size_parameter: Option<String>,
    #[serde(default, deserialize_with = "fields::checked")]
    is_sorted: bool,
    #[serde(default, deserialize_with = "fields::choice")]
    emit: Emit,
}

/// How items become messages.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Emit {
    /// One message for each.
    #[default]
    Each,
    /// One message for the new items of each page, in the member `items`.
    Page,
    /// One message for all new items, in the member `items`.
    All,
}

/// Asks for lists; accounts keep to their limits.
pub struct PollItems(pub Arc<Limits>);

impl Trigger for PollItems {
    type Config = Config;
    type Snapshot = Position;
    type Output = Value;

    async fn poll(
        &self,
        since: Option<Position>,
        cx: Context<Config, Value>,
    ) -> anyhow::Result<Option<Position>> {
        let config = &cx.config;
        let start = since.unwrap_or_else(|| Position::starting(config.start_value.as_deref()));
        let (mut position, mut met, mut all) = (start.clone(), HashSet::new(), Vec::new());
        let mut since = start.asked().cloned();
        let mut next = Some(Page::first(config));
        let (mut was_old, mut was_short) = (false, false);
        while let Some(page) = next {
            self.0
                .turn(&config.account, config.requests_per_minute)
                .await?;
            let Some(mut answered) = ask(&cx, &page, since.as_ref(), was_short).await? else {
                break;
            };
            let items = config
                .items_pointer
                .list(&mut answered.body, "itemsPointer")?;
            next = page.after(config, &answered, items.len() as u64)?;
            was_short = config
                .page_size
                .is_some_and(|size| (items.len() as u64) < size);

            let (count, met_before) = (items.len(), met.len());
            let mut new = Vec::new();
            for item in items {
                let (changed, id) = config.mark(&item)?;
                if met.insert(format!("{changed} {id}")) && start.is_behind(&changed, &id) {
                    new.push((changed, id, item));
                }
            }
            // An API that does not know the parameter answers the first page for ever. A single page of what was there
            // before is one that items which have come to the front have moved back.
            let is_old = count > 0 && met.len() == met_before;
            ensure!(
                !(is_old && was_old),
                "two pages have only items of earlier pages: set `paging` anew"
            );
            was_old = is_old && page != Page::first(config);
            if config.is_sorted {
                // What is earlier than the position that was kept would be lost when a later page fails.
                let in_order = new.is_sorted_by(|(a, ..), (b, ..)| compare(a, b).is_le());
                let goes_on = new
                    .iter()
                    .all(|(changed, id, _)| position.is_behind(changed, id));
                ensure!(
                    in_order && goes_on,
                    "the list does not begin with the earliest change: untick `isSorted`"
                );
            }
            new.sort_by(|(a, ..), (b, ..)| compare(a, b));
            new.iter()
                .for_each(|(changed, id, _)| position.pass(changed, id));
            let new: Vec<_> = new.into_iter().map(|(.., item)| item).collect();
            match config.emit {
                Emit::Each => cx.data_all(new).await?,
                Emit::Page if new.is_empty() => {}
                Emit::Page => cx.data(&json!({ "items": new })).await?,
                Emit::All => all.extend(new),
            }
            if config.is_sorted && config.emit != Emit::All && next.is_some() {
                cx.snapshot(&position).await?;
            }
            if config.pages_by_time() && next.is_some() && position.asked() != since.as_ref() {
                // Where items leave a page meanwhile, the next one would begin too late: it is asked for by time.
                since = position.asked().cloned();
                next = Some(Page::first(config));
            }
        }
        if !all.is_empty() {
            cx.data(&json!({ "items": all })).await?;
        }
        Ok(Some(position))
    }
}

/// One page of the list; none when nothing has changed, or the list has ended. Whether it has is known of a page `after`
/// a short one only by asking: it may be short because the API gives no more at once.
async fn ask(
    cx: &Context<Config, Value>,
    page: &Page,
    since: Option<&Value>,
    after_short: bool,
) -> anyhow::Result<Option<Answered>> {
    let config = &cx.config;
    let (path, query) = page.address(config, since);
    let mut request = cx.oauth().get(&path).query(&query);
    if let Some((header, since)) = config.since_header.as_deref().zip(since) {
        let is_date = header.eq_ignore_ascii_case(IF_MODIFIED_SINCE.as_str());
        request = request.header(
            header,
            &if is_date {
                http_date(since)?
            } else {
                text_of(since)
            },
        );
    }
    let is_beyond =
        move |status: StatusCode| after_short && matches!(status.as_u16(), 400 | 404 | 416 | 422);
    let is_end = move |status: StatusCode| status == StatusCode::NOT_MODIFIED || is_beyond(status);
    let answer = request
        .accept(move |status| status.is_success() || is_end(status))
        .send()
        .await?;
    if is_end(answer.status()) {
        return Ok(None);
    }
    let (url, headers) = (answer.url().clone(), answer.headers().clone());
    let body = api::json(answer, &format!("GET {}", api::shown(&path)), true).await?;
    Ok(Some(Answered { url, headers, body }))
}

impl Config {
    /// Whether each page can be asked for by the time that the one before has come to: then nothing that moves while
    /// pages are read is missed.
    fn pages_by_time(&self) -> bool {
        let can_ask = self.since_parameter.is_some() || self.since_header.is_some();
        self.is_sorted && can_ask && matches!(self.paging, Paging::Page | Paging::Offset)
    }

    /// When an item changed, and which one it is.
    fn mark(&self, item: &Value) -> anyhow::Result<(Value, Value)> {
        let find = |field: &'static str, name: &str| {
            let value = if name.starts_with('/') {
                item.pointer(name)
            } else {
                item.get(name)
            };
            let value = value.filter(|value| value.is_string() || value.is_number());
            value.cloned().with_context(|| {
                format!("an item has neither text nor number in {name:?}: set `{field}`")
            })
        };
        let changed = find(
            "changedField",
            self.changed_field.as_deref().unwrap_or("updated_at"),
        )?;
        Ok((
            changed,
            find("idField", self.id_field.as_deref().unwrap_or("id"))?,
        ))
    }
}
