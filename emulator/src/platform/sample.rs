//! A small API for a first component: items that change over time, a resource that needs credentials, and any status. It
//! is the same after every start.

use super::{
    body::object_body,
    error::{ErrorResponse, unauthorized},
    items::Item,
    shared::Shared,
};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

type Platform = State<Arc<Shared>>;

const MAX_LIMIT: usize = 100;

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/sample/items", get(list).post(create))
        .route("/sample/items/{id}", get(item))
        .route("/sample/me", get(me))
        .route("/sample/status/{code}", any(status))
}

/// Items in the order of their change; with `updated_since`, only later ones.
async fn list(
    State(shared): Platform,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ErrorResponse> {
    let query = query.unwrap_or_default();
    let (mut since, mut limit, mut page) = (String::new(), 10, 1);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "updated_since" => since = date(value)?,
            "limit" => limit = number(name, value)?,
            "page" => page = number(name, value)?,
            _ => {
                return Err(ErrorResponse::bad_request(format!(
                    "{name:?} is not one of updated_since, limit, page"
                )));
            }
        }
    }
    if limit > MAX_LIMIT {
        return Err(ErrorResponse::bad_request(format!(
            "limit must not be over {MAX_LIMIT}"
        )));
    }
    let state = shared.state();
    let changed: Vec<&Item> = state
        .items
        .iter()
        .filter(|item| item.updated_at > since)
        .collect();
    let start = (page - 1).saturating_mul(limit).min(changed.len());
    let end = (start + limit).min(changed.len());
    let next_page = (end < changed.len()).then_some(page + 1);
    Ok(Json(
        json!({"items": changed[start..end], "total": changed.len(), "page": page, "next_page": next_page}),
    ))
}

fn number(name: &str, value: &str) -> Result<usize, ErrorResponse> {
    let number = value.parse().ok().filter(|&number| number > 0);
    number.ok_or_else(|| {
        ErrorResponse::bad_request(format!("{name} must be a number from 1, it is {value:?}"))
    })
}

/// A date, or date and time in UTC (ISO 8601), whose order as text is the order in time.
fn date(value: &str) -> Result<String, ErrorResponse> {
    let text = value.replace("%3A", ":").replace("%3a", ":");
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    match shape.as_str() {
        "0000-00-00" | "0000-00-00T00:00:00Z" | "0000-00-00T00:00:00.000Z" => {
            Ok(if shape.len() == 20 {
                text.replace('Z', ".000Z")
            } else {
                text
            })
        }
        _ => Err(ErrorResponse::bad_request(format!(
            "updated_since must look like 2026-01-31T12:00:00Z, it is {value:?}"
        ))),
    }
}

async fn item(
    State(shared): Platform,
    Path(id): Path<String>,
) -> Result<Json<Item>, ErrorResponse> {
    let found = shared
        .state()
        .items
        .iter()
        .find(|item| item.id == id)
        .cloned();
    found
        .map(Json)
        .ok_or_else(|| ErrorResponse::not_found(format!("item {id:?}")))
}

async fn create(
    State(shared): Platform,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Item>), ErrorResponse> {
    let Some(Value::String(name)) = object_body(&headers, &body)?
        .remove("name")
        .filter(|name| name != "")
    else {
        return Err(ErrorResponse::bad_request(
            "an item needs a \"name\", a text that is not empty",
        ));
    };
    let mut state = shared.state();
    let item = Item::new(state.items.len() + 1, name);
    state.items.push(item.clone());
    Ok((StatusCode::CREATED, Json(item)))
}

/// The user. Any bearer token or `x-api-key` is accepted, except the token `expired`.
async fn me(headers: HeaderMap) -> Response {
    let value = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let bearer = value(header::AUTHORIZATION)
        .strip_prefix("Bearer ")
        .unwrap_or_default();
    let api_key = value(header::HeaderName::from_static("x-api-key"));
    let kind = match (bearer, api_key) {
        ("expired", _) => return unauthorized(CHALLENGE, "the token is expired"),
        ("", "") => {
            return unauthorized(
                CHALLENGE,
                "this resource needs a bearer token or an x-api-key header",
            );
        }
        ("", _) => "api key",
        _ => "bearer token",
    };
    Json(json!({"id": "user-1", "name": "Sample User", "credentials": kind})).into_response()
}

/// The API's response to a missing or expired token (RFC 6750).
const CHALLENGE: &str = "Bearer realm=\"sample\", error=\"invalid_token\"";

async fn status(Path(code): Path<String>) -> Response {
    match code
        .parse()
        .ok()
        .filter(|code| (200..600).contains(code))
        .map(StatusCode::from_u16)
    {
        Some(Ok(status @ (StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED))) => {
            status.into_response()
        }
        Some(Ok(status)) => (status, Json(json!({"status": status.as_u16()}))).into_response(),
        _ => ErrorResponse::bad_request(format!("{code:?} is not a status from 200 to 599"))
            .into_response(),
    }
}
