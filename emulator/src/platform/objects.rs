//! Object storage and signed addresses (wire-contract: Object storage, wire-contract: Other endpoints). Bytes are stored
//! unchanged.

use super::{error::ErrorResponse, shared::Shared, state::Object};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

type Platform = State<Arc<Shared>>;

/// The lifetime of a signed address in responses, in seconds. The emulator's do not expire.
const SIGNED_SECONDS: u32 = 7200;

pub(super) async fn post_object(
    State(shared): Platform,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Json<Value>) {
    let id = Uuid::new_v4().to_string();
    (StatusCode::CREATED, store(&shared, &id, &headers, body))
}

pub(super) async fn put_object(
    State(shared): Platform,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, ErrorResponse> {
    if !shared.state().objects.contains_key(&id) {
        return Err(unknown(&id));
    }
    Ok(store(&shared, &id, &headers, body))
}

pub(super) async fn get_object(
    State(shared): Platform,
    Path(id): Path<String>,
) -> Result<Response, ErrorResponse> {
    shared
        .state()
        .objects
        .get(&id)
        .map(Object::to_response)
        .ok_or_else(|| unknown(&id))
}

pub(super) async fn delete_object(
    State(shared): Platform,
    Path(id): Path<String>,
) -> Result<StatusCode, ErrorResponse> {
    shared
        .state()
        .objects
        .remove(&id)
        .map(|_| StatusCode::NO_CONTENT)
        .ok_or_else(|| unknown(&id))
}

fn unknown(id: &str) -> ErrorResponse {
    ErrorResponse::not_found(format!("object {id:?}"))
}

fn store(shared: &Shared, id: &str, headers: &HeaderMap, body: Bytes) -> Json<Value> {
    let (size, content_type) = (body.len(), content_type(headers));
    shared.state().set_object(id, body, &content_type);
    Json(json!({"objectId": id, "contentType": content_type, "contentLength": size}))
}

fn content_type(headers: &HeaderMap) -> String {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    given.unwrap_or("application/octet-stream").to_owned()
}

impl Object {
    fn to_response(&self) -> Response {
        (
            [(header::CONTENT_TYPE, self.content_type.clone())],
            self.bytes.clone(),
        )
            .into_response()
    }
}

/// Creates an address that needs no credentials: anyone who knows it can put and get.
pub(super) async fn sign(State(shared): Platform) -> Json<Value> {
    let id = Uuid::new_v4().to_string();
    let url = format!("{}/signed/{id}", shared.url());
    shared.state().signed.insert(id, None);
    Json(json!({"put_url": url, "get_url": url, "expires": SIGNED_SECONDS}))
}

pub(super) async fn put_signed(
    State(shared): Platform,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ErrorResponse> {
    match shared.state().signed.get_mut(&id) {
        Some(object) => {
            *object = Some(Object {
                bytes: body,
                content_type: content_type(&headers),
            });
        }
        None => return Err(not_signed()),
    }
    Ok(StatusCode::OK)
}

pub(super) async fn get_signed(
    State(shared): Platform,
    Path(id): Path<String>,
) -> Result<Response, ErrorResponse> {
    match shared.state().signed.get(&id) {
        Some(Some(object)) => Ok(object.to_response()),
        Some(None) => Err(ErrorResponse::not_found(
            "object at this address: nothing was put there",
        )),
        None => Err(not_signed()),
    }
}

fn not_signed() -> ErrorResponse {
    ErrorResponse::new(
        StatusCode::FORBIDDEN,
        "this address was not signed by the emulator",
    )
}
