//! Trigger "Poll for new and changed items": requests a list page by page, and emits its new items. The snapshot is the
//! [`Position`]; it moves after everything before it is confirmed.

use super::{
    paging::{Page, PageResponse},
    poll_config::{Config, Emit, Paging},
    position::Position,
    timestamp::{compare, http_date, text_of},
};
use crate::{api, rate_limit::AccountRateLimiter};
use anyhow::{Context as _, ensure};
use reqwest::{StatusCode, header::IF_MODIFIED_SINCE};
use sailor::prelude::*;
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc};

/// Polls within the limits of accounts.
pub struct PollItems(pub Arc<AccountRateLimiter>);

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
        let limit = config.requests_per_minute;
        let mut poll = Poll::new(config, since);
        let mut next = Some(Page::first(config));
        while let Some(page) = next {
            self.0.acquire(&config.account, limit).await?;
            let Some(mut response) = poll.request(&cx, &page).await? else {
                break;
            };
            let items = config
                .items_pointer
                .take_list(&mut response.body, "itemsPointer")?;
            let following = page.after(config, &response, items.len() as u64)?;
            let new = poll.take_new(&page, items)?;
            poll.emit(&cx, new).await?;
            if following.is_some() && config.saves_each_page() {
                cx.snapshot(&poll.position).await?;
            }
            next = following.map(|following| poll.by_time(following));
        }
        poll.finish(&cx).await
    }
}

/// One poll: the pages of a list, from the first to the last.
struct Poll<'a> {
    config: &'a Config,
    /// Where the last poll ended.
    start: Position,
    position: Position,
    /// The time in the query of the next request.
    since: Option<Value>,
    /// The changes on the pages so far.
    met: HashSet<String>,
    /// The new items so far, if one message holds all of them.
    collected: Vec<Value>,
    /// The last page had fewer items than requested.
    after_short_page: bool,
    /// The last page had only items of pages before it.
    after_repeated_page: bool,
}

/// An item with the time of its change and its id.
struct Change {
    changed: Value,
    id: Value,
    item: Value,
}

impl<'a> Poll<'a> {
    fn new(config: &'a Config, since: Option<Position>) -> Self {
        let start =
            since.unwrap_or_else(|| Position::from_start_value(config.start_value.as_deref()));
        Self {
            config,
            position: start.clone(),
            since: start.query_value().cloned(),
            start,
            met: HashSet::new(),
            collected: Vec::new(),
            after_short_page: false,
            after_repeated_page: false,
        }
    }

    /// Requests a page. Returns `None` if nothing has changed, or if the list has ended. An API may return fewer items
    /// than requested on any page, so only the request for the page after it shows whether a short page was the last
    /// one.
    async fn request(
        &self,
        cx: &Context<Config, Value>,
        page: &Page,
    ) -> anyhow::Result<Option<PageResponse>> {
        let since = self.since.as_ref();
        let (path, query) = page.address(self.config, since);
        let mut request = cx.oauth().get(&path).query(&query);
        if let Some((header, since)) = self.config.since_header.as_deref().zip(since) {
            let is_date = header.eq_ignore_ascii_case(IF_MODIFIED_SINCE.as_str());
            let value = if is_date {
                http_date(since)?
            } else {
                text_of(since)
            };
            request = request.header(header, &value);
        }
        let after_short_page = self.after_short_page;
        let is_end = move |status: StatusCode| {
            let is_beyond = matches!(status.as_u16(), 400 | 404 | 416 | 422);
            status == StatusCode::NOT_MODIFIED || (after_short_page && is_beyond)
        };
        let response = request
            .accept(move |status| status.is_success() || is_end(status))
            .send()
            .await?;
        if is_end(response.status()) {
            return Ok(None);
        }
        let (url, headers) = (response.url().clone(), response.headers().clone());
        let shown = format!("GET {}", api::without_query(&path));
        let body = api::json(response, &shown, true).await?;
        Ok(Some(PageResponse { url, headers, body }))
    }

