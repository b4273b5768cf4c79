//! Records in a fixed order, read in parts behind a position, and around those that Salesforce cannot return.

use crate::{
    api::{self, Api, Record},
    pages::{Item, Pages},
    position::{Order, Position},
};
use anyhow::Context as _;
use serde_json::Value;

/// The most requests in a row that may fail: then Salesforce itself is at fault.
const MAX_FAILURES: usize = 20;

/// The longest id or time that a position has, in bytes: real ones have less than 30.
const MAX_TEXT: usize = 100;

/// How often a single record is requested whose response breaks off.
const MAX_TRIES: usize = 3;

/// The records of an object that meet some conditions, in an order.
pub struct SortedList<'a> {
    pub api: &'a Api,
    pub select: String,
    pub from: String,
    pub conditions: Vec<String>,
    pub order: Order,
}

/// One record of the list.
#[derive(Debug)]
pub struct Entry {
    /// Its id; none if Salesforce does not say it.
    pub id: Option<String>,
    /// The position behind it; none if Salesforce does not return what the order needs.
    pub position: Option<Position>,
    pub content: Content,
}

impl Entry {
    /// A record of a list in another order.
    pub fn of(item: Item) -> Self {
        Self {
            id: item.id,
            position: None,
            content: Content::Record(item.record),
        }
    }
}

#[derive(Debug)]
pub enum Content {
    Record(Record),
    /// Salesforce cannot return the record, for this reason.
    Unreadable(anyhow::Error),
}

/// A part of the list.
pub struct Part {
    pub entries: Vec<Entry>,
    /// Whether it reaches the end of the list.
    pub is_last: bool,
}

impl SortedList<'_> {
    /// Reads the next records behind a position, at most `count`, and around those that Salesforce cannot return.
    ///
    /// # Errors
    /// Returns an error if the list cannot be read for another reason than the content of some records.
    pub async fn read(&self, behind: &Position, count: usize) -> anyhow::Result<Part> {
        match self.fetch(&self.select, behind, 0, count).await {
            Ok(entries) => Ok(Part {
                is_last: entries.len() < count,
                entries,
            }),
            Err(error) if api::is_about_content(&error) => {
                tracing::warn!(
                    code = "page-unreadable",
                    "Records cannot be read; smaller parts are requested: {error:#}"
                );
                self.read_around(behind, count).await
            }
            Err(error) => Err(error),
        }
    }

    /// Reads smaller and smaller parts. A record counts as unreadable only if a request behind it succeeds.
    async fn read_around(&self, behind: &Position, count: usize) -> anyhow::Result<Part> {
        // This fails if Salesforce itself is at fault.
        let left = self.count(behind, None, count).await?;
        let mut reader = Around {
            list: self,
            behind: behind.clone(),
            skip: 0,
            size: left.div_ceil(2),
            failures: 0,
            tries: 0,
            entries: vec![],
        };
        while reader.entries.len() < count || reader.failures > 0 {
            if reader.step(count).await? {
                return Ok(Part {
                    entries: reader.entries,
                    is_last: true,
                });
            }
        }
        Ok(Part {
            entries: reader.entries,
            is_last: false,
        })
    }

    /// Requests records behind a position and others that are skipped.
    async fn fetch(
        &self,
        select: &str,
        behind: &Position,
        skip: usize,
        count: usize,
    ) -> anyhow::Result<Vec<Entry>> {
        let mut query = self.query(select, behind, None)?;
        query += &format!(" ORDER BY {} LIMIT {count}", self.order.fields());
        if skip > 0 {
            query += &format!(" OFFSET {skip}");
        }
        let items = Pages::query(self.api, query).items(count).await?;
        Ok(items.into_iter().map(|item| self.entry(item)).collect())
    }

    /// The number of records behind a position that meet one more condition, up to `limit`.
    async fn count(
        &self,
        behind: &Position,
        more: Option<String>,
        limit: usize,
    ) -> anyhow::Result<usize> {
        let query = self.query("COUNT()", behind, more)?;
        let query = format!("{query} LIMIT {limit}");
        let page = Pages::query(self.api, query).next().await?;
        Ok(page.map_or(0, |page| page.total_size as usize))
    }

    fn query(
        &self,
        select: &str,
        behind: &Position,
        more: Option<String>,
    ) -> anyhow::Result<String> {
        let behind = behind
            .condition(self.order)
            .context("the step's snapshot; reset it on the platform")?;
        let conditions: Vec<String> = behind
            .into_iter()
            .chain(self.conditions.iter().cloned())
            .chain(more)
            .collect();
        let mut query = format!("SELECT {select} FROM {}", self.from);
        if !conditions.is_empty() {
            query += &format!(" WHERE {}", conditions.join(" AND "));
        }
        Ok(query)
    }

    fn entry(&self, Item { id, record }: Item) -> Entry {
        let time = record.get("LastModifiedDate").and_then(Value::as_str);
        let position = match (self.order, &id, time) {
            (Order::Id, Some(id), _) => Some(Position::after("", id)),
            (Order::Change, Some(id), Some(time)) if id.len().max(time.len()) <= MAX_TEXT => {
                Some(Position::after(time, id))
                    .filter(|position| position.condition(self.order).is_ok())
            }
            _ => None,
        };
        Entry {
            id,
            position,
            content: Content::Record(record),
        }
    }
}

