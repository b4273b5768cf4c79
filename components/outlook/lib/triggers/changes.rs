//! Lists in the order of the last change, read from where the last poll ended.
//!
//! Graph's times are whole seconds, and several items can have the same one. So a position is a time and the items of
//! that time that were emitted: the next poll asks from that time on, and skips those items.
//!
//! An item that changes while pages are read moves to the end of the list, and all others move up. So the next page is
//! requested by time as well. Graph's link is used only if items of the same time fill more than one page. An item that
//! moves up past these pages is found by reading that time again, until it has nothing new.

use crate::graph::{self, Item, Page};
use anyhow::Context as _;
use jiff::Timestamp;
use sailor::oauth2::AuthorizedClient;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far polling has come. Snapshots of the Node component have the first member only, which means the same.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    last_modified_date_time: Timestamp,
    /// The emitted items of this time: their ids, with the version that was emitted.
    #[serde(default)]
    seen: BTreeMap<String, String>,
}

impl Position {
    /// All items that changed at this time or later are new.
    pub fn from(time: Timestamp) -> Self {
        Self {
            last_modified_date_time: time,
            seen: BTreeMap::new(),
        }
    }

    fn is_new(&self, change: &Change) -> bool {
        self.seen.get(&change.id) != Some(&change.version)
    }

    fn advance(&mut self, change: &Change) {
        if change.at > self.last_modified_date_time {
            *self = Self::from(change.at);
        }
        self.seen.insert(change.id.clone(), change.version.clone());
    }
}

/// An item that is new or has changed.
pub struct Change {
    pub item: Item,
    pub id: String,
    version: String,
    at: Timestamp,
}

impl Change {
    fn from_item(item: Item) -> anyhow::Result<Self> {
        let text = |name: &str| item.get(name).and_then(|value| value.as_str());
        let id = text("id")
            .context("Graph returned an item without `id`")?
            .to_owned();
        let at = text("lastModifiedDateTime").and_then(|at| at.parse().ok());
        let at = at.with_context(|| {
            format!("Graph returned item {id} without a time in `lastModifiedDateTime`")
        })?;
        let version = text("changeKey").unwrap_or_default().to_owned();
        Ok(Self {
            id,
            version,
            at,
            item: graph::without_annotations(item),
        })
    }
}

/// The changes of one list since a position.
pub struct Changes<'a> {
    client: &'a AuthorizedClient,
    path: String,
    page_size: u32,
    /// A condition in addition to the time; empty for none.
    condition: &'static str,
    position: Position,
    last: Option<LastPage>,
}

/// The page before the next one.
struct LastPage {
    /// The time that it was requested from.
    from: Timestamp,
    next: Option<String>,
    /// Whether a page behind a link had new items of that time.
    link_had_new: bool,
}

/// A page of the list, as it was requested.
struct Requested {
    page: Page<Item>,
    is_linked: bool,
    link_had_new: bool,
}

impl<'a> Changes<'a> {
    /// The changes of the list at `path`.
    pub fn new(
        client: &'a AuthorizedClient,
        path: String,
        page_size: u32,
        position: Position,
    ) -> Self {
        Self {
            client,
            path,
            page_size,
            condition: "",
            position,
            last: None,
        }
    }

    /// Only items that match this filter as well, such as `isRead eq false`.
    pub fn filtered(mut self, condition: &'static str) -> Self {
        self.condition = condition;
        self
    }

    /// The position behind the last emitted change.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Moves the position past a change.
    pub fn mark_emitted(&mut self, change: &Change) {
        self.position.advance(change);
    }

    /// The next changes, oldest first; none at the end. All changes before them must be [marked](Self::mark_emitted).
    ///
    /// # Errors
    /// Returns an error if Graph does not return a page.
    pub async fn next_page(&mut self) -> anyhow::Result<Option<Vec<Change>>> {
        for _ in 0..graph::MAX_PAGES {
            let from = self.position.last_modified_date_time;
            let Some(requested) = self.request(from).await? else {
                return Ok(None);
            };
            let changes = self.new_changes(requested, from)?;
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        Err(graph::too_many_pages(&self.path))
    }

    /// The page behind the last one: at its link if the time is still the same, otherwise by time.
    async fn request(&mut self, from: Timestamp) -> anyhow::Result<Option<Requested>> {
        let mut link_had_new = false;
        let mut link = None;
        if let Some(last) = self.last.take() {
            if last.next.is_none() && !last.link_had_new {
                return Ok(None);
            }
            if last.from == from && last.next.is_some() {
                (link, link_had_new) = (last.next, last.link_had_new);
            }
        }
        let is_linked = link.is_some();
        let page = match link {
            Some(link) => graph::next_page(self.client, &link).await?,
            None => graph::first_page(self.client, &self.path, &self.query(from)).await?,
        };
        Ok(Some(Requested {
            page,
            is_linked,
            link_had_new,
        }))
    }

    /// The new items on a page that may be emitted now.
    fn new_changes(
        &mut self,
        requested: Requested,
        from: Timestamp,
    ) -> anyhow::Result<Vec<Change>> {
        let Page { value, mut next } = requested.page;
        let changes: Vec<Change> = value
            .into_iter()
            .map(Change::from_item)
            .collect::<anyhow::Result<_>>()?;
        let mut changes: Vec<Change> = changes
            .into_iter()
            .filter(|change| self.position.is_new(change))
            .collect();
        let is_of_this_time = |change: &Change| change.at <= from;
        let link_had_new =
            requested.link_had_new || (requested.is_linked && changes.iter().any(is_of_this_time));
        if link_had_new && !changes.iter().all(is_of_this_time) {
            // Before a later time begins, this one is read again from its start.
            changes.retain(is_of_this_time);
            next = None;
        }
        self.last = Some(LastPage {
            from,
            next,
            link_had_new,
        });
        Ok(changes)
    }

    fn query(&self, from: Timestamp) -> [(&'static str, String); 3] {
        let and = if self.condition.is_empty() {
            ""
        } else {
            " and "
        };
        let filter = format!("lastModifiedDateTime ge {from}{and}{}", self.condition);
        [
            ("$filter", filter),
            ("$orderby", "lastModifiedDateTime asc".to_owned()),
            ("$top", self.page_size.to_string()),
        ]
    }
}
