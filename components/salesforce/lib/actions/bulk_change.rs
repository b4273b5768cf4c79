//! Action "Bulk create, update, delete or upsert": changes records by the rows of a CSV file, with a job of Bulk API 2.0.

use crate::{
    api::{Api, Record},
    bulk_job::Job,
    csv,
    csv_file::CsvFile,
    fields,
    soql::Name,
};
use anyhow::Context as _;
use reqwest::{Body, Method};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the process waits for the end of a job after it was asked to stop.
const WAIT_WHILE_STOPPING: Duration = Duration::from_secs(5);

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    operation: Operation,
    sobject: Name,
    #[serde(default, deserialize_with = "fields::seconds")]
    timeout: Option<Duration>,
}

/// What happens to the rows.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Each creates a record.
    Insert,
    /// Each updates the record of its `Id`.
    Update,
    /// Each deletes the record of its `Id`.
    Delete,
    /// Each updates the record of its external id, or creates one.
    Upsert,
}

impl Operation {
    /// Whether a second job with the same file has no further effect.
    fn is_idempotent(self) -> bool {
        matches!(self, Self::Update | Self::Upsert)
    }
}

/// The file.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// URL of the CSV file. The default is the message's first attachment
    #[serde(default)]
    attachment_url: Option<String>,
    /// API name of the external id field, for upsert
    #[serde(default)]
    ext_id_field: Option<String>,
}

/// The result of each row.
#[derive(Serialize, JsonSchema)]
pub struct Output {
    /// The job's id at Salesforce.
    #[serde(rename = "jobId")]
    job_id: String,
    /// One entry for each row: first the successful ones, then the others.
    result: Vec<Row>,
}

/// The result of a row.
#[derive(Serialize, JsonSchema)]
pub struct Row {
    /// The record's id, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Whether the row was applied.
    success: bool,
    /// Whether the record was created.
    created: bool,
    /// Why the row was not applied.
    errors: Vec<String>,
    /// The row itself, if it was not applied or created a record: nothing else identifies the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<Record>,
}

/// Emits the result of each row. A job that fails as a whole is an error.
pub async fn bulk_change(
    message: Message<Input>,
    cx: Context<Config, Output>,
) -> anyhow::Result<()> {
    let api = Api::new(cx.oauth());
    let url = file_url(&message)?;
    let mut description = describe(&cx.config, &message.body)?;
    let file = CsvFile::open(cx.attachments()?, url).await?;
    description["columnDelimiter"] = file.layout.column_delimiter.into();
    description["lineEnding"] = file.layout.line_ending.into();
    let limit = cx.config.timeout.unwrap_or(DEFAULT_TIMEOUT);

    let job: Job = api
        .post("jobs/ingest")
        .json(&description)
        .read_json()
        .await?;
    let id = job.id.clone();
    let result = tokio::select! {
        result = run(&api, job, &file, limit) => result?,
        // The message would go to another process, which would start a second job.
        () = stopped(&cx), if !cx.config.operation.is_idempotent() => anyhow::bail!(
            "the process was asked to stop, and bulk job {id} goes on at Salesforce: see Setup, Bulk Data Load Jobs, \
             before this message is sent again"
        ),
    };
    cx.data(&Output { job_id: id, result }).await
}

fn file_url(message: &Message<Input>) -> anyhow::Result<String> {
    let given = message.body.attachment_url.clone();
    if let Some(url) = given.filter(|url| !url.is_empty()) {
        return Ok(url);
    }
    let attachment = message.attachments.iter().next().transpose()?;
    attachment
        .map(|(_, attachment)| attachment.url)
        .context("there is no CSV file: give `attachmentUrl`, or a message with an attachment")
}

/// The job as Salesforce takes it.
fn describe(config: &Config, input: &Input) -> anyhow::Result<Value> {
    let mut job = json!({
        "object": config.sobject.as_str(),
        "operation": config.operation,
        "contentType": "CSV",
    });
    if config.operation == Operation::Upsert {
        let field = input.ext_id_field.as_deref();
        let field = field
            .and_then(|name| Name::new(name.trim()))
            .context("upsert needs `extIdField`: the API name of an external id field")?;
        job["externalIdFieldName"] = field.as_str().into();
    }
    Ok(job)
}

/// Lets the job process the file, and reads its results.
async fn run(api: &Api, job: Job, file: &CsvFile, limit: Duration) -> anyhow::Result<Vec<Row>> {
    let path = job.path("ingest")?;
    let job = start(api, job, &path, file, limit).await?;
    let job = job.wait_until_done(api, "ingest", limit).await?;
    let mut rows = vec![];
    for (kind, error) in [
        ("successfulResults", None),
        ("failedResults", Some("Salesforce gives no reason")),
        ("unprocessedrecords", Some("not processed")),
    ] {
        let text = job.results(api, &format!("{path}/{kind}")).await?;
        let records = csv::records(&text)
            .with_context(|| format!("reading the results of bulk job {}", job.id))?;
        rows.extend(records.into_iter().map(|record| row(record, error)));
    }
    Ok(rows)
}

async fn stopped(cx: &Context<Config, Output>) {
    cx.cancelled.cancelled().await;
    sleep(WAIT_WHILE_STOPPING).await;
}

/// Uploads the file and starts the job. After a transient error, the job was not started.
async fn start(
    api: &Api,
    job: Job,
    path: &str,
    file: &CsvFile,
    limit: Duration,
) -> anyhow::Result<Job> {
    let rows = file.clone();
    let mut upload = api
        .request(Method::PUT, &format!("{path}/batches"))
        .header("content-type", "text/csv")
        .timeout(limit)
        .reopen(move || Body::wrap_stream(rows.rows()));
    if let Some(length) = file.length {
        upload = upload.header("content-length", &length.to_string());
    }
    let complete = api.patch(path).json(&json!({ "state": "UploadComplete" }));
    let error = match upload.send().await {
        Err(error) => match file.problem() {
            Some(problem) => problem.clone().into(),
            None => error,
        },
        Ok(_) => match complete.idempotent(true).read_json().await {
            Ok(job) => return Ok(job),
            Err(error) => {
                // The response to the first attempt may be lost, and a retry refused, although the job was started.
                let now = job.reload(api, "ingest", Instant::now() + limit).await?;
                if now.state != "Open" {
                    return Ok(now);
                }
                error
            }
        },
    };
    // The job does not stay open. If this fails too, Salesforce deletes it after a week.
    let _ = api
        .patch(path)
        .json(&json!({ "state": "Aborted" }))
        .send()
        .await;
    Err(error)
}

/// The result of a row. `sf__Id`, `sf__Created` and `sf__Error` stand beside the row's own columns; `error` is the
/// default reason if the row was not applied.
fn row(mut record: Record, error: Option<&str>) -> Row {
    let mut take = |name: &str| match record.remove(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let (id, created, reason) = (take("sf__Id"), take("sf__Created"), take("sf__Error"));
    let errors = error.map(|default| reason.unwrap_or_else(|| default.to_owned()));
    let created = created.as_deref() == Some("true");
    Row {
        id,
        success: errors.is_none(),
        created,
        row: (errors.is_some() || created).then_some(record),
        errors: errors.into_iter().collect(),
    }
}
