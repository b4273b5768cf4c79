//! Requests of modules that are parts of a trace.

use crate::clients::http;
use reqwest::{RequestBuilder, Response};

/// Sends a request of `cx.http()` as [`RequestBuilder::send`] does. If the message is traced, the request is a span of its trace,
/// and its headers `traceparent` and `tracestate` let the API continue the trace. They are not added to a request that is
/// signed, and do not replace headers of the module.
///
/// # Errors
/// As for [`RequestBuilder::send`].
///
/// # Cancel safety
/// Dropping the future does not undo a request that was sent.
///
/// ```
/// # use sailor::prelude::*;
/// # use serde_json::Value;
/// async fn rates(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
///     let request = cx.http().get("https://api.example.com/rates");
///     let rates: Value = sailor::http::send(request).await?.error_for_status()?.json().await?;
///     cx.data(&rates).await
/// }
/// ```
pub async fn send(request: RequestBuilder) -> reqwest::Result<Response> {
    http::send_traced(request).await
}