    /// The new items of a page, in the order of their changes. Moves the position past them.
    fn take_new(&mut self, page: &Page, items: Vec<Value>) -> anyhow::Result<Vec<Value>> {
        let (count, met_before) = (items.len(), self.met.len());
        let size = self.config.page_size;
        self.after_short_page = size.is_some_and(|size| (count as u64) < size);
        let mut new = Vec::new();
        for item in items {
            let (changed, id) = self.config.change_of(&item)?;
            let is_first = self.met.insert(format!("{changed} {id}"));
            if is_first && self.start.is_after(&changed, &id) {
                new.push(Change { changed, id, item });
            }
        }
        let is_repeated = count > 0 && self.met.len() == met_before;
        self.check_repeated(is_repeated, page)?;
        if self.config.is_sorted {
            self.check_sorted(&new)?;
        }
        new.sort_by(|a, b| compare(&a.changed, &b.changed));
        for change in &new {
            self.position.advance(&change.changed, &change.id);
        }
        Ok(new.into_iter().map(|change| change.item).collect())
    }

    /// Returns an error if the API returns the same page again and again: it may not know the paging parameter. A
    /// single repeated page is normal: items that move to the front shift the others to the next page.
    fn check_repeated(&mut self, is_repeated: bool, page: &Page) -> anyhow::Result<()> {
        ensure!(
            !(is_repeated && self.after_repeated_page),
            "two pages contain only items of earlier pages: check the field `paging`"
        );
        self.after_repeated_page = is_repeated && *page != Page::first(self.config);
        Ok(())
    }

    /// Returns an error if a list that should be sorted is not: its position is saved after each page, and an earlier
    /// change on a later page would be lost.
    fn check_sorted(&self, new: &[Change]) -> anyhow::Result<()> {
        let is_ordered = new.is_sorted_by(|a, b| compare(&a.changed, &b.changed).is_le());
        let follows = new
            .iter()
            .all(|change| self.position.is_after(&change.changed, &change.id));
        ensure!(
            is_ordered && follows,
            "the list does not begin with the earliest change: untick `isSorted`"
        );
        Ok(())
    }

    async fn emit(&mut self, cx: &Context<Config, Value>, new: Vec<Value>) -> anyhow::Result<()> {
        match self.config.emit {
            Emit::Each => cx.data_all(new).await,
            Emit::Page if new.is_empty() => Ok(()),
            Emit::Page => cx.data(&json!({ "items": new })).await,
            Emit::All => {
                self.collected.extend(new);
                Ok(())
            }
        }
    }

    /// The next page. If the API accepts a time, this is the first page since the position: a page number would skip
    /// items if the list gets shorter in the meantime.
    fn by_time(&mut self, next: Page) -> Page {
        if !self.config.pages_by_time() || self.position.query_value() == self.since.as_ref() {
            return next;
        }
        self.since = self.position.query_value().cloned();
        Page::first(self.config)
    }

    async fn finish(self, cx: &Context<Config, Value>) -> anyhow::Result<Option<Position>> {
        if !self.collected.is_empty() {
            cx.data(&json!({ "items": self.collected })).await?;
        }
        Ok(Some(self.position))
    }
}

impl Config {
    /// Whether the position is saved after each page.
    fn saves_each_page(&self) -> bool {
        self.is_sorted && self.emit != Emit::All
    }

    /// Whether a page can be requested by the time of the last change on the page before it.
    fn pages_by_time(&self) -> bool {
        let has_since = self.since_parameter.is_some() || self.since_header.is_some();
        self.is_sorted && has_since && matches!(self.paging, Paging::Page | Paging::Offset)
    }

    /// When an item changed, and its id.
    fn change_of(&self, item: &Value) -> anyhow::Result<(Value, Value)> {
        let changed = self.changed_field.as_deref().unwrap_or("updated_at");
        let id = self.id_field.as_deref().unwrap_or("id");
        Ok((
            member(item, "changedField", changed)?,
            member(item, "idField", id)?,
        ))
    }
}

/// The text or number in a member of an item. `name` is its name, or a JSON pointer, from the step's `field`.
fn member(item: &Value, field: &str, name: &str) -> anyhow::Result<Value> {
    let value = if name.starts_with('/') {
        item.pointer(name)
    } else {
        item.get(name)
    };
    value
        .filter(|value| value.is_string() || value.is_number())
        .cloned()
        .with_context(|| format!("an item has neither text nor number in {name:?}: set `{field}`"))
}
