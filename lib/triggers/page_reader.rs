//! Requests the pages of a list, and reads around what the API cannot return.

use super::{
    order::{http_date, text_of},
    poll_config::Config,
};
use crate::api::{self, ResponseError};
use anyhow::{bail, ensure};
use reqwest::{
    Url,
    header::{ACCEPT, IF_MODIFIED_SINCE},
};
use sailor::{
    http::{self, ListPage, PageRequest, Paging, RateLimiter, read_around},
    oauth2::Error,
    prelude::*,
};
use serde_json::Value;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

/// How often a response may break off before something in it counts as the reason.
const MAX_INTERRUPTED: u32 = 3;

/// The pages of one poll.
pub struct PageReader<'a> {
    pub cx: &'a Context<Config, Value>,
    pub limiter: &'a RateLimiter,
    /// Whether a response without its list was logged.
    pub warned: &'a AtomicBool,
    /// How many items to request; it becomes smaller if the API cannot return that many.
    size: Option<u64>,
    /// The number of items on the last page.
    last_count: Option<u64>,
    is_first_page: bool,
    /// The time in the query.
    pub since: Option<Value>,
}

/// A page, or what could be read of it.
pub struct PageRead {
    pub items: Vec<Value>,
    pub unreadable: Vec<Unreadable>,
    /// The page after this one.
    pub next: Option<PageRequest>,
}

/// A part of the list that the API cannot return.
pub struct Unreadable {
    /// Its place in the list, such as `the item after 41 others`.
    pub place: String,
    /// How many items of the page are before it.
    pub items_before: usize,
    pub error: anyhow::Error,
}

/// A range of a numbered list, in items or in pages.
#[derive(Clone, Copy)]
enum Unit {
    /// Offsets count items; the request has an offset, or the number of a page of this size.
    Items,
    /// Offsets count pages of an unknown size.
    Pages,
}

impl Unit {
    /// What was not read of a range that begins at `offset`.
    fn unreadable(self, offset: u64, at: Vec<(u64, anyhow::Error)>) -> Vec<Unreadable> {
        let place = |at: u64| match self {
            Self::Items => format!("the item after {at} others"),
            Self::Pages => format!("page {at}"),
        };
        let unreadable = at.into_iter().enumerate();
        unreadable
            .map(|(unreadable_before, (at, error))| Unreadable {
                place: place(at),
                items_before: (at - offset) as usize - unreadable_before,
                error,
            })
            .collect()
    }
}

impl<'a> PageReader<'a> {
    pub fn new(
        cx: &'a Context<Config, Value>,
        limiter: &'a RateLimiter,
        warned: &'a AtomicBool,
    ) -> Self {
        Self {
            cx,
            limiter,
            warned,
            size: cx.config.page_size,
            last_count: None,
            is_first_page: true,
            since: None,
        }
    }

    /// Reads a page. Returns `None` if nothing has changed, or if the list has ended.
    ///
    /// # Errors
    /// Returns an error if the page cannot be read, and cannot be read around.
    pub async fn read(
        &mut self,
        request: &PageRequest,
        paging: &Paging,
    ) -> anyhow::Result<Option<PageRead>> {
        self.is_first_page = *request == paging.first();
        let read = match self.fetch_whole(request, self.size).await {
            Ok(page) => {
                // One page was too large, and the next ones need not be.
                let usual = self.cx.config.page_size;
                self.size = self.size.map(|size| size * 2).min(usual);
                page.map(|page| page_read(request, paging, page))
                    .transpose()?
            }
            Err(error) if !is_about_content(&error) => return Err(error),
            Err(error) => self.read_despite(request, paging, error).await?,
        };
        self.last_count = read.as_ref().map(|read| read.items.len() as u64);
        Ok(read)
    }

    /// Whether the last page had fewer items than were requested.
    fn is_after_short_page(&self) -> bool {
        self.size
            .zip(self.last_count)
            .is_some_and(|(size, count)| count < size)
    }

    /// Reads a page that the API has failed to return: in parts if a request can name them, and otherwise as a smaller
    /// page.
    async fn read_despite(
        &mut self,
        request: &PageRequest,
        paging: &Paging,
        error: anyhow::Error,
    ) -> anyhow::Result<Option<PageRead>> {
        tracing::warn!(
            code = "page-unreadable",
            "A page cannot be read; smaller parts are requested: {error:#}"
        );
        if let Some((offset, count, unit)) = self.range(request, paging) {
            return self
                .read_parts(offset, count, unit, paging, error)
                .await
                .map(Some);
        }
        if !self.can_shrink(paging) {
            return Err(error);
        }
        let mut size = self.size;
        while let Some(smaller) = size.map(|size| size / 2).filter(|size| *size > 0) {
            size = Some(smaller);
            let Some(request) = self.resized(request, smaller) else {
                break;
            };
            match self.fetch_whole(&request, size).await {
                Ok(page) => {
                    self.size = size;
                    return page
                        .map(|page| page_read(&request, paging, page))
                        .transpose();
                }
                Err(error) if !is_about_content(&error) => return Err(error),
                Err(_) => {}
            }
        }
        Err(error)
    }

