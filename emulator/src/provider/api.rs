//! The API that the tokens are for: `/api/me`, `/api/items`, and `/api/echo/…`, which answers what it was asked; the rest
//! is the sample API's.

use super::{
    form,
    knobs::Knobs,
    log::{ApiCall, Kind},
    script::Target,
    shared::{MAX_BODY, Shared},
};
use crate::cut::Switch;
use axum::{
    Json,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value, json};
use std::sync::Arc;

pub(super) async fn api(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let authorization = parts
        .headers
        .get(header::AUTHORIZATION)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let scheme = shared.state().knobs.api_scheme.clone();
    let token = authorization.as_deref().and_then(|value| {
        let (found, token) = value.split_once(' ')?;
        found
            .eq_ignore_ascii_case(&scheme)
            .then(|| token.trim().to_owned())
    });
    token.iter().for_each(|token| shared.secret(token));
    let call = ApiCall {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
        authorization,
        token,
        status: None,
    };
    let place = shared.log.arrived(Kind::ApiCall(call.clone()));
    shared
        .perform(switch, Target::Api, place, move |shared| {
            (answer(shared, &call), ())
        })
        .await
}

fn answer(shared: &Shared, call: &ApiCall) -> Response {
    let mut state = shared.state();
    let in_query = form::read(&call.query)
        .is_ok_and(|pairs| pairs.iter().any(|(name, _)| name == "access_token"));
    if in_query {
        let challenge = format!(
            r#"{} realm="emulator", error="invalid_request""#,
            state.knobs.api_scheme
        );
        return refused(
            400,
            &[challenge],
            &json!({"error": "a token must not be in the query (RFC 6750 §2.3)"}),
        );
    }
    match &call.token {
        // Without a token there is no error code in the challenge (RFC 6750 §3.1).
        None => {
            let challenge = format!(r#"{} realm="emulator""#, state.knobs.api_scheme);
            refused(
                401,
                &[challenge],
                &json!({"error": format!("{} token wanted", state.knobs.api_scheme)}),
            )
        }
        Some(token) if state.knobs.refuse_all || !state.grants.is_good(token) => {
            let Knobs { unauthorized, .. } = &state.knobs;
            refused(
                unauthorized.status,
                &unauthorized.challenges,
                &unauthorized.body,
            )
        }
        Some(_) => state.sample.answer(call).unwrap_or_else(|| resource(call)),
    }
}

fn refused(status: u16, challenges: &[String], body: &Value) -> Response {
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

fn resource(call: &ApiCall) -> Response {
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
            Err(_) => refused(400, &[], &json!({"error": "an item must be a JSON object"})),
        },
        ("DELETE", path) if path.starts_with("items/") => StatusCode::NO_CONTENT.into_response(),
        ("HEAD", "echo") => Body::empty().into_response(),
        (_, path) if path == "echo" || path.starts_with("echo/") => {
            Json(echo(call)).into_response()
        }
        (method, path) => refused(
            404,
            &[],
            &json!({"error": format!("the emulated provider has no {method} /api/{path}")}),
        ),
    }
}

/// What was asked, without the token: an answer may be shown.
fn echo(call: &ApiCall) -> Value {
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
