//! Action "Make a request": one HTTP request, and its answer as a message.

use super::api;
use anyhow::Context as _;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The request to send.
#[derive(Deserialize, JsonSchema)]
pub struct Request {
    /// HTTP method, GET unless said otherwise.
    #[serde(default)]
    method: Option<String>,
    /// Path below the base URL of the credentials.
    path: String,
    /// Query parameters.
    #[serde(default)]
    query: BTreeMap<String, String>,
    /// Headers of the request.
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// Sent as JSON.
    #[serde(default)]
    body: Option<Value>,
}

/// The API's answer.
#[derive(Serialize, JsonSchema)]
pub struct Answer {
    /// HTTP status.
    status: u16,
    /// Headers of the answer.
    headers: BTreeMap<String, String>,
    /// JSON where the answer is JSON, text otherwise.
    body: Value,
}

/// An error status is an error; after 429, and 5xx where sending again changes nothing, the message comes again later.
pub async fn make_request(message: Message<Request>, cx: Context<Value, Answer>) -> anyhow::Result<()> {
    let Request { method, path, query, headers, body } = message.body;
    let method = method.unwrap_or_else(|| "GET".to_owned()).to_uppercase();
    let method = method.parse().with_context(|| format!("`method` is no HTTP method: {method:?}"))?;
    let mut request = cx.oauth().request(method, path).query(&query);
    for (name, value) in &headers {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let headers = answer
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let body = api::body(answer).await?;
    cx.data(&Answer { status, headers, body }).await
}
