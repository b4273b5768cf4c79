//! The results of queries, page by page, and their records as messages have them.

use crate::{
    api::{Api, Record},
    composite, soql,
};
use sailor::http::{PageGuard, PageLimits};
use serde::Deserialize;
use serde_json::Value;

/// One page of results.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub total_size: u64,
    #[serde(default)]
    next_records_url: Option<String>,
    #[serde(default)]
    pub records: Vec<Record>,
    /// The ids of the records, as far as Salesforce says them.
    #[serde(skip)]
    ids: Vec<Option<String>>,
}

/// A record, with its id although the query may not select it.
pub struct Item {
    pub id: Option<String>,
    pub record: Record,
}

impl Page {
    pub fn into_items(self) -> impl Iterator<Item = Item> {
        let records = self.ids.into_iter().zip(self.records);
        records.map(|(id, record)| Item { id, record })
    }
}

/// A query that is being read.
pub struct Pages<'a> {
    api: &'a Api,
    next: Next,
    guard: PageGuard,
    /// The number of records so far.
    read: u64,
    include_deleted: bool,
    page_size: Option<usize>,
    counts: bool,
}

enum Next {
    Query(String),
    More(String),
    End,
}

impl<'a> Pages<'a> {
    pub fn query(api: &'a Api, soql: impl Into<String>) -> Self {
        Self {
            api,
            next: Next::Query(soql.into()),
            guard: PageGuard::new(PageLimits::default()),
            read: 0,
            include_deleted: false,
            page_size: None,
            counts: false,
        }
    }

    /// With deleted and archived records.
    pub fn include_deleted(mut self, include_deleted: bool) -> Self {
        self.include_deleted = include_deleted;
        self
    }

    /// How many records a page should have. Salesforce accepts 200 to 2000, and may return another number.
    pub fn page_size(mut self, records: Option<usize>) -> Self {
        self.page_size = records;
        self
    }

    /// With one record, `{"totalSize": …}`, as the result of `COUNT()`. Salesforce returns the number alone.
    pub fn with_count(mut self) -> Self {
        self.counts = true;
        self
    }

    /// The next page; none after the last one.
    ///
    /// # Errors
    /// Returns the errors of the requests, and an error if the pages do not end.
    pub async fn next(&mut self) -> anyhow::Result<Option<Page>> {
        let options = self
            .page_size
            .map(|size| format!("batchSize={}", size.clamp(200, 2000)));
        let options = options.as_deref();
        let mut page: Page = match &self.next {
            Next::End => return Ok(None),
            Next::Query(soql) => {
                let resource = if self.include_deleted {
                    "queryAll"
                } else {
                    "query"
                };
                let mut page: Page = composite::query(self.api, resource, soql, options).await?;
                if self.counts && soql::is_count(soql) {
                    page.records.push(count(page.total_size));
                }
                page
            }
            Next::More(path) => {
                let request = self.api.get(path);
                let request = options.into_iter().fold(request, |request, options| {
                    request.header(composite::OPTIONS, options)
                });
                request.read_json().await?
            }
        };
        page.ids = page.records.iter().map(id_of).collect();
        for record in &mut page.records {
            simplify(self.api, record).await?;
        }
        self.advance(&mut page).await?;
        Ok(Some(page))
    }

    /// Moves to the page after this one.
    async fn advance(&mut self, page: &mut Page) -> anyhow::Result<()> {
        let count = page.records.len();
        self.read += count as u64;
        self.next = Next::End;
        let Some(path) = page.next_records_url.take() else {
            return Ok(());
        };
        if self.guard.may_request(&path, count).await? {
            self.next = Next::More(path);
            return Ok(());
        }
        // A page that was read before is the end, if nothing is missing.
        anyhow::ensure!(
            self.read >= page.total_size,
            "Salesforce names {path} as the next page twice: {} of {} records were read",
            self.read,
            page.total_size
        );
        Ok(())
    }

    /// The first records, at most `limit`.
    pub async fn first(self, limit: usize) -> anyhow::Result<Vec<Record>> {
        self.range(0, limit).await
    }

    /// The first records with their ids, at most `limit`.
    pub async fn items(mut self, limit: usize) -> anyhow::Result<Vec<Item>> {
        let mut items = Vec::new();
        while items.len() < limit
            && let Some(page) = self.next().await?
        {
            items.extend(page.into_items());
        }
        items.truncate(limit);
        Ok(items)
    }

    /// The records behind the first `skip`, at most `limit`. Skipped records are dropped as they arrive.
    pub async fn range(mut self, mut skip: usize, limit: usize) -> anyhow::Result<Vec<Record>> {
        let mut records = Vec::new();
        while records.len() < limit
            && let Some(mut page) = self.next().await?
        {
            let skipped = skip.min(page.records.len());
            skip -= skipped;
            records.extend(page.records.drain(skipped..));
        }
        records.truncate(limit);
        Ok(records)
    }
}

/// The id of a record: its field, or the end of its address.
fn id_of(record: &Record) -> Option<String> {
    let address = || {
        record
            .get("attributes")?
            .get("url")?
            .as_str()?
            .rsplit('/')
            .next()
    };
    let id = record.get("Id").and_then(Value::as_str).or_else(address)?;
    // Records of some objects have no id of their own: their address ends with zeros.
    Some(id.to_owned()).filter(|id| !id.is_empty() && !id.starts_with("000000000000000"))
}

fn count(total_size: u64) -> Record {
    Record::from_iter([("totalSize".to_owned(), total_size.into())])
}

/// Removes `attributes`, and turns child records into plain lists of all their pages.
async fn simplify(api: &Api, record: &mut Record) -> anyhow::Result<()> {
    for children in record
        .values_mut()
        .filter(|value| value.get("records").is_some())
    {
        let mut guard = PageGuard::new(PageLimits::default());
        let mut last = 1;
        while let Some(Value::String(path)) = children.get_mut("nextRecordsUrl").map(Value::take)
            && guard.may_request(&path, last).await?
        {
            let mut more: Record = api.get(&path).read_json().await?;
            children["nextRecordsUrl"] = more.remove("nextRecordsUrl").unwrap_or_default();
            if let (Value::Array(all), Some(Value::Array(next))) =
                (&mut children["records"], more.remove("records"))
            {
                last = next.len();
                all.extend(next);
            }
        }
    }
    strip(record);
    Ok(())
}

fn strip(record: &mut Record) {
    record.remove("attributes");
    for value in record.values_mut() {
        if let Some(children) = value.get_mut("records").map(Value::take) {
            *value = children;
        }
        match value {
            Value::Object(parent) => strip(parent),
            Value::Array(children) => children
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(strip),
            _ => {}
        }
    }
}
