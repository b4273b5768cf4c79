//! Action "Bulk query": stores the results of a query as a CSV file in object storage, with a job of Bulk API 2.0.

use crate::{api::Api, bulk_job::Job, fields};
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{Stream, stream};
use reqwest::{Body, Response};
use sailor::{
    http::{PageGuard, PageLimits},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

const FILE_NAME: &str = "bulk_query.csv";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    #[serde(default, deserialize_with = "fields::checked")]
    include_deleted: bool,
    #[serde(default, deserialize_with = "fields::seconds")]
    timeout: Option<Duration>,
}

/// The query.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// SOQL, such as SELECT Id, Name FROM Account
    query: String,
}

/// The file with the results.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// URL of the CSV file, which is also the message's attachment.
    url: String,
}

/// Streams the results: they may be larger than the memory.
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
    let job: Job = api.post("jobs/query").json(&job).read_json().await?;
    let limit = cx.config.timeout.unwrap_or(DEFAULT_TIMEOUT);
    let job = job.wait_until_done(&api, "query", limit).await?;

    let path = format!("{}/results", job.path("query")?);
    // The first page is requested before the upload starts: its error is an error of the step.
    let first = Page::new(api.get(&path).send().await?, false);
    let rows = rows(api, path, first);
    let stored = storage
        .upload(Body::wrap_stream(rows), "text/csv")
        .await
        .context("the results")?;
    let url = stored.url.clone();
    cx.message(Message::new(Output { url }).with_attachment(FILE_NAME, stored.into()))
        .await
}

/// A page of results that is being read.
struct Page {
    response: Response,
    next: Option<String>,
    /// Whether the header row is still to be skipped: it was written with the first page.
    in_header: bool,
}

impl Page {
    fn new(response: Response, in_header: bool) -> Self {
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

/// The bytes of all pages, with one header row.
fn rows(api: Api, path: String, first: Page) -> impl Stream<Item = anyhow::Result<Bytes>> + Send {
    let guard = PageGuard::new(PageLimits::default());
    stream::try_unfold(
        (api, path, first, guard),
        async |(api, path, mut page, mut guard)| {
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
                            // There is no line end within the names of fields.
                            let Some(end) = chunk.iter().position(|byte| *byte == b'\n') else {
                                continue;
                            };
                            chunk = chunk.slice(end + 1..);
                            page.in_header = false;
                        }
                        return Ok(Some((chunk, (api, path, page, guard))));
                    }
                    (None, Some(locator)) => {
                        anyhow::ensure!(
                            guard.may_request(&locator, 1).await?,
                            "Salesforce names the part {locator:?} of the results twice"
                        );
                        let request = api.get(&path).query(&[("locator", &locator)]);
                        page = Page::new(request.send().await?, true);
                    }
                    (None, None) => return Ok(None),
                }
            }
        },
    )
}
