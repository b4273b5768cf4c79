//! The results of queries, page by page, and their records as messages have them.

use crate::api::{self, Api, Record};
use serde::Deserialize;
use serde_json::Value;

/// One page of results.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    pub total_size: u64,
    #[serde(default)]
    next_records_url: Option<String>,
    pub records: Vec<Record>,
}

/// A query that is being read.
pub struct Pages<'a> {
    api: &'a Api,
    next: Next,
    include_deleted: bool,
    page_size: Option<usize>,
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
            include_deleted: false,
            page_size: None,
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

    /// The next page; none after the last one.
    pub async fn next(&mut self) -> anyhow::Result<Option<Page>> {
        let request = match &self.next {
            Next::Query(soql) => self
                .api
                .get(if self.include_deleted {
                    "queryAll"
                } else {
                    "query"
                })
                .query(&[("q", soql)]),
            Next::More(path) => self.api.get(path),
            Next::End => return Ok(None),
        };
        let request = match self.page_size {
            Some(size) => request.header(
                "Sforce-Query-Options",
                &format!("batchSize={}", size.clamp(200, 2000)),
            ),
            None => request,
        };
        let mut page: Page = api::json(request).await?;
        for record in &mut page.records {
            simplify(self.api, record).await?;
        }
        self.next = page.next_records_url.take().map_or(Next::End, Next::More);
        Ok(Some(page))
    }

    /// The first records, at most `limit`.
    pub async fn first(self, limit: usize) -> anyhow::Result<Vec<Record>> {
        self.range(0, limit).await
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

/// Removes `attributes`, and turns child records into plain lists of all their pages.
async fn simplify(api: &Api, record: &mut Record) -> anyhow::Result<()> {
    for children in record
        .values_mut()
        .filter(|value| value.get("records").is_some())
    {
        while let Some(Value::String(path)) = children.get_mut("nextRecordsUrl").map(Value::take) {
            let mut more: Record = api::json(api.get(&path)).await?;
            children["nextRecordsUrl"] = more.remove("nextRecordsUrl").unwrap_or_default();
            if let (Value::Array(all), Some(Value::Array(next))) =
                (&mut children["records"], more.remove("records"))
            {
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