    /// Whether a smaller page loses nothing: either another page follows it, or the next poll begins after its last change.
    fn can_shrink(&self, paging: &Paging) -> bool {
        let config = &self.cx.config;
        let has_since = config.since_parameter.is_some() || config.since_header.is_some();
        *paging != Paging::Single || (config.is_sorted && has_since)
    }

    /// The range of a numbered page.
    fn range(&self, request: &PageRequest, paging: &Paging) -> Option<(u64, u64, Unit)> {
        let PageRequest::Number(number) = request else {
            return None;
        };
        match (paging, self.size) {
            (Paging::PageNumber { first }, Some(size)) => Some((
                number.checked_sub(*first)?.checked_mul(size)?,
                size,
                Unit::Items,
            )),
            (Paging::PageNumber { .. }, None) => Some((*number, 1, Unit::Pages)),
            // The API may return fewer items than requested.
            (Paging::Offset, size) => {
                let last = self.last_count.filter(|count| *count > 0);
                let count = size.into_iter().chain(last).min()?;
                Some((*number, count, Unit::Items))
            }
            _ => None,
        }
    }

    async fn read_parts(
        &self,
        offset: u64,
        count: u64,
        unit: Unit,
        paging: &Paging,
        error: anyhow::Error,
    ) -> anyhow::Result<PageRead> {
        let number = |offset: u64, count: u64| match (unit, paging) {
            (Unit::Items, Paging::PageNumber { first }) => first + offset / count,
            _ => offset,
        };
        let sizes = Mutex::new(Vec::new());
        let fetch = |offset: u64, count: u64| {
            let size = matches!(unit, Unit::Items).then_some(count);
            let request = PageRequest::Number(number(offset, count));
            let sizes = &sizes;
            async move {
                let page = self.fetch_whole(&request, size).await?;
                let items = page.map(|page| page.items).unwrap_or_default();
                ensure!(
                    items.len() as u64 <= count || matches!(unit, Unit::Pages),
                    "a page cannot be read in parts, because the API returned {} items instead of {count}: set \
                     `pageSizeParameter` to the parameter that says how many",
                    items.len()
                );
                let mut sizes = sizes.lock().unwrap_or_else(PoisonError::into_inner);
                sizes.push((count, items.len() as u64));
                anyhow::Ok(items)
            }
        };
        let around = read_around(offset, count, error, fetch, is_about_content).await?;
        let sizes = sizes.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let (Unit::Items, Some(most)) = (unit, most_items(&sizes)) {
            bail!(
                "a page cannot be read in parts, because the API returns no more than {most} items: set `pageSize` to {most}"
            );
        }
        Ok(PageRead {
            unreadable: unit.unreadable(offset, around.unreadable),
            items: around.items,
            next: Some(PageRequest::Number(number(offset + count, count))),
        })
    }

    /// The same page with fewer items; `None` if its URL does not say how many.
    fn resized(&self, request: &PageRequest, size: u64) -> Option<PageRequest> {
        let PageRequest::Url(url) = request else {
            return Some(request.clone());
        };
        let parameter = self.cx.config.page_size_parameter();
        let has_size = url.query_pairs().any(|(name, _)| name == parameter);
        let mut resized = url.clone();
        resized
            .query_pairs_mut()
            .clear()
            .extend_pairs(url.query_pairs().map(|(name, value)| {
                if name == parameter {
                    (name, size.to_string().into())
                } else {
                    (name, value)
                }
            }));
        has_size.then_some(PageRequest::Url(resized))
    }

    /// Requests a page, again if the response breaks off: one lost connection says nothing about the items.
    async fn fetch_whole(
        &self,
        page: &PageRequest,
        size: Option<u64>,
    ) -> anyhow::Result<Option<ListPage>> {
        for _ in 1..MAX_INTERRUPTED {
            match self.fetch(page, size).await {
                Err(error) if is_interrupted(&error) => {}
                result => return result,
            }
        }
        self.fetch(page, size).await
    }

