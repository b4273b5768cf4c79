//! The flow's webhook address: requests from outside become messages.

use super::{
    body::json_body,
    error::ErrorResponse,
    shared::{Shared, Webhook},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, Method, StatusCode, Uri},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) async fn hook(
    State(shared): State<Arc<Shared>>,
    Path(flow): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ErrorResponse> {
    let raw = shared.state().consumes_raw_data(&flow);
    let message = json!({
        "body": message_body(raw, &headers, &body)?,
        "headers": text_headers(&headers),
        "method": method.as_str(),
        "query": query(&uri),
        "url": uri.path(),
        "originalUrl": uri.to_string(),
    });
    let (respond, response) = oneshot::channel();
    if !hand_on(&shared, &flow, Webhook { message, respond }) {
        let what = format!("flow {flow:?} with a webhook");
        return Err(ErrorResponse::not_found(what));
    }
    let bad_gateway = |reason: String| ErrorResponse::new(StatusCode::BAD_GATEWAY, reason);
    let (status, body) = response
        .await
        .map_err(|_| bad_gateway("the emulator has stopped".into()))?;
    let status = StatusCode::from_u16(status)
        .map_err(|_| bad_gateway(format!("the component replied with status {status}")))?;
    Ok((status, Json(body)))
}

/// False when the flow has no webhook.
fn hand_on(shared: &Shared, flow: &str, webhook: Webhook) -> bool {
    let hooks = shared.hooks();
    let hook = hooks.as_ref().filter(|(known, _)| *known == flow);
    hook.is_some_and(|(_, hook)| hook.send(webhook).is_ok())
}

fn message_body(raw: bool, headers: &HeaderMap, body: &Bytes) -> Result<Value, ErrorResponse> {
    if raw {
        Ok(json!({"rawData": String::from_utf8_lossy(body)}))
    } else if body.is_empty() {
        Ok(json!({}))
    } else {
        json_body(headers, body)
    }
}

fn text_headers(headers: &HeaderMap) -> Map<String, Value> {
    let text = |value: &[u8]| Value::from(String::from_utf8_lossy(value));
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

fn query(uri: &Uri) -> Map<String, Value> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}
