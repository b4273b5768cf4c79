//! The first page of a query, whose text can be longer than an address.
//!
//! Salesforce takes 16 384 bytes of address and headers, and SOQL of 100 000 characters. A longer query is sent in the body
//! of a composite request, as Salesforce's article 000386264 recommends.

use crate::api::{self, Api};
use anyhow::Context as _;
use reqwest::StatusCode;
use sailor::http::path_segment;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The longest query in an address, encoded, in bytes. The other half is left to the headers: access tokens can be long.
const MAX_IN_ADDRESS: usize = 8_000;
/// The longest SOQL that Salesforce takes, in characters.
const MAX_SOQL: usize = 100_000;
/// The header for the size of a page.
pub const OPTIONS: &str = "Sforce-Query-Options";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Composite {
    composite_response: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part {
    body: Value,
    http_status_code: u16,
}

/// The first page of a query's result. `resource` is `query` or `queryAll`, `options` the value of the header
/// `Sforce-Query-Options`.
///
/// # Errors
/// Returns an error if the query is longer than Salesforce takes, and the errors of the request.
pub async fn query<T: DeserializeOwned>(
    api: &Api,
    resource: &str,
    soql: &str,
    options: Option<&str>,
) -> anyhow::Result<T> {
    anyhow::ensure!(
        soql.chars().count() <= MAX_SOQL,
        "the query is longer than Salesforce takes ({MAX_SOQL} characters): choose fewer fields, fewer linked objects, \
         or shorter lists to search for"
    );
    let encoded = path_segment(soql)?;
    if encoded.len() > MAX_IN_ADDRESS {
        return query_in_body(api, resource, &encoded, options).await;
    }
    let request = api.get(resource).query(&[("q", soql)]);
    match options {
        Some(options) => request.header(OPTIONS, options).read_json().await,
        None => request.read_json().await,
    }
}

async fn query_in_body<T: DeserializeOwned>(
    api: &Api,
    resource: &str,
    encoded: &str,
    options: Option<&str>,
) -> anyhow::Result<T> {
    let path = api.path(resource);
    let mut part =
        json!({ "method": "GET", "url": format!("{path}?q={encoded}"), "referenceId": "query" });
    if let Some(options) = options {
        part["httpHeaders"] = json!({ OPTIONS: options });
    }
    let request = api
        .post("composite")
        .json(&json!({ "compositeRequest": [part] }))
        .idempotent(true);
    let Composite { composite_response } = request.read_json().await?;
    let part = composite_response.into_iter().next();
    let part = part.context("Salesforce's response to the composite request is empty")?;
    let status = StatusCode::from_u16(part.http_status_code)?;
    if !status.is_success() {
        let (label, body) = (format!("GET {path}"), part.body.to_string());
        let is_repeatable = status != StatusCode::NOT_IMPLEMENTED;
        return Err(api::refused(label, status, body, is_repeatable));
    }
    serde_json::from_value(part.body).with_context(|| {
        format!("Salesforce's response to GET {path}: check SALESFORCE_API_VERSION")
    })
}
