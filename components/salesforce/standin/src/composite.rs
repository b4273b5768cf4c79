//! Composite requests: several requests in the body of one.

use super::{
    error::ErrorResponse,
    response::{Request, SalesforceResult, json_response},
    routes::dispatch,
    state::State,
};
use axum::{
    body::to_bytes,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use futures_util::FutureExt;
use http_double::{ServiceRequest, percent_decoded};
use serde_json::{Map, Value, json};

const MAX_PARTS: usize = 25;
/// Of these, the most that may be queries.
const MAX_QUERIES: usize = 5;

pub(super) fn respond(state: &mut State, request: &Request) -> SalesforceResult {
    let body = request.json()?;
    let parts = body["compositeRequest"].as_array();
    let parts = parts.ok_or_else(|| invalid("compositeRequest is missing"))?;
    let is_query = |part: &&Value| {
        part["url"]
            .as_str()
            .is_some_and(|url| url.contains("/query"))
    };
    if parts.len() > MAX_PARTS || parts.iter().filter(is_query).count() > MAX_QUERIES {
        return Err(invalid("Limits exceeded in the composite request"));
    }
    let parts: Result<Vec<Value>, ErrorResponse> = parts
        .iter()
        .map(|part| part_response(state, request, part))
        .collect();
    json_response(json!({ "compositeResponse": parts? }))
}

fn invalid(message: &str) -> ErrorResponse {
    ErrorResponse::new(400, "INVALID_INPUT", message)
}

fn part_response(state: &mut State, outer: &Request, part: &Value) -> Result<Value, ErrorResponse> {
    let text = |name: &str| {
        let text = part[name].as_str().filter(|text| !text.is_empty());
        text.ok_or_else(|| invalid(&format!("{name} is missing")))
    };
    let reference = text("referenceId")?;
    let response = match dispatch(state, &inner(outer, text("method")?, text("url")?, part)) {
        Ok(response) => response,
        Err(error) => axum::response::IntoResponse::into_response(error),
    };
    let status = response.status().as_u16();
    // All responses of the stand-in are in memory.
    let body = to_bytes(response.into_body(), usize::MAX).now_or_never();
    let body = body.and_then(Result::ok).unwrap_or_default();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(
        json!({ "body": body, "httpHeaders": {}, "httpStatusCode": status, "referenceId": reference }),
    )
}

/// One of the requests, as if it were sent by itself.
fn inner(outer: &Request, method: &str, url: &str, part: &Value) -> ServiceRequest {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let own = part["httpHeaders"].as_object();
    ServiceRequest {
        method: method.to_owned(),
        url: outer.url.clone(),
        path: path.to_owned(),
        length: url.len(),
        query: pairs
            .map(|(name, value)| {
                (
                    percent_decoded(name),
                    percent_decoded(&value.replace('+', " ")),
                )
            })
            .collect(),
        headers: own.map(headers).unwrap_or_default(),
        body: part["body"].to_string().into(),
    }
}

fn headers(own: &Map<String, Value>) -> HeaderMap {
    let header = |(name, value): (&String, &Value)| {
        let name = HeaderName::try_from(name).ok()?;
        Some((name, HeaderValue::from_str(value.as_str()?).ok()?))
    };
    own.iter().filter_map(header).collect()
}
