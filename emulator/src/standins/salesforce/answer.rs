//! Requests of a version of the API, and answers as Salesforce gives them.

use super::{super::server, refusal::Refusal};
use axum::{
    Json,
    body::Body,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::Value;
use std::ops::Deref;

/// A request to one version of the API.
pub(super) struct Request {
    /// `60.0`
    pub(super) version: String,
    pub(super) parts: server::Request,
}

impl Deref for Request {
    type Target = server::Request;

    fn deref(&self) -> &server::Request {
        &self.parts
    }
}

impl Request {
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Refusal::new(400, "JSON_PARSER_ERROR", error.to_string()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(super) type Answer = Result<Response, Refusal>;

pub(super) fn json_answer(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub(super) fn no_content() -> Answer {
    Ok((StatusCode::NO_CONTENT, Body::empty()).into_response())
}
