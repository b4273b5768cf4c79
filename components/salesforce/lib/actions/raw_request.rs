//! Action "Raw request": any call of Salesforce's REST APIs.

use super::api::{self, Api};
use anyhow::Context as _;
use reqwest::Method;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// The call.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// GET, POST, PUT, PATCH or DELETE
    method: String,
    /// Below /services/data/vXX.0/ such as sobjects/Account; with a slash at its beginning, from the organisation's own
    /// address on, such as /services/apexrest/orders
    path: String,
    /// Sent as JSON
    #[serde(default)]
    body: Option<Value>,
}

/// Emits the answer; an empty object where it is empty. An error status is an error.
pub async fn raw_request(message: Message<Input>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    let Input { method, path, body } = message.body;
    let method: Method = match method.trim().to_uppercase().as_str() {
        known @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD") => known.parse()?,
        _ => anyhow::bail!("`method` must be one of GET, POST, PUT, PATCH, DELETE, HEAD"),
    };
    let path = path.trim();
    anyhow::ensure!(
        !path.is_empty(),
        "`path` is empty: give one such as sobjects/Account"
    );
    let mut request = Api::new(cx.oauth()).request(method, path);
    if let Some(body) = body.filter(|body| !body.is_null()) {
        request = request.json(&body);
    }
    let answer = api::send(request).await?;
    let bytes = api::bytes(answer, api::LONGEST, "Salesforce's answer")
        .await
        .context("reading Salesforce's answer")?;
    let answer = if bytes.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| json!({ "text": String::from_utf8_lossy(&bytes) }))
    };
    cx.data(&answer).await
}