    /// Requests a page once. Returns `None` if nothing has changed, or if the list has ended. An API may return fewer items
    /// than requested on any page, so only the request for the page after it shows whether a short page was the last
    /// one.
    async fn fetch(
        &self,
        page: &PageRequest,
        size: Option<u64>,
    ) -> anyhow::Result<Option<ListPage>> {
        let config = &self.cx.config;
        let limit = config.requests_per_minute;
        self.limiter.acquire(&config.account, limit).await?;
        let since = self.since.as_ref();
        let (path, query) = config.address(page, size, since);
        let mut request = self.cx.oauth().get(&path).query(&query);
        if !config
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case(ACCEPT.as_str()))
        {
            request = request.header(ACCEPT.as_str(), "application/json");
        }
        for (name, value) in &config.headers {
            request = request.header(name, value);
        }
        if let Some((header, since)) = config.since_header.as_deref().zip(since) {
            let is_date = header.eq_ignore_ascii_case(IF_MODIFIED_SINCE.as_str());
            let value = if is_date {
                http_date(since)?
            } else {
                text_of(since)
            };
            request = request.header(header, &value);
        }
        let is_end = self.end_statuses(page);
        let response = request
            .accept(move |status| status.is_success() || is_end.contains(&status.as_u16()))
            .send()
            .await
            .map_err(|error| with_remedy(error, page))?;
        if is_end.contains(&response.status().as_u16()) {
            return Ok(None);
        }
        let (url, headers) = (response.url().clone(), response.headers().clone());
        let shown = format!("GET {}", api::without_query(&path));
        let mut body: Value = api::json(response, &shown, true).await?;
        let items = self.take_items(&mut body)?;
        Ok(Some(ListPage::new(url, headers, items, body)))
    }

    /// The statuses that say that there are no items: nothing has changed, or the page is beyond the last one. A page that the
    /// API has named itself exists, so there they are errors.
    fn end_statuses(&self, page: &PageRequest) -> &'static [u16] {
        let may_be_beyond = matches!(page, PageRequest::Number(_)) && self.is_after_short_page();
        match (self.is_first_page, may_be_beyond) {
            (true, _) => &[304],
            (false, true) => &[400, 404, 416, 422],
            (false, false) => &[],
        }
    }

    fn take_items(&self, body: &mut Value) -> anyhow::Result<Vec<Value>> {
        let list = self
            .cx
            .config
            .items_pointer
            .take_list(body, "itemsPointer")?;
        if list.is_missing && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                code = "list-missing",
                "A response has no list at `itemsPointer`, which counts as an empty list"
            );
        }
        Ok(list.items)
    }
}

fn page_read(request: &PageRequest, paging: &Paging, page: ListPage) -> anyhow::Result<PageRead> {
    let next = paging.after(request, &page, page.items.len() as u64)?;
    Ok(PageRead {
        next: next.map(|next| upgraded(next, &page.url)),
        items: page.items,
        unreadable: vec![],
    })
}

/// The same page over HTTPS, if the API is used over HTTPS: servers behind a proxy do not know that they are.
fn upgraded(next: PageRequest, current: &Url) -> PageRequest {
    match next {
        PageRequest::Url(mut url)
            if url.scheme() == "http"
                && current.scheme() == "https"
                && url.host_str() == current.host_str() =>
        {
            let port = url.port().or(current.port()).filter(|port| *port != 80);
            // Neither can fail between http and https.
            let _ = url.set_scheme("https").and_then(|()| url.set_port(port));
            PageRequest::Url(url)
        }
        next => next,
    }
}

/// Adds what the user can do if the API names a next page on another host.
fn with_remedy(error: Error, page: &PageRequest) -> anyhow::Error {
    let is_refused = matches!((&error, page), (Error::NotSent(_), PageRequest::Url(_)));
    let error = anyhow::Error::new(error);
    if is_refused {
        error.context("the API names a next page on another host: if that belongs to the API, add it to the credentials (`allowedOrigins`)")
    } else {
        error
    }
}

/// The most items that an API returns, if it returned fewer than requested and more of them later. `sizes` are those of
/// parts of a list: requested and returned.
fn most_items(sizes: &[(u64, u64)]) -> Option<u64> {
    let last = sizes.iter().rposition(|(_, returned)| *returned > 0)?;
    let short = sizes[..last].iter();
    let mut short = short.filter(|(requested, returned)| (1..*requested).contains(returned));
    let (_, most) = short.next()?;
    short.all(|(_, returned)| returned == most).then_some(*most)
}

/// Whether a response broke off.
fn is_interrupted(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<Error>();
    error.is::<ResponseError>() && matches!(cause, Some(Error::NoResponse { .. }))
}

/// Whether a request may have failed because of what the page contains: the API has a fault, or the response is too large
/// or broken.
fn is_about_content(error: &anyhow::Error) -> bool {
    if error.is::<ResponseError>() {
        return true;
    }
    error.downcast_ref().is_some_and(http::may_be_about_content)
}
