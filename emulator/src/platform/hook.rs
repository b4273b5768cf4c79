//! The flow's webhook address: requests from outside, handed on to whoever makes messages of them.

use super::{
    reply::{Refusal, json_body},
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
) -> Result<(StatusCode, Json<Value>), Refusal> {
    let consumes_raw_data = shared.state().consumes_raw_data(&flow);
    let body = match body.is_empty() {
        _ if consumes_raw_data => json!({"rawData": String::from_utf8_lossy(&body)}),
        true => json!({}),
        false => json_body(&headers, &body)?,
    };
    let headers: Map<String, Value> = (headers.iter())
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    let query: Map<String, Value> = (uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty()))
    .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    .map(|(name, value)| (name.to_owned(), value.into()))
    .collect();
    let message = json!({"body": body, "headers": headers, "method": method.as_str(), "query": query, "url": uri.path(),
        "originalUrl": uri.to_string()});
    let (answer, answered) = oneshot::channel();
    let taken = shared
        .hooks()
        .as_ref()
        .filter(|(known, _)| *known == flow)
        .map(|(_, hooks)| hooks.send(Webhook { message, answer }));
    if !matches!(taken, Some(Ok(()))) {
        return Err(Refusal::not_found(format!("flow {flow:?} with a webhook")));
    }
    let (status, body) = answered
        .await
        .map_err(|_| Refusal::new(StatusCode::BAD_GATEWAY, "the emulator has stopped"))?;
    let status = StatusCode::from_u16(status).map_err(|_| {
        Refusal::new(
            StatusCode::BAD_GATEWAY,
            format!("the component answered with status {status}"),
        )
    })?;
    Ok((status, Json(body)))
}
