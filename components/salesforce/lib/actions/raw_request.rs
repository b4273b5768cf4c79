//! Action "Raw request": sends any request to Salesforce's REST APIs.

use crate::api::{Api, MAX_RESPONSE};
use reqwest::Method;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

/// The request.
#[derive(Deserialize, JsonSchema)]
pub struct Input {
    /// GET, POST, PUT, PATCH or DELETE
    method: String,
    /// Path below /services/data/vXX.0/, such as sobjects/Account. With a slash at its start, path of the organisation's
    /// host, such as /services/apexrest/orders
    path: String,
    /// Sent as JSON
    #[serde(default)]
    body: Option<Value>,
}

/// Emits the response; an empty object if it is empty. An error status is an error.
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
    let received = request.read(MAX_RESPONSE).await?;
    let output = match received.json_or_text() {
        _ if received.body.is_empty() => json!({}),
        Ok(json) => json,
        Err(text) => json!({ "text": text }),
    };
    cx.data(&output).await
}
