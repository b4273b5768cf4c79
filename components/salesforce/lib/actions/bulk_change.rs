//! Action "Bulk create, update, delete or upsert": the rows of a CSV file, by a job of Bulk API 2.0.

use super::{
    api::{self, Api, Record},
    bulk_job::Job,
    csv, fields,
    soql::Name,
};
use anyhow::Context as _;
use bytes::Bytes;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Salesforce takes 150 MB in base64, which it makes of the file.
const LARGEST: usize = 100 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long a job's end is still waited for once the process is asked to stop.
const WHILE_STOPPING: Duration = Duration::from_secs(5);

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    operation: Operation,
    sobject: Name,
    #[serde(default, deserialize_with = "fields::seconds")]
    timeout: Option<Duration>,
}

/// What happens with the rows.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// They are created.
    Insert,
    /// They are changed, by `Id`.
    Update,
    /// They are deleted, by `Id`.
    Delete,
    /// They are changed or created, by an external id.
    Upsert,
}

impl Operation {
    /// Whether a second job with the same file changes nothing more.
    fn is_repeatable(self) -> bool {
        matches!(self, Self::Update | Self::Upsert)
    }
}

/// The file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Where the CSV file is; otherwise the message's first attachment is taken
    #[serde(default)]
    attachment_url: Option<String>,
    /// For upsert: the external id field
    #[serde(default)]
    ext_id_field: Option<String>,
}

/// What became of the rows.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// The job's id at Salesforce.
    #[serde(rename = "jobId")]
    job_id: String,
    /// An entry per row: first those that succeeded, then the others.
    result: Vec<Row>,
}

/// What became of a row.
#[derive(Serialize, JsonSchema)]
pub struct Row {
    /// The record's id; missing where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Whether it was done.
    success: bool,
    /// Whether the record is new.
    created: bool,
    /// Why it was not done.
    errors: Vec<String>,
    /// The row itself, where it was not done, or has made the record: there is no other way to tell which it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Record>,
}

/// Emits what became of each row; a job that fails as a whole is an error.
pub async fn bulk_change(
    message: Message<Input>,
    cx: Context<Config, Output>,
) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let Config {
        operation,
        sobject,
        timeout,
    } = &cx.config;
    let limit = timeout.unwrap_or(TIMEOUT);
    let named = message
        .body
        .attachment_url
        .clone()
        .filter(|url| !url.is_empty());
    let url = match named {
        Some(url) => Some(url),
        None => message
            .attachments
            .iter()
            .next()
            .transpose()?
            .map(|(_, attachment)| attachment.url),
    };
    let url =
        url.context("there is no CSV file: give `attachmentUrl`, or a message with an attachment")?;
    let mut job =
        json!({ "object": sobject.as_str(), "operation": operation, "contentType": "CSV" });
    if *operation == Operation::Upsert {
        let field = message
            .body
            .ext_id_field
            .as_deref()
            .and_then(|name| Name::new(name.trim()));
        let field =
            field.context("upsert needs `extIdField`: the API name of an external id field")?;
        job["externalIdFieldName"] = field.as_str().into();
    }
    let file = download(&cx, &url).await?;
    let ends_with_cr = file
        .iter()
        .position(|byte| *byte == b'\n')
        .is_some_and(|at| file[..at].ends_with(b"\r"));
    job["lineEnding"] = if ends_with_cr { "CRLF" } else { "LF" }.into();

    let job: Job = api::json(api.post("jobs/ingest").json(&job)).await?;
    let path = job.path("ingest")?;
    let id = job.id.clone();
    let result = async {
        let job = begin(&api, job, &path, file, limit)
            .await?
            .done(&api, "ingest", limit)
            .await?;
        results(&api, &job, &path).await
    };
    let result = tokio::select! {
        result = result => result?,
        // The message would go to another process, which would begin a second job.
        () = stopping(&cx), if !operation.is_repeatable() => anyhow::bail!(
            "the process was asked to stop while bulk job {id} goes on at Salesforce: see Setup, Bulk Data Load Jobs, \
             before this message is sent again"
        ),
    };
    cx.data(&Output { job_id: id, result }).await
}

async fn results(api: &Api, job: &Job, path: &str) -> anyhow::Result<Vec<Row>> {
    let mut result = vec![];
    for (kind, error) in [
        ("successfulResults", None),
        ("failedResults", Some("Salesforce gives no reason")),
        ("unprocessedrecords", Some("not processed")),
    ] {
        let text = job.results(api, &format!("{path}/{kind}")).await?;
        result.extend(
            csv::records(&text)
                .into_iter()
                .map(|record| row(record, error)),
        );
    }
    Ok(result)
}

async fn stopping(cx: &Context<Config, Output>) {
    cx.cancelled.cancelled().await;
    sleep(WHILE_STOPPING).await;
}

/// Uploads the file and has Salesforce begin. After an error that may have the message come again, nothing was begun.
async fn begin(
    api: &Api,
    job: Job,
    path: &str,
    file: Bytes,
    limit: Duration,
) -> anyhow::Result<Job> {
    let upload = api.request(reqwest::Method::PUT, &format!("{path}/batches"));
    let upload = api::send(
        upload
            .header("content-type", "text/csv")
            .timeout(limit)
            .body(file),
    )
    .await;
    let error = match upload {
        Ok(_) => match api::json(
            api.patch(path)
                .json(&json!({ "state": "UploadComplete" }))
                .idempotent(true),
        )
        .await
        {
            Ok(job) => return Ok(job),
            Err(error) => {
                // The answer may be lost, or a second try refused, of a job that goes on.
                let now = job.now(api, "ingest", Instant::now() + limit).await?;
                if now.state != "Open" {
                    return Ok(now);
                }
                error
            }
        },
        Err(error) => error,
    };
    // The job is not left open; where even that fails, Salesforce deletes it after a week.
    let _ = api::send(api.patch(path).json(&json!({ "state": "Aborted" }))).await;
    Err(error)
}

async fn download(cx: &Context<Config, Output>, url: &str) -> anyhow::Result<Bytes> {
    let mut file = cx
        .attachments()?
        .download(url)
        .await
        .context("the CSV file")?;
    let mut bytes = Vec::new();
    while let Some(chunk) = file
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)
        .context("reading the CSV file")?
    {
        bytes.extend_from_slice(&chunk);
        anyhow::ensure!(
            bytes.len() <= LARGEST,
            "the CSV file is larger than the 100 MB that Salesforce takes: split it"
        );
    }
    anyhow::ensure!(!bytes.is_empty(), "the CSV file is empty");
    Ok(bytes.into())
}

/// `sf__Id`, `sf__Created` and `sf__Error` stand beside the row's own columns.
fn row(mut record: Record, error: Option<&str>) -> Row {
    let mut own = |name: &str| match record.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let (id, created, reason) = (own("sf__Id"), own("sf__Created"), own("sf__Error"));
    let errors = error.map(|otherwise| reason.unwrap_or_else(|| otherwise.to_owned()));
    let created = created.as_deref() == Some("true");
    Row {
        id,
        success: errors.is_none(),
        created,
        row: (errors.is_some() || created).then_some(record),
        errors: errors.into_iter().collect(),
    }
}
