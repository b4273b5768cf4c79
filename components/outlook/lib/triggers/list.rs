//! Reads the pages of a list in the order of the last change, and reads around what Graph cannot return.

use super::change::{Fault, Gap, IDENTITY, id};
use crate::graph::{self, PageError};
use anyhow::ensure;
use jiff::Timestamp;
use reqwest::{StatusCode, Url};
use sailor::{
    http::{self, Around, ListPage, PageRequest, Paging, read_around},
    oauth2::{AuthorizedClient, Error},
    snapshot::Fingerprint,
};
use serde_json::Value;
use std::collections::HashSet;

/// How often a page is read again because the list has changed in the meantime.
const MAX_SHIFTS: usize = 5;
/// The fewest items that are read around: several bad ones can follow each other.
const MIN_AROUND: u64 = 16;
/// How often more items are read around, because all at the end of the range are bad.
const MAX_WIDER: u32 = 2;
/// How often something is requested before it counts as what Graph cannot return.
const ATTEMPTS: u32 = 3;

/// A list in Graph.
pub struct List<'a> {
    client: &'a AuthorizedClient,
    path: String,
    /// How many items to request; it becomes smaller if they are too large together.
    page_size: u64,
    /// A condition in addition to the time; empty for none.
    pub condition: &'static str,
    /// The id of the last item of the page before.
    last_id: Option<String>,
    /// The items of the pages since offset 0.
    met: HashSet<Fingerprint>,
    /// How many pages in a row had none that were not met; at most [`ATTEMPTS`].
    repeated: u32,
}

/// Where a page begins.
#[derive(Clone, Hash)]
pub enum Place {
    /// After this number of items.
    Offset(u64),
    /// At Graph's link, after this number of items. The last number is how many pages before it had nothing new: a page may
    /// be returned again, and then the link names this one a second time.
    Link(Url, u64, u32),
}

impl Place {
    /// How many items come before it.
    pub fn offset(&self) -> u64 {
        match self {
            Self::Offset(offset) | Self::Link(_, offset, _) => *offset,
        }
    }
}

/// What could be read of a page.
pub struct Page {
    pub items: Vec<Value>,
    pub unreadable: Vec<Fault>,
    pub next: Option<Place>,
}

impl<'a> List<'a> {
    pub fn new(client: &'a AuthorizedClient, path: String, page_size: u64) -> Self {
        Self {
            client,
            path,
            page_size,
            condition: "",
            last_id: None,
            met: HashSet::new(),
            repeated: 0,
        }
    }

    /// Reads a page of the items that changed at `from` or later.
    ///
    /// # Errors
    /// Returns an error if Graph returns neither the page nor parts of it.
    pub async fn read(&mut self, from: Timestamp, place: Place) -> anyhow::Result<Page> {
        if place.offset() == 0 {
            self.last_id = None;
            self.met.clear();
            self.repeated = 0;
        }
        let page = self.read_page(from, place).await?;
        if let Some(id) = page.items.last().and_then(id) {
            self.last_id = Some(id.to_owned());
        }
        Ok(page)
    }

    async fn read_page(&mut self, from: Timestamp, mut place: Place) -> anyhow::Result<Page> {
        let mut passes = Vec::new();
        loop {
            let error = match self.fetch(from, &place, self.page_size, "").await {
                Ok(page) => return Ok(self.page_of(page, place.offset())),
                Err(error) => error,
            };
            let offset = place.offset();
            match place {
                // A link can be wrong where a request for the same items works.
                Place::Link(..) if !is_busy(&error) => {}
                Place::Offset(_) if is_too_large(&error) && self.page_size > 1 => {
                    self.page_size = (self.page_size / 4).max(1);
                }
                Place::Offset(_) if self.is_about_content(&error).await => {
                    let (around, count) = self.read_around(from, offset, error).await?;
                    if let Some(page) = self
                        .settle(from, offset, around, count, &mut passes)
                        .await?
                    {
                        return Ok(page);
                    }
                    ensure!(passes.len() < MAX_SHIFTS, "{} changes too often", self.path);
                }
                _ => return Err(error),
            }
            place = Place::Offset(offset);
        }
    }

