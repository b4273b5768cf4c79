//! Bulk API 2.0: ingest jobs, which take CSV, and query jobs, which return it.

use super::{
    csv,
    error::ErrorResponse,
    evaluate,
    job::Job,
    records,
    response::{Request, SalesforceResult, json_response, no_content},
    schema::Object,
    soql::{self, Item},
    state::State,
};
use axum::{http::StatusCode, response::IntoResponse};
use serde_json::{Map, Value, json};

/// The separators of CSV, by their names.
const DELIMITERS: [(&str, u8); 6] = [
    ("BACKQUOTE", b'`'),
    ("CARET", b'^'),
    ("COMMA", b','),
    ("PIPE", b'|'),
    ("SEMICOLON", b';'),
    ("TAB", b'\t'),
];

fn wrong_job(message: impl Into<String>) -> ErrorResponse {
    ErrorResponse::new(400, "INVALIDJOB", message)
}

fn job<'a>(state: &'a mut State, id: &str) -> Result<&'a mut Job, ErrorResponse> {
    state
        .jobs
        .get_mut(id)
        .ok_or_else(ErrorResponse::no_resource)
}

pub(super) fn ingest(state: &mut State, path: &[&str], request: &Request) -> SalesforceResult {
    match (request.method.as_str(), path) {
        ("POST", []) => create(state, request),
        ("PUT", [id, "batches"]) => upload(job(state, id)?, request),
        ("PATCH", [id]) => match request.json()?["state"].as_str() {
            Some("UploadComplete") => {
                complete(state, id)?;
                let mut info = job(state, id)?.info.clone();
                info["state"] = "UploadComplete".into();
                json_response(info)
            }
            Some("Aborted") => abort(job(state, id)?),
            _ => Err(wrong_job("state must be UploadComplete or Aborted")),
        },
        ("GET", [id]) => json_response(job(state, id)?.status()),
        ("GET", [id, "successfulResults"]) => text(job(state, id)?.successful.clone()),
        ("GET", [id, "failedResults"]) => text(job(state, id)?.failed.clone()),
        ("GET", [id, "unprocessedrecords"]) => text(job(state, id)?.unprocessed.clone()),
        ("DELETE", [id]) => remove(state, id),
        (method, _) => Err(ErrorResponse::not_here(format!(
            "{method} of /jobs/ingest/{}",
            path.join("/")
        ))),
    }
}

fn upload(job: &mut Job, request: &Request) -> SalesforceResult {
    if job.info["state"] != "Open" || job.upload.is_some() {
        return Err(wrong_job("a job takes data once, while it is open"));
    }
    let kind = request.headers.get("content-type");
    if kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/csv")) {
        return Err(ErrorResponse::new(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "Content-Type must be text/csv",
        ));
    }
    job.upload = Some(request.text());
    Ok(StatusCode::CREATED.into_response())
}

fn abort(job: &mut Job) -> SalesforceResult {
    job.info["state"] = "Aborted".into();
    json_response(job.info.clone())
}

fn remove(state: &mut State, id: &str) -> SalesforceResult {
    match state.jobs.remove(id) {
        Some(_) => no_content(),
        None => Err(ErrorResponse::no_resource()),
    }
}

fn text(csv: String) -> SalesforceResult {
    Ok(([("content-type", "text/csv")], csv).into_response())
}

fn create(state: &mut State, request: &Request) -> SalesforceResult {
    let asked = request.json()?;
    let (object, operation) = (
        asked["object"].as_str().unwrap_or_default(),
        asked["operation"].as_str().unwrap_or_default(),
    );
    let described = state
        .schema
        .object(object)
        .map_err(|_| wrong_job(format!("Unable to find object: {object}")))?;
    match operation {
        "insert" | "update" | "delete" => {}
        "upsert" => {
            let name = asked["externalIdFieldName"].as_str().unwrap_or_default();
            if described
                .field(name)
                .is_none_or(|field| !field.external_id && field.kind != "id")
            {
                return Err(wrong_job(format!(
                    "InvalidJob : Field name provided, {name} does not match an External ID"
                )));
            }
        }
        other => {
            return Err(wrong_job(format!(
                "operation {other:?} is not one of insert, update, upsert, delete"
            )));
        }
    }
    let id = state.new_id("750");
    let info = json!({
        "id": id, "object": object, "operation": operation, "contentType": "CSV", "state": "Open", "apiVersion": request.version,
        "externalIdFieldName": asked["externalIdFieldName"], "lineEnding": asked["lineEnding"].as_str().unwrap_or("LF"),
        "columnDelimiter": asked["columnDelimiter"].as_str().unwrap_or("COMMA"),
        "contentUrl": format!("services/data/v{}/jobs/ingest/{id}/batches", request.version),
    });
    let polls = state.job_pace;
    state.jobs.insert(id, Job::new(info.clone(), polls));
    json_response(info)
}

