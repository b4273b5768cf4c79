//! Requests to a version of the API, and responses.

use super::error::ErrorResponse;
use axum::{
    Json,
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use http_double::ServiceRequest;
use serde_json::Value;
use std::ops::Deref;

/// A request to one version of the API.
pub(super) struct Request {
    /// `60.0`
    pub(super) version: String,
    pub(super) parts: ServiceRequest,
}

impl Deref for Request {
    type Target = ServiceRequest;

    fn deref(&self) -> &ServiceRequest {
        &self.parts
    }
}

impl Request {
    pub(super) fn json(&self) -> Result<Value, ErrorResponse> {
        serde_json::from_slice(&self.body)
            .map_err(|error| ErrorResponse::new(400, "JSON_PARSER_ERROR", error.to_string()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) type SalesforceResult = Result<Response, ErrorResponse>;

pub(super) fn json_response(body: Value) -> SalesforceResult {
    Ok(Json(body).into_response())
}

pub(super) fn no_content() -> SalesforceResult {
    Ok((StatusCode::NO_CONTENT, Body::empty()).into_response())
}