    /// A page that Graph has returned. One that repeats what came before it moves the offset by what is new on it.
    fn page_of(&mut self, page: ListPage, offset: u64) -> Page {
        let items = page.items.iter();
        let new = items.filter(|item| is_new(&mut self.met, item)).count() as u64;
        self.repeated = repeats(self.repeated, new);
        let next = link(&page, offset + new, self.repeated);
        Page {
            items: page.items,
            unreadable: vec![],
            next,
        }
    }

    /// Requests a page, or only the members in `select` of its items.
    async fn fetch(
        &self,
        from: Timestamp,
        place: &Place,
        size: u64,
        select: &str,
    ) -> anyhow::Result<ListPage> {
        let offset = match place {
            Place::Link(link, ..) => {
                return graph::page(self.client.get(link.as_str()), &self.path).await;
            }
            Place::Offset(offset) => *offset,
        };
        let and = if self.condition.is_empty() {
            ""
        } else {
            " and "
        };
        let filter = format!("lastModifiedDateTime ge {from}{and}{}", self.condition);
        let mut query = vec![
            ("$filter", filter),
            ("$orderby", "lastModifiedDateTime asc".to_owned()),
            ("$top", size.to_string()),
        ];
        if offset > 0 {
            query.push(("$skip", offset.to_string()));
        }
        if !select.is_empty() {
            query.push(("$select", select.to_owned()));
        }
        graph::page(self.client.get(&self.path).query(&query), &self.path).await
    }

    /// Requests exactly these items, with as many pages as Graph makes of them. Fewer are the end of the list, and so is a
    /// page that repeats the others several times.
    async fn range(
        &self,
        from: Timestamp,
        offset: u64,
        count: u64,
        select: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let (mut items, mut met) = (Vec::new(), HashSet::new());
        let mut repeated = 0;
        loop {
            let read = items.len() as u64;
            let place = Place::Offset(offset + read);
            let page = self.fetch(from, &place, count - read, select).await?;
            let is_last = page.items.is_empty() || link(&page, 0, 0).is_none();
            items.extend(page.items.into_iter().filter(|item| is_new(&mut met, item)));
            repeated = repeats(repeated, items.len() as u64 - read);
            if is_last || items.len() as u64 >= count || repeated == ATTEMPTS {
                return Ok(items);
            }
        }
    }

    /// The same, several times if it fails: the failure may be a passing one.
    async fn range_or_again(
        &self,
        from: Timestamp,
        offset: u64,
        count: u64,
        select: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let mut attempt = 1;
        loop {
            match self.range(from, offset, count, select).await {
                Err(error) if attempt < ATTEMPTS && may_be_about_content(&error) => attempt += 1,
                result => return result,
            }
        }
    }

    /// Reads the items from an offset on, except those that Graph cannot return. Returns the size of the range as well.
    async fn read_around(
        &self,
        from: Timestamp,
        offset: u64,
        mut error: anyhow::Error,
    ) -> anyhow::Result<(Around<Value, anyhow::Error>, u64)> {
        let mut count = self.page_size.max(MIN_AROUND);
        for wider in 0.. {
            let fetch = |offset, count| async move {
                match count {
                    1 => self.range_or_again(from, offset, 1, "").await,
                    _ => self.range(from, offset, count, "").await,
                }
            };
            error = match read_around(offset, count, error, fetch, may_be_about_content).await {
                Ok(around) => return Ok((around, count)),
                Err(error) => error,
            };
            if wider == MAX_WIDER || !self.is_about_content(&error).await {
                break;
            }
            count *= 2;
        }
        Err(error)
    }

