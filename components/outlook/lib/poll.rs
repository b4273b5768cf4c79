//! Lists ordered by the time of the last change, read from where the last poll ended.
//!
//! Graph tells times in whole seconds, and several items may have the same one. So a position is a time and the items
//! of that time that are done: the next poll asks from that very time on and leaves out what is done. Items that change
//! while pages are read move to the end of the list, and all others move up; so a next page is asked for by time as
//! well. Only within one moment of more items than a page has Graph's link leads on; what moves up past its pages is
//! found by reading that moment again, until it has nothing new.

use super::graph::{self, Item};
use anyhow::Context as _;
use jiff::Timestamp;
use sailor::oauth2::AuthorizedClient;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How far polling has come. The Node component's snapshots hold the first member alone, which means the same.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    last_modified_date_time: Timestamp,
    /// Ids of items that last changed at this time and are done, with the version that was emitted.
    #[serde(default)]
    seen: BTreeMap<String, String>,
}

impl Position {
    /// Everything that changed from this time on is new.
    pub fn from(time: Timestamp) -> Self {
        Self {
            last_modified_date_time: time,
            seen: BTreeMap::new(),
        }
    }

    fn is_new(&self, change: &Change) -> bool {
        self.seen.get(&change.id) != Some(&change.version)
    }

    /// Moves past an item.
    fn pass(&mut self, change: &Change) {
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
    fn of(item: Item) -> anyhow::Result<Self> {
        let text = |name: &str| item.get(name).and_then(|value| value.as_str());
        let id = text("id")
            .context("Graph gave an item without `id`")?
            .to_owned();
        let at = text("lastModifiedDateTime").and_then(|at| at.parse().ok());
        let at = at.with_context(|| {
            format!("Graph gave item {id} without a time in `lastModifiedDateTime`")
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
    /// `$top`.
    per_page: u32,
    /// What the filter asks for beside the time.
    only: &'static str,
    position: Position,
    last: Option<LastPage>,
}

/// The page before the next.
struct LastPage {
    /// The time that it was asked from.
    from: Timestamp,
    next: Option<String>,
    /// New items of that time were found on pages that only links led to.
    found: bool,
}

impl<'a> Changes<'a> {
    /// The changes of the list at `path`.
    pub fn new(
        client: &'a AuthorizedClient,
        path: String,
        per_page: u32,
        position: Position,
    ) -> Self {
        Self {
            client,
            path,
            per_page,
            only: "",
            position,
            last: None,
        }
    }

    /// Leaves out what does not fit this as well, such as `isRead eq false`.
    pub fn only(mut self, filter: &'static str) -> Self {
        self.only = filter;
        self
    }

    /// Up to where everything is done.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Says that this change is done with: polling goes on after it.
    pub fn done(&mut self, change: &Change) {
        self.position.pass(change);
    }

    /// The next changes, oldest first; none when there are no more. All of those before must be [done](Self::done).
    ///
    /// # Errors
    /// When Graph does not give a page.
    pub async fn next(&mut self) -> anyhow::Result<Option<Vec<Change>>> {
        for _ in 0..graph::MOST_PAGES {
            let from = self.position.last_modified_date_time;
            let (page, by_link, mut found) = match self.last.take() {
                Some(LastPage {
                    from: asked,
                    next: Some(link),
                    found,
                }) if asked == from => (
                    graph::next_page::<Item>(self.client, &link).await?,
                    true,
                    found,
                ),
                Some(LastPage {
                    next: None,
                    found: false,
                    ..
                }) => return Ok(None),
                _ => (
                    graph::first_page(self.client, &self.path, &self.query(from)).await?,
                    false,
                    false,
                ),
            };
            let changes = page
                .value
                .into_iter()
                .map(Change::of)
                .collect::<Result<Vec<_>, _>>()?;
            let mut changes: Vec<_> = changes
                .into_iter()
                .filter(|change| self.position.is_new(change))
                .collect();
            found |= by_link && changes.iter().any(|change| change.at <= from);
            let mut next = page.next;
            if found && changes.iter().any(|change| change.at > from) {
                // Before a later time, the moment is read again from its start.
                changes.retain(|change| change.at <= from);
                next = None;
            }
            self.last = Some(LastPage { from, next, found });
            if !changes.is_empty() {
                return Ok(Some(changes));
            }
        }
        anyhow::bail!(
            "GET {} has no end: Graph named a next page {} times",
            self.path,
            graph::MOST_PAGES
        )
    }

    fn query(&self, from: Timestamp) -> [(&'static str, String); 3] {
        let and = if self.only.is_empty() { "" } else { " and " };
        [
            (
                "$filter",
                format!("lastModifiedDateTime ge {from}{and}{}", self.only),
            ),
            ("$orderby", "lastModifiedDateTime asc".to_owned()),
            ("$top", self.per_page.to_string()),
        ]
    }
}