/// Carries out a whole job immediately.
fn complete(state: &mut State, id: &str) -> Result<(), ErrorResponse> {
    let failure = state.job_failure.clone();
    let name = job(state, id)?.info["object"].clone();
    let object = state
        .schema
        .object(name.as_str().unwrap_or_default())?
        .clone();
    let open = job(state, id)?;
    if open.info["state"] != "Open" {
        return Err(wrong_job("the job is not open"));
    }
    let rows = failure.map_or_else(|| uploaded_rows(open), Err);
    let rows = match rows.and_then(|rows| check_header(&object, &rows).map(|()| rows)) {
        Ok(rows) => rows,
        Err(reason) => {
            open.info["state"] = "Failed".into();
            open.info["errorMessage"] = reason.into();
            return Ok(());
        }
    };
    open.info["state"] = "JobComplete".into();
    let info = open.info.clone();
    if rows.len() > 1 {
        process(state, id, &info, &rows)?;
    }
    Ok(())
}

/// The rows of the upload, or why the job fails.
fn uploaded_rows(job: &Job) -> Result<Vec<Vec<String>>, String> {
    let upload = job.upload.as_deref().unwrap_or_default();
    let uses_crlf = upload
        .split_once('\n')
        .is_some_and(|(line, _)| line.ends_with('\r'));
    if uses_crlf != (job.info["lineEnding"] == "CRLF") {
        return Err("ClientInputError : LineEnding is invalid on user data".into());
    }
    if upload.contains('\u{fffd}') {
        return Err("ClientInputError : the data is not UTF-8".into());
    }
    let name = job.info["columnDelimiter"].as_str().unwrap_or_default();
    let delimiter = DELIMITERS.iter().find(|(known, _)| *known == name);
    let delimiter = delimiter.ok_or_else(|| format!("InvalidJob : columnDelimiter {name}"))?;
    csv::read(upload, delimiter.1).map_err(|error| format!("InvalidBatch : {error}"))
}

/// An error if the header names fields that the object does not have.
fn check_header(object: &Object, rows: &[Vec<String>]) -> Result<(), String> {
    let unknown = |name: &&String| object.field(name).is_none();
    match rows.iter().take(1).flatten().find(unknown) {
        Some(name) => Err(format!("InvalidBatch : Field name not found : {name}")),
        None => Ok(()),
    }
}

/// Carries out each row, and keeps the results.
fn process(
    state: &mut State,
    id: &str,
    info: &Value,
    rows: &[Vec<String>],
) -> Result<(), ErrorResponse> {
    let name = info["object"].as_str().unwrap_or_default();
    let object = state.schema.object(name)?.clone();
    let header = &rows[0];
    let line = |first: [&str; 2], row: &[String]| {
        csv::line(first.into_iter().chain(row.iter().map(String::as_str)))
    };
    let mut successful = line(["sf__Id", "sf__Created"], header);
    let mut failed = line(["sf__Id", "sf__Error"], header);
    let mut failures = 0;
    for row in &rows[1..] {
        match one(state, &object, info, fields(header, row)) {
            Ok((id, created)) => {
                let created = if created { "true" } else { "false" };
                successful += &line([&id, created], row);
            }
            Err(error) => {
                failures += 1;
                let text = format!("{}:{}:--", error.code(), error.message());
                failed += &line(["", &text], row);
            }
        }
    }
    let job = job(state, id)?;
    (job.successful, job.failed, job.unprocessed) = (successful, failed, csv::line(header));
    job.info["numberRecordsProcessed"] = (rows.len() - 1).into();
    job.info["numberRecordsFailed"] = failures.into();
    Ok(())
}

/// The fields of a row. An empty cell is no field, and `#N/A` is an empty one.
fn fields(header: &[String], row: &[String]) -> Map<String, Value> {
    let value = |cell: &str| Value::from(if cell == "#N/A" { "" } else { cell });
    let cells = header.iter().zip(row).filter(|(_, cell)| !cell.is_empty());
    cells
        .map(|(name, cell)| (name.clone(), value(cell)))
        .collect()
}

