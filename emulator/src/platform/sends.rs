//! Messages that a user puts into the step's queue by hand: `emulator send`.

use super::{body::json_body, error::ErrorResponse, shared::Shared};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use tokio::sync::oneshot;

/// The path that takes them.
pub(crate) const PATH: &str = "/emulator/messages";

/// A message and its headers.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Sending {
    pub(crate) message: Value,
    pub(crate) headers: Map<String, Value>,
}

/// A message that waits for being sent.
pub(crate) struct PendingSend {
    pub(crate) sending: Sending,
    /// Takes the message's id, or the reason why it cannot be sent.
    pub(crate) done: oneshot::Sender<Result<String, String>>,
}

pub(super) async fn post_message(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), ErrorResponse> {
    let sending = serde_json::from_value(json_body(&headers, &body)?)
        .map_err(|error| ErrorResponse::bad_request(error.to_string()))?;
    let (done, sent) = oneshot::channel();
    let pending = PendingSend { sending, done };
    let is_taken = shared
        .sends()
        .as_ref()
        .is_some_and(|sends| sends.send(pending).is_ok());
    let nobody =
        || ErrorResponse::not_found("command that takes messages: only `emulator up` does");
    if !is_taken {
        return Err(nobody());
    }
    match sent.await {
        Ok(Ok(id)) => Ok((StatusCode::ACCEPTED, Json(json!({ "messageId": id })))),
        Ok(Err(reason)) => Err(ErrorResponse::bad_request(reason)),
        Err(_) => Err(nobody()),
    }
}
