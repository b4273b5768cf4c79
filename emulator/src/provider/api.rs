//! The API that the tokens are for: `/api/me`, `/api/items`, and `/api/echo/…`, which returns the request; the rest is the
//! sample API's. Routes that a test has added come first.

use super::{
    event::ProviderEventKind,
    form,
    hold::Endpoint,
    knobs::{ApiErrorStyle, Knobs},
    response::ProviderErrors,
    shared::{Shared, State as ProviderState},
};
use axum::{
    Json,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_double::{Disconnect, RecordedCall, read_call};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn api(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(disconnect): ConnectInfo<Disconnect>,
    request: Request,
) -> Response {
    let scheme = shared.state().knobs.api_scheme.clone();
    let call = match read_call::<ProviderErrors>(request, &scheme).await {
        Ok(call) => call,
        Err(response) => return response,
    };
    if let Some(token) = &call.token {
        shared.secret(token);
    }
    let event = ProviderEventKind::ApiCall(call.clone());
    let arrival = shared.arrived(Endpoint::Api, call.line(), event);
    let act = move |shared: &Shared| {
        let carry_out = || respond(shared, &call);
        let response = shared.trouble.respond::<ProviderErrors>(&call, carry_out);
        (response, ())
    };
    shared.perform(disconnect, arrival, act).await
}

fn respond(shared: &Shared, call: &RecordedCall) -> Response {
    if let Some(response) = shared.own_routes.open.response(call) {
        return response;
    }
    if let Some(refusal) = refusal(&shared.state(), call) {
        return refusal;
    }
    // A handler of the test may use the provider, so the state is not locked meanwhile.
    if let Some(response) = shared.own_routes.guarded.response(call) {
        return response;
    }
    let of_sample = shared.state().sample.respond(call);
    of_sample.unwrap_or_else(|| resource(call))
}

/// The response to a call without a valid token; none if it has one.
fn refusal(state: &ProviderState, call: &RecordedCall) -> Option<Response> {
    if has_token_in_query(call) {
        return Some(token_in_query(&state.knobs));
    }
    match &call.token {
        None => Some(token_missing(&state.knobs)),
        Some(token) if state.knobs.refuse_all || !state.grants.is_valid(token) => {
            let ApiErrorStyle {
                status,
                challenges,
                body,
            } = &state.knobs.unauthorized;
            Some(error(*status, challenges, body))
        }
        Some(_) => None,
    }
}

fn has_token_in_query(call: &RecordedCall) -> bool {
    form::read(&call.query).is_ok_and(|pairs| pairs.iter().any(|(name, _)| name == "access_token"))
}

fn token_in_query(knobs: &Knobs) -> Response {
    let challenge = format!(
        r#"{} realm="emulator", error="invalid_request""#,
        knobs.api_scheme
    );
    let reason = "a token must not be in the query (RFC 6750 §2.3)";
    error(400, &[challenge], &json!({"error": reason}))
}

/// Without a token there is no error code in the challenge (RFC 6750 §3.1).
fn token_missing(knobs: &Knobs) -> Response {
    let challenge = format!(r#"{} realm="emulator""#, knobs.api_scheme);
    let reason = format!("a {} token is missing", knobs.api_scheme);
    error(401, &[challenge], &json!({"error": reason}))
}

fn error(status: u16, challenges: &[String], body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    let mut response = match body {
        Value::String(text) => (status, text.clone()).into_response(),
        body => (status, Json(body)).into_response(),
    };
    for challenge in challenges {
        if let Ok(value) = HeaderValue::from_str(challenge) {
            response
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, value);
        }
    }
    response
}

fn resource(call: &RecordedCall) -> Response {
    match (
        call.method.as_str(),
        call.path.strip_prefix("/api/").unwrap_or_default(),
    ) {
        ("GET", "me") => Json(json!({"id": "user-1", "name": "Sample User"})).into_response(),
        ("GET", "items") => {
            let item = |n: u32| json!({"id": format!("item-{n}"), "name": format!("Item {n}")});
            Json(json!({"items": [item(1), item(2), item(3)]})).into_response()
        }
        ("POST", "items") => match serde_json::from_slice::<Map<String, Value>>(&call.body) {
            Ok(mut item) => {
                item.insert("id".into(), "item-4".into());
                (StatusCode::CREATED, Json(item)).into_response()
            }
            Err(_) => error(400, &[], &json!({"error": "an item must be a JSON object"})),
        },
        ("DELETE", path) if path.starts_with("items/") => StatusCode::NO_CONTENT.into_response(),
        ("HEAD", "echo") => Body::empty().into_response(),
        (_, path) if path == "echo" || path.starts_with("echo/") => {
            Json(echo(call)).into_response()
        }
        (method, path) => error(
            404,
            &[],
            &json!({"error": format!("the emulated provider has no {method} /api/{path}")}),
        ),
    }
}

/// The request without its token: a response may be printed.
fn echo(call: &RecordedCall) -> Value {
    json!({
        "method": call.method,
        "path": call.path,
        "query": call.query,
        "host": text(&call.headers, header::HOST.as_str()),
        "headers": headers(&call.headers),
        "body": String::from_utf8_lossy(&call.body),
    })
}

fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let others = headers
        .keys()
        .filter(|name| **name != header::AUTHORIZATION);
    others
        .map(|name| (name.to_string(), text(headers, name.as_str()).into()))
        .collect()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    let values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    values.collect::<Vec<_>>().join(", ")
}
