//! The HTTP server: tokens, the record of calls, faults, and which resource a path leads to.

use super::{
    bulk,
    calls::{Call, Calls, Fault},
    query, records,
    refusal::Refusal,
    state::State,
};
use crate::{
    cut::{CuttableListener, Switch},
    provider::Provider,
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request as HttpRequest, State as Extracted},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const MAX_BODY: usize = 200 * 1024 * 1024;
/// Versions before this one lack what components use; later ones than the last are not known.
const VERSIONS: std::ops::RangeInclusive<u32> = 41..=66;

/// What all requests share.
pub(super) struct Shared {
    provider: Provider,
    addr: SocketAddr,
    pub(super) calls: Calls,
    state: Mutex<State>,
    stop: CancellationToken,
}

impl Shared {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server, stopped when this is dropped.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Salesforce({})", self.shared.addr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Running {
    pub(super) async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

pub(super) async fn start(provider: Provider) -> io::Result<Running> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let shared = Arc::new(Shared {
        provider,
        addr: listener.local_addr()?,
        calls: Calls::default(),
        state: State::new().into(),
        stop: CancellationToken::new(),
    });
    let router = Router::new().fallback(answer).with_state(shared.clone());
    let service = router.into_make_service_with_connect_info::<Switch>();
    let stopped = shared.stop.clone().cancelled_owned();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        // Serving ends without errors: failures of single connections stay with these.
        let _ = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(stopped).await;
    });
    tasks.close();
    Ok(Running { shared, tasks })
}

/// A request in parts.
pub(super) struct Request {
    pub(super) method: String,
    /// `60.0`
    pub(super) version: String,
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.body).map_err(|error| Refusal::new(400, "JSON_PARSER_ERROR", error.to_string()))
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

async fn answer(
    Extracted(shared): Extracted<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::BAD_REQUEST.into_response() };
    let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let query = parts.uri.query().unwrap_or_default();
    let path = match query {
        "" => parts.uri.path().to_owned(),
        query => format!("{}?{}", parts.uri.path(), decoded(&query.replace('+', " "))),
    };
    let text = || String::from_utf8_lossy(&body).into_owned().into();
    let (place, fault) = shared.calls.arrived(Call {
        method: parts.method.to_string(),
        path,
        token: token.clone(),
        body: serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        status: None,
    });
    if fault == Some(Fault::Drop) {
        switch.cut();
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let request = Request {
        method: parts.method.to_string(),
        version: String::new(),
        query: pairs.map(|(name, value)| (decoded(name), decoded(&value.replace('+', " ")))).collect(),
        headers: parts.headers,
        body,
    };
    let mut response = match fault {
        Some(Fault::Busy(seconds)) => {
            let refusal = Refusal::new(429, "REQUEST_LIMIT_EXCEEDED", "too many requests in this moment");
            ([(header::RETRY_AFTER, seconds.to_string())], refusal).into_response()
        }
        Some(Fault::Refused(status, code, message)) => Refusal::new(status, code, message).into_response(),
        _ => match token.filter(|token| shared.provider.is_good(token)) {
            Some(_) => dispatch(&mut shared.state(), parts.uri.path(), request).into_response(),
            None => unauthorized(),
        },
    };
    if fault == Some(Fault::DropAnswer) {
        switch.cut();
        return response;
    }
    if let Ok(date) = HeaderValue::try_from(shared.state().clock.http_date()) {
        response.headers_mut().insert(header::DATE, date);
    }
    shared.calls.answered(place, response.status().as_u16());
    response
}

fn unauthorized() -> Response {
    let refusal = Refusal::new(401, "INVALID_SESSION_ID", "Session expired or invalid");
    ([(header::WWW_AUTHENTICATE, "Token")], refusal).into_response()
}

type Answer = Result<Response, Refusal>;

fn dispatch(state: &mut State, path: &str, mut request: Request) -> Answer {
    let segments: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["services", "data", version, rest @ ..] = segments.as_slice() else {
        return Err(Refusal::not_here(format!("{} {path}", request.method)));
    };
    let known = version.strip_prefix('v').and_then(|version| version.strip_suffix(".0"));
    let known = known.and_then(|version| version.parse().ok()).is_some_and(|version| VERSIONS.contains(&version));
    if !known {
        return Err(Refusal::no_resource());
    }
    request.version = version.trim_start_matches('v').to_owned();
    let method = request.method.clone();
    match (method.as_str(), rest) {
        ("GET", ["limits"]) => json_answer(json!({ "DailyApiRequests": { "Max": 15000, "Remaining": 14998 } })),
        ("GET", ["sobjects"]) => json_answer(state.schema.list()),
        ("GET", ["sobjects", object, "describe"]) => json_answer(state.schema.object(object)?.describe()),
        ("POST", ["sobjects", object]) => records::create(state, object, &request),
        (_, ["sobjects", object, id]) => records::by_id(state, object, id, &request),
        (_, ["sobjects", object, field, value]) => records::by_field(state, object, field, value, &request),
        ("GET", ["query"]) => query::query(state, &request, false),
        ("GET", ["queryAll"]) => query::query(state, &request, true),
        ("GET", ["query", locator]) => query::more(state, locator, &request),
        (_, ["jobs", "ingest", rest @ ..]) => bulk::ingest(state, rest, &request),
        (_, ["jobs", "query", rest @ ..]) => bulk::query(state, rest, &request),
        (method, _) => Err(Refusal::not_here(format!("{method} {path}"))),
    }
}

pub(super) fn json_answer(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub(super) fn no_content() -> Answer {
    Ok((StatusCode::NO_CONTENT, Body::empty()).into_response())
}

/// `%XX` read; what is no such thing stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
