//! Which resource a path leads to, and which need no token.

use super::{
    bulk, composite,
    error::ErrorResponse,
    query, records,
    response::{Request, SalesforceResult, json_response},
    samples,
    state::State,
};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_double::{ErrorFormat, Service, ServiceRequest};
use serde_json::json;

/// Longer paths with queries are refused.
const MAX_URI: usize = 16_384;
/// The versions of the API: older ones lack what components use, newer ones are unknown.
const VERSIONS: std::ops::RangeInclusive<u32> = 41..=66;

impl Service for State {
    const NAME: &'static str = "Salesforce";

    fn respond(&mut self, request: &ServiceRequest) -> Response {
        dispatch(self, request).into_response()
    }

    fn respond_without_token(&self, request: &ServiceRequest) -> Option<Response> {
        if request.length > MAX_URI {
            // A proxy in front of Salesforce responds to this, and not in JSON.
            let page = "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>";
            return Some((StatusCode::URI_TOO_LONG, page).into_response());
        }
        let is_file = request.method == "GET" && request.path == samples::FILE.0;
        is_file.then(|| ([(header::CONTENT_TYPE, "text/csv")], samples::FILE.1).into_response())
    }

    fn add_headers(&self, headers: &mut HeaderMap) {
        if let Ok(date) = HeaderValue::try_from(self.clock.http_date()) {
            headers.insert(header::DATE, date);
        }
    }
}

impl ErrorFormat for State {
    fn error(status: u16, code: &str, message: &str) -> Response {
        ErrorResponse::new(status, code, message).into_response()
    }

    fn unauthorized() -> Response {
        let error = ErrorResponse::new(401, "INVALID_SESSION_ID", "Session expired or invalid");
        ([(header::WWW_AUTHENTICATE, "Token")], error).into_response()
    }

    fn throttled() -> Response {
        let message = "too many requests in this moment";
        ErrorResponse::new(429, "REQUEST_LIMIT_EXCEEDED", message).into_response()
    }
}

pub(super) fn dispatch(state: &mut State, request: &ServiceRequest) -> SalesforceResult {
    let (path, method) = (&request.path, &request.method);
    let segments = request.segments();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["services", "data", version, rest @ ..] = segments.as_slice() else {
        return Err(ErrorResponse::not_here(format!("{method} {path}")));
    };
    let known = version
        .strip_prefix('v')
        .and_then(|version| version.strip_suffix(".0"));
    let known = known
        .and_then(|version| version.parse().ok())
        .is_some_and(|version| VERSIONS.contains(&version));
    if !known {
        return Err(ErrorResponse::no_resource());
    }
    let request = Request {
        version: version.trim_start_matches('v').to_owned(),
        parts: request.clone(),
    };
    match (method.as_str(), rest) {
        ("GET", ["limits"]) => {
            json_response(json!({ "DailyApiRequests": { "Max": 15000, "Remaining": 14998 } }))
        }
        ("GET", ["sobjects"]) => json_response(state.schema.list()),
        ("GET", ["sobjects", object, "describe"]) => {
            json_response(state.schema.object(object)?.describe())
        }
        ("POST", ["sobjects", object]) => records::create(state, object, &request),
        (_, ["sobjects", object, id]) => records::by_id(state, object, id, &request),
        (_, ["sobjects", object, field, value]) => {
            records::by_field(state, object, field, value, &request)
        }
        ("POST", ["composite"]) => composite::respond(state, &request),
        ("GET", ["query"]) => query::query(state, &request, false),
        ("GET", ["queryAll"]) => query::query(state, &request, true),
        ("GET", ["query", locator]) => query::more(state, locator, &request),
        (_, ["jobs", "ingest", rest @ ..]) => bulk::ingest(state, rest, &request),
        (_, ["jobs", "query", rest @ ..]) => bulk::query(state, rest, &request),
        (method, _) => Err(ErrorResponse::not_here(format!("{method} {path}"))),
    }
}
