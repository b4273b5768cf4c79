//! Action "Bulk query": a query whose results become a CSV file in object storage, by a job of Bulk API 2.0.

use super::{
    api::{self, Api},
    bulk_job::Job,
    fields,
};
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::{Body, Response};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};
use std::time::Duration;

const FILE: &str = "bulk_query.csv";
const TIMEOUT: Duration = Duration::from_secs(600);

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::checked")]
    include_deleted: bool,
    #[serde(default, deserialize_with = "fields::seconds")]
    timeout: Option<Duration>,
}

/// What to ask.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// SOQL, such as SELECT Id, Name FROM Account
    query: String,
}

/// Where the results are.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// The address of the CSV file, which is the message's attachment too.
    url: String,
}

/// The results are streamed: they may be larger than the memory.
pub async fn bulk_query(
    message: Message<Input>,
    cx: Context<Config, Output>,
) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    anyhow::ensure!(
        !message.body.query.trim().is_empty(),
        "`query` is empty: it must be SOQL"
    );
    let operation = if cx.config.include_deleted {
        "queryAll"
    } else {
        "query"
    };
    let job = json!({ "operation": operation, "query": message.body.query, "contentType": "CSV" });
    let storage = cx.attachments()?;
    let job: Job = api::json(api.post("jobs/query").json(&job)).await?;
    let limit = cx.config.timeout.unwrap_or(TIMEOUT);
    let job = job.done(&api, "query", limit).await?;

    let path = format!("{}/results", job.path("query")?);
    // The first page is asked for here, where its refusal can be told.
    let first = Page::of(api::send(api.get(&path)).await?, false);
    let rows = rows(api, path, first);
    let stored = storage
        .upload(Body::wrap_stream(rows), "text/csv")
        .await
        .context("the results")?;
    let url = stored.url.clone();
    let attachment = Attachment {
        url: stored.url,
        content_type: Some(stored.content_type),
        size: stored.size,
        more: Map::new(),
    };
    cx.message(Message::new(Output { url }).with_attachment(FILE, attachment))
        .await
}

/// A page of results that is being read.
struct Page {
    response: Response,
    next: Option<String>,
    /// Still within a header row that was written with an earlier page.
    in_header: bool,
}

impl Page {
    fn of(response: Response, in_header: bool) -> Self {
        let locator = response
            .headers()
            .get("sforce-locator")
            .and_then(|locator| locator.to_str().ok());
        let next = locator
            .filter(|locator| !locator.is_empty() && *locator != "null")
            .map(str::to_owned);
        Self {
            response,
            next,
            in_header,
        }
    }
}

/// The bytes of all pages, the header row once.
fn rows(api: Api, path: String, first: Page) -> impl Stream<Item = anyhow::Result<Bytes>> + Send {
    stream::try_unfold((api, path, first), async |(api, path, mut page)| {
        loop {
            let chunk = page
                .response
                .chunk()
                .await
                .map_err(reqwest::Error::without_url)?;
            match (chunk, page.next.take()) {
                (Some(mut chunk), next) => {
                    page.next = next;
                    if page.in_header {
                        // Names of fields hold no line end.
                        let Some(end) = chunk.iter().position(|byte| *byte == b'\n') else {
                            continue;
                        };
                        chunk = chunk.slice(end + 1..);
                        page.in_header = false;
                    }
                    return Ok(Some((chunk, (api, path, page))));
                }
                (None, Some(locator)) => {
                    let request = api.get(&path).query(&[("locator", &locator)]);
                    page = Page::of(api::send(request).await?, true);
                }
                (None, None) => return Ok(None),
            }
        }
    })
}
