//! Bodies that Graph is sent, and answers as it gives them.

use super::{super::server::Request, refusal::Refusal};
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;

pub(super) type Answer = Result<Response, Refusal>;

/// A request's body, which must say that it is JSON.
pub(super) fn json(request: &Request) -> Result<Value, Refusal> {
    let kind = request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if !kind.starts_with("application/json") {
        return Err(Refusal::bad_request(
            "Write requests must contain the Content-Type header declaration.",
        ));
    }
    serde_json::from_slice(&request.body)
        .map_err(|_| Refusal::bad_request("Unable to read JSON request payload."))
}

pub(super) fn json_answer(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub(super) fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