/// Carries out one row. Returns the id, and whether the record is new.
fn one(
    state: &mut State,
    object: &Object,
    info: &Value,
    mut row: Map<String, Value>,
) -> Result<(String, bool), ErrorResponse> {
    let take = |row: &mut Map<String, Value>, name: &str| match row.remove(name) {
        Some(Value::String(value)) => Ok(value),
        _ => Err(ErrorResponse::new(
            400,
            "MISSING_ARGUMENT",
            format!("{name} not specified"),
        )),
    };
    match info["operation"].as_str().unwrap_or_default() {
        "insert" => Ok((records::insert(state, object, row.into())?, true)),
        "update" => {
            let id = take(&mut row, "Id")?;
            records::change(state, object, &id, row.into())?;
            Ok((id, false))
        }
        "delete" => {
            let id = take(&mut row, "Id")?;
            records::remove(state, object, &id)?;
            Ok((id, false))
        }
        _ => {
            let name = info["externalIdFieldName"].as_str().unwrap_or_default();
            let value = take(&mut row, name)?;
            match state.having(&object.name, name, &value).as_slice() {
                [] => {
                    row.insert(name.to_owned(), value.into());
                    Ok((records::insert(state, object, row.into())?, true))
                }
                [id] => {
                    records::change(state, object, id, row.into())?;
                    Ok((id.clone(), false))
                }
                _ => Err(ErrorResponse::new(
                    400,
                    "DUPLICATE_EXTERNAL_ID",
                    format!("{name}: more than one record found"),
                )),
            }
        }
    }
}

pub(super) fn query(state: &mut State, path: &[&str], request: &Request) -> SalesforceResult {
    match (request.method.as_str(), path) {
        ("POST", []) => start_query(state, request),
        ("GET", [id]) => json_response(job(state, id)?.status()),
        ("GET", [id, "results"]) => results(state, id, request),
        ("PATCH", [id]) => abort(job(state, id)?),
        ("DELETE", [id]) => remove(state, id),
        (method, _) => Err(ErrorResponse::not_here(format!(
            "{method} of /jobs/query/{}",
            path.join("/")
        ))),
    }
}

fn start_query(state: &mut State, request: &Request) -> SalesforceResult {
    let asked = request.json()?;
    let text = asked["query"].as_str().unwrap_or_default();
    let select = soql::parse(text)?;
    let fields = select.items.iter().map(|item| match item {
        Item::Field(path) => Ok(path.as_str()),
        Item::Count | Item::Aggregate { .. } | Item::Children(_) => Err(ErrorResponse::new(
            400,
            "API_ERROR",
            "Aggregate Relationships not supported in Bulk Query",
        )),
    });
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let found = evaluate::run(
        state,
        &select,
        asked["operation"] == "queryAll",
        &request.version,
    )?;
    let cell = |record: &Value, path: &str| match path
        .split('.')
        .try_fold(record, |value, part| value.get(part))
    {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let rows = found
        .iter()
        .map(|record| csv::line(fields.iter().map(|path| cell(record, path))))
        .collect();
    let header = csv::line(&fields);
    let id = state.new_id("750");
    let returned = json!({ "id": id, "operation": asked["operation"], "query": text, "state": "UploadComplete", "contentType": "CSV" });
    let mut info = returned.clone();
    match &state.job_failure {
        None => info["state"] = "JobComplete".into(),
        Some(reason) => {
            info["state"] = "Failed".into();
            info["errorMessage"] = reason.clone().into();
        }
    }
    let job = Job {
        header,
        rows,
        ..Job::new(info, state.job_pace)
    };
    state.jobs.insert(id, job);
    json_response(returned)
}

/// A page of rows. The locator is the number of the next row, or `null`.
fn results(state: &mut State, id: &str, request: &Request) -> SalesforceResult {
    let size = state.page_size;
    let job = job(state, id)?;
    let first: usize = match request.query.get("locator") {
        None => 0,
        Some(locator) => locator
            .parse()
            .map_err(|_| ErrorResponse::new(400, "INVALID_QUERY_LOCATOR", "invalid locator"))?,
    };
    let asked = request
        .query
        .get("maxRecords")
        .and_then(|asked| asked.parse().ok());
    let end = (first + asked.unwrap_or(size).min(size)).min(job.rows.len());
    let locator = if end < job.rows.len() {
        end.to_string()
    } else {
        "null".to_owned()
    };
    let csv = job.header.clone() + &job.rows[first.min(end)..end].concat();
    let headers = [
        ("content-type", "text/csv".to_owned()),
        ("sforce-locator", locator),
    ];
    Ok((headers, csv).into_response())
}