/// A part of a list that is being read around.
struct Around<'a, 'b> {
    list: &'a SortedList<'b>,
    behind: Position,
    /// The unreadable records behind the position.
    skip: usize,
    size: usize,
    /// The requests in a row that have failed.
    failures: usize,
    /// The requests for the next record alone that have failed.
    tries: usize,
    entries: Vec<Entry>,
}

impl Around<'_, '_> {
    /// Requests the next records. Returns true at the end of the list.
    async fn step(&mut self, count: usize) -> anyhow::Result<bool> {
        let left = count.saturating_sub(self.entries.len()).max(1);
        let size = self.size.clamp(1, left);
        let list = self.list;
        match list
            .fetch(&list.select, &self.behind, self.skip, size)
            .await
        {
            Ok(entries) => {
                self.check_skipped(&entries).await?;
                let is_last = entries.len() < size;
                (self.failures, self.tries, self.size) = (0, 0, size * 2);
                let last = entries.iter().rposition(|entry| entry.position.is_some());
                if let Some(last) = last {
                    self.skip = entries.len() - 1 - last;
                    self.behind = entries[last]
                        .position
                        .clone()
                        .unwrap_or_else(|| self.behind.clone());
                } else {
                    self.skip += entries.len();
                }
                self.entries.extend(entries);
                Ok(is_last)
            }
            Err(error) if self.failures >= MAX_FAILURES || !api::is_about_content(&error) => {
                Err(error)
            }
            Err(error) => {
                self.failures += 1;
                self.size = size / 2;
                self.tries += usize::from(size == 1);
                // A connection that breaks once says nothing about the record.
                if size == 1 && (self.tries == MAX_TRIES || !api::is_interrupted(&error)) {
                    self.tries = 0;
                    self.pass_over(error).await?;
                }
                Ok(false)
            }
        }
    }

    /// Passes over the next record, which is named if Salesforce returns at least its id.
    async fn pass_over(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let fields = self.list.order.fields();
        let named = self.list.fetch(fields, &self.behind, self.skip, 1).await;
        let named = match named {
            Ok(entries) => entries.into_iter().next(),
            Err(other) if api::is_about_content(&other) => None,
            Err(other) => return Err(other),
        };
        let (id, position) = named.map_or((None, None), |entry| (entry.id, entry.position));
        match &position {
            Some(position) => {
                self.behind = position.clone();
                self.skip = 0;
            }
            None => self.skip += 1,
        }
        self.entries.push(Entry {
            id,
            position,
            content: Content::Unreadable(error),
        });
        Ok(())
    }

    /// Returns an error if other records than the unreadable ones were skipped: one of those may have changed meanwhile.
    async fn check_skipped(&self, entries: &[Entry]) -> anyhow::Result<()> {
        if self.skip == 0 {
            return Ok(());
        }
        let before = entries.iter().find_map(|entry| entry.position.as_ref());
        let before = before
            .map(|position| position.before(self.list.order))
            .transpose()?;
        let limit = self.skip + 1;
        let between = self.list.count(&self.behind, before, limit).await?;
        anyhow::ensure!(
            between == self.skip,
            "records have changed while others were passed over; the next poll reads them again"
        );
        Ok(())
    }
}
