//! Which resource a path leads to, what is there for everybody, and how Salesforce refuses.

use super::{
    super::server::{self, Service},
    answer::{Answer, Request, json_answer},
    bulk, query, records,
    refusal::Refusal,
    samples,
    state::State,
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;

/// Longer addresses are refused.
const MAX_URI: usize = 16_384;
/// Versions before this one lack what components use; later ones than the last are not known.
const VERSIONS: std::ops::RangeInclusive<u32> = 41..=66;

impl Service for State {
    const TITLE: &'static str = "Salesforce";

    fn answer(&mut self, request: server::Request) -> Response {
        dispatch(self, request).into_response()
    }

    fn open(&self, request: &server::Request) -> Option<Response> {
        if request.length > MAX_URI {
            // A server before Salesforce's own says so, not in JSON.
            let page = "<h1>Bad Message 414</h1><pre>reason: URI Too Long</pre>";
            return Some((StatusCode::URI_TOO_LONG, page).into_response());
        }
        let is_file = request.method == "GET" && request.path == samples::FILE.0;
        is_file.then(|| ([(header::CONTENT_TYPE, "text/csv")], samples::FILE.1).into_response())
    }

    fn dress(&self, response: &mut Response) {
        if let Ok(date) = HeaderValue::try_from(self.clock.http_date()) {
            response.headers_mut().insert(header::DATE, date);
        }
    }

    fn refused(status: u16, code: &str, message: &str) -> Response {
        Refusal::new(status, code, message).into_response()
    }

    fn unauthorized() -> Response {
        let refusal = Refusal::new(401, "INVALID_SESSION_ID", "Session expired or invalid");
        ([(header::WWW_AUTHENTICATE, "Token")], refusal).into_response()
    }

    fn throttled() -> Response {
        Refusal::new(
            429,
            "REQUEST_LIMIT_EXCEEDED",
            "too many requests in this moment",
        )
        .into_response()
    }
}

fn dispatch(state: &mut State, request: server::Request) -> Answer {
    let (segments, path, method) = (
        request.segments(),
        request.path.clone(),
        request.method.clone(),
    );
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["services", "data", version, rest @ ..] = segments.as_slice() else {
        return Err(Refusal::not_here(format!("{method} {path}")));
    };
    let known = version
        .strip_prefix('v')
        .and_then(|version| version.strip_suffix(".0"));
    let known = known
        .and_then(|version| version.parse().ok())
        .is_some_and(|version| VERSIONS.contains(&version));
    if !known {
        return Err(Refusal::no_resource());
    }
    let request = Request {
        version: version.trim_start_matches('v').to_owned(),
        parts: request,
    };
    match (method.as_str(), rest) {
        ("GET", ["limits"]) => {
            json_answer(json!({ "DailyApiRequests": { "Max": 15000, "Remaining": 14998 } }))
        }
        ("GET", ["sobjects"]) => json_answer(state.schema.list()),
        ("GET", ["sobjects", object, "describe"]) => {
            json_answer(state.schema.object(object)?.describe())
        }
        ("POST", ["sobjects", object]) => records::create(state, object, &request),
        (_, ["sobjects", object, id]) => records::by_id(state, object, id, &request),
        (_, ["sobjects", object, field, value]) => {
            records::by_field(state, object, field, value, &request)
        }
        ("GET", ["query"]) => query::query(state, &request, false),
        ("GET", ["queryAll"]) => query::query(state, &request, true),
        ("GET", ["query", locator]) => query::more(state, locator, &request),
        (_, ["jobs", "ingest", rest @ ..]) => bulk::ingest(state, rest, &request),
        (_, ["jobs", "query", rest @ ..]) => bulk::query(state, rest, &request),
        (method, _) => Err(Refusal::not_here(format!("{method} {path}"))),
    }
}
