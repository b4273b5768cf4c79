//! JSON bodies of requests and responses.

use super::error::ErrorResponse;
use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_double::ServiceRequest;
use serde_json::Value;

pub(super) type GraphResult = Result<Response, ErrorResponse>;

/// The body of a request; the content type must say that it is JSON.
pub(super) fn json(request: &ServiceRequest) -> Result<Value, ErrorResponse> {
    let content_type = request
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if !content_type.starts_with("application/json") {
        return Err(ErrorResponse::bad_request(
            "Write requests must contain the Content-Type header declaration.",
        ));
    }
    serde_json::from_slice(&request.body)
        .map_err(|_| ErrorResponse::bad_request("Unable to read JSON request payload."))
}

pub(super) fn json_response(body: Value) -> GraphResult {
    Ok(Json(body).into_response())
}

pub(super) fn created(body: Value) -> GraphResult {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}
