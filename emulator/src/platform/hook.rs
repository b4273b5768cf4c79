//! The flow's webhook address: requests from outside become messages.

use super::{
    body::json_body,
    error::ErrorResponse,
    shared::{Shared, Webhook, WebhookResponse},
};
use axum::{
    Json,
    extract::{Path, Query, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::oneshot;

pub(super) async fn hook(
    State(shared): State<Arc<Shared>>,
    Path(flow): Path<String>,
    method: Method,
    uri: Uri,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ErrorResponse> {
    let raw = shared.state().consumes_raw_data(&flow);
    let message = json!({
        "body": message_body(raw, &headers, &body)?,
        "headers": text_headers(&headers),
        "method": method.as_str(),
        "query": query.into_iter().collect::<HashMap<_, _>>(),
        "url": uri.path(),
        "originalUrl": uri.to_string(),
    });
    let (respond, response) = oneshot::channel();
    if !hand_on(&shared, &flow, Webhook { message, respond }) {
        let what = format!("flow {flow:?} with a webhook");
        return Err(ErrorResponse::not_found(what));
    }
    let response = response
        .await
        .map_err(|_| bad_gateway("the emulator has stopped".into()))?;
    http_response(response)
}

fn bad_gateway(reason: String) -> ErrorResponse {
    ErrorResponse::new(StatusCode::BAD_GATEWAY, reason)
}

/// The response with the headers that the component replied with.
fn http_response(reply: WebhookResponse) -> Result<Response, ErrorResponse> {
    let mut headers = HeaderMap::new();
    for (name, value) in &reply.headers {
        let text = value.as_str().unwrap_or_default();
        let header = HeaderName::try_from(name)
            .ok()
            .zip(HeaderValue::try_from(text).ok());
        let unusable = || {
            bad_gateway(format!(
                "the component replied with the header {name:?}: {value}"
            ))
        };
        let (name, value) = header.ok_or_else(unusable)?;
        headers.insert(name, value);
    }
    let status = StatusCode::from_u16(reply.status).map_err(|_| {
        bad_gateway(format!(
            "the component replied with status {}",
            reply.status
        ))
    })?;
    let is_other = |value: &HeaderValue| !value.as_bytes().starts_with(b"application/json");
    let response = match reply.body {
        Value::String(text) if headers.get(CONTENT_TYPE).is_some_and(is_other) => {
            (status, headers, text).into_response()
        }
        body => (status, headers, Json(body)).into_response(),
    };
    Ok(response)
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