    /// Names what was unreadable. Returns `None` if the list has changed while it was read: an item that disappears makes
    /// one after it be missed. `passes` are the items that were read by earlier attempts.
    async fn settle(
        &mut self,
        from: Timestamp,
        offset: u64,
        around: Around<Value, anyhow::Error>,
        count: u64,
        passes: &mut Vec<Vec<String>>,
    ) -> anyhow::Result<Option<Page>> {
        let Around {
            items, unreadable, ..
        } = around;
        let is_end = ((items.len() + unreadable.len()) as u64) < count;
        let ids: Vec<String> = items.iter().filter_map(id).map(str::to_owned).collect();
        let unreadable = match self.range_or_again(from, offset, count, IDENTITY).await {
            Ok(listed) => {
                let is_unread =
                    |item: &Value| id(item).is_some_and(|id| ids.iter().all(|read| read != id));
                let unread: Vec<Value> = listed.into_iter().filter(is_unread).collect();
                let is_shifted = unread.len() > unreadable.len();
                let faults = unread.iter().zip(unreadable);
                let faults = faults.map(|(item, (_, error))| Fault::unreadable(item, error));
                (!is_shifted).then(|| faults.collect())
            }
            Err(error) if !may_be_about_content(&error) => return Err(error),
            // Not even the ids can be read. Then two attempts must read the same items.
            Err(_) if passes.last() == Some(&ids) => {
                Some(self.unidentified(from, offset, &items, unreadable))
            }
            Err(_) => None,
        };
        passes.push(ids);
        if unreadable.is_some() {
            for item in &items {
                is_new(&mut self.met, item);
            }
        }
        Ok(unreadable.map(|unreadable| Page {
            items,
            unreadable,
            next: (!is_end).then_some(Place::Offset(offset + count)),
        }))
    }

    /// The faults of items of which not even the ids can be read.
    fn unidentified(
        &self,
        from: Timestamp,
        offset: u64,
        items: &[Value],
        unreadable: Vec<(u64, anyhow::Error)>,
    ) -> Vec<Fault> {
        // For each of them: how many items before it can be read.
        let offsets = unreadable.iter().enumerate();
        let indexes: Vec<usize> = offsets
            .map(|(others, (at, _))| (at - offset) as usize - others)
            .collect();
        let fault = |(at, (_, error)): (usize, (u64, anyhow::Error))| {
            let index = indexes[at];
            let is_beside = |other: &&usize| **other == index;
            let gap = Gap {
                from,
                after: items[..index].last().map_or(self.last_id.as_deref(), id),
                before: items.get(index).and_then(id),
                from_start: indexes[..at].iter().rev().take_while(is_beside).count(),
                from_end: indexes[at + 1..].iter().take_while(is_beside).count(),
            };
            Fault::unidentified(&self.path, &gap, error)
        };
        unreadable.into_iter().enumerate().map(fault).collect()
    }

    /// Whether an error is about what a page contains: Graph still answers a request for no items.
    async fn is_about_content(&self, error: &anyhow::Error) -> bool {
        may_be_about_content(error) && graph::is_available(self.client, &self.path).await
    }
}

/// The page after this one, which begins at `offset`.
fn link(page: &ListPage, offset: u64, repeated: u32) -> Option<Place> {
    match Paging::OData.after(&PageRequest::First, page, 0) {
        Ok(Some(PageRequest::Url(link))) => Some(Place::Link(link, offset, repeated)),
        Ok(_) => None,
        Err(_) => Some(Place::Offset(offset)),
    }
}

/// How many pages in a row had nothing new, after one with so many new items. At most [`ATTEMPTS`]: then a link that names
/// the same page again is the end.
fn repeats(before: u32, new: u64) -> u32 {
    if new > 0 { 0 } else { ATTEMPTS.min(before + 1) }
}

/// Adds an item to those that were met. Returns whether it was not among them.
fn is_new(met: &mut HashSet<Fingerprint>, item: &Value) -> bool {
    met.insert(match id(item) {
        Some(id) => Fingerprint::of(id),
        None => Fingerprint::of(&item.to_string()),
    })
}

fn is_too_large(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<PageError>();
    error.is_some_and(PageError::is_too_large)
}

/// Whether Graph is busy: it says when to try again.
fn is_busy(error: &anyhow::Error) -> bool {
    let Some(Error::Status {
        status,
        retry_after,
        ..
    }) = error.downcast_ref::<Error>()
    else {
        return false;
    };
    match *status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => retry_after.is_some(),
        _ => false,
    }
}

/// Whether a request may have failed because of what Graph returns.
fn may_be_about_content(error: &anyhow::Error) -> bool {
    if error.is::<PageError>() {
        return true;
    }
    match error.downcast_ref::<Error>() {
        Some(error @ Error::Status { .. }) => http::may_be_about_content(error),
        Some(Error::NoResponse { .. }) => true,
        _ => false,
    }
}
