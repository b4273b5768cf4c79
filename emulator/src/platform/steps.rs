//! Steps, accounts, startup data, and results of one-time calls.

use super::{
    body::{json_body, kind_of, object_body},
    error::ErrorResponse,
    shared::Shared,
    state::{ServiceResult, Step},
};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use std::sync::Arc;

type Platform = State<Arc<Shared>>;

pub(super) async fn get_step(
    State(shared): Platform,
    Path((flow, step)): Path<(String, String)>,
) -> Result<Json<Step>, ErrorResponse> {
    let found = shared.state().step(&flow, &step);
    found
        .map(Json)
        .ok_or_else(|| ErrorResponse::not_found(format!("step {step:?} in flow {flow:?}")))
}

pub(super) async fn get_account(
    State(shared): Platform,
    Path(id): Path<String>,
) -> Result<Json<Value>, ErrorResponse> {
    let keys = shared.state().accounts.get(&id).cloned();
    keys.map(|keys| account(&id, &keys))
        .ok_or_else(|| ErrorResponse::not_found(format!("account {id:?}")))
}

pub(super) async fn put_account(
    State(shared): Platform,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ErrorResponse> {
    let keys = match object_body(&headers, &body)?.remove("keys") {
        Some(Value::Object(keys)) => keys,
        Some(other) => {
            return Err(ErrorResponse::bad_request(format!(
                "\"keys\" must be an object, it is {}",
                kind_of(&other)
            )));
        }
        None => {
            return Err(ErrorResponse::bad_request(
                "the body has no member \"keys\"",
            ));
        }
    };
    let mut state = shared.state();
    if !state.merge_account(&id, keys) {
        return Err(ErrorResponse::not_found(format!("account {id:?}")));
    }
    Ok(account(&id, &state.accounts[&id]))
}

fn account(id: &str, keys: &Map<String, Value>) -> Json<Value> {
    Json(json!({"id": id, "name": "Emulated account", "keys": keys}))
}

pub(super) async fn post_startup(
    State(shared): Platform,
    Path(flow): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ErrorResponse> {
    let data = json_body(&headers, &body)?;
    let mut state = shared.state();
    if state.startup.contains_key(&flow) {
        let reason = format!("startup data of flow {flow:?} exists already: delete it first");
        return Err(ErrorResponse::new(StatusCode::CONFLICT, reason));
    }
    state.startup.insert(flow, data.clone());
    Ok((StatusCode::CREATED, Json(data)))
}

/// The startup data; an empty object when there is none.
pub(super) async fn get_startup(State(shared): Platform, Path(flow): Path<String>) -> Json<Value> {
    Json(
        shared
            .state()
            .startup
            .get(&flow)
            .cloned()
            .unwrap_or_else(|| json!({})),
    )
}

pub(super) async fn delete_startup(
    State(shared): Platform,
    Path(flow): Path<String>,
) -> StatusCode {
    shared.state().startup.remove(&flow);
    StatusCode::NO_CONTENT
}

pub(super) async fn post_result(
    State(shared): Platform,
    Path(exec): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ErrorResponse> {
    let mut result = object_body(&headers, &body)?;
    let success = match result.get("status").and_then(Value::as_str) {
        Some("success") => true,
        Some("error") => false,
        _ => {
            return Err(ErrorResponse::bad_request(
                "\"status\" must be \"success\" or \"error\"",
            ));
        }
    };
    let data = result.remove("data").unwrap_or_default();
    shared.state().results.push(ServiceResult {
        exec,
        success,
        data,
    });
    Ok(Json(json!({})))
}
