//! The HTTP server: tokens, the record of calls, faults, and where a path leads.

use super::{
    calendar,
    calls::{Call, Calls, Fault},
    mail,
    query::Query,
    refusal::Refusal,
    state::State,
};
use crate::{
    cut::{CuttableListener, Switch},
    provider::Provider,
};
use axum::{
    Json, Router,
    body::to_bytes,
    extract::{ConnectInfo, Request as HttpRequest, State as Extracted},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const MAX_BODY: usize = 200 * 1024 * 1024;

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
        format!("http://{}/v1.0", self.addr)
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
        write!(f, "Graph({})", self.shared.addr)
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

/// A request with a good token.
pub(super) struct Request {
    method: String,
    /// The whole address without its query, for links.
    pub(super) address: String,
    pub(super) query: Query,
    headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    pub(super) fn json(&self) -> Result<Value, Refusal> {
        let kind = self.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Err(Refusal::bad_request("Write requests must contain the Content-Type header declaration."));
        }
        serde_json::from_slice(&self.body).map_err(|_| Refusal::bad_request("Unable to read JSON request payload."))
    }
}

pub(super) type Answer = Result<Response, Refusal>;

pub(super) fn json_answer(body: Value) -> Answer {
    Ok(Json(body).into_response())
}

pub(super) fn created(body: Value) -> Answer {
    Ok((StatusCode::CREATED, Json(body)).into_response())
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
    let query = parts.uri.query().unwrap_or_default().replace('+', " ");
    let (place, fault) = shared.calls.arrived(Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: decoded(&query),
        token: token.clone(),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        status: None,
    });
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let request = Request {
        method: parts.method.to_string(),
        address: format!("http://{}{}", shared.addr, parts.uri.path()),
        query: pairs.map(|(name, value)| (decoded(name), decoded(value))).collect(),
        headers: parts.headers,
        body,
    };
    let response = match fault {
        Some(Fault::Drop) => {
            switch.cut();
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Some(Fault::Throttled(seconds)) => Refusal::throttled(seconds),
        Some(Fault::Refused(status, code, message)) => Refusal::new(status, code, message).into_response(),
        Some(Fault::Unauthorized) => Refusal::unauthorized(),
        None => match token.filter(|token| shared.provider.is_good(token)) {
            Some(_) => dispatch(&mut shared.state(), parts.uri.path(), &request).into_response(),
            None => Refusal::unauthorized(),
        },
    };
    shared.calls.answered(place, response.status().as_u16());
    response
}

fn dispatch(state: &mut State, path: &str, request: &Request) -> Answer {
    let zone = request.headers.get("Prefer").and_then(|prefer| prefer.to_str().ok());
    if zone.is_some_and(|prefer| prefer != "outlook.timezone=\"UTC\"") {
        return Err(Refusal::not_here("preference but outlook.timezone=\"UTC\""));
    }
    // An id whose slash is not encoded makes a path of more segments, which leads nowhere.
    let segments: Vec<String> = path.trim_start_matches('/').split('/').map(decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let ["v1.0", "me", rest @ ..] = segments.as_slice() else {
        return Err(Refusal::not_here(format!("{} {path}", request.method)));
    };
    match (request.method.as_str(), rest) {
        ("GET", []) => json_answer(json!({
            "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
            "id": "user-1",
            "displayName": "Adele Vance",
            "mail": "adele@example.com",
            "userPrincipalName": "adele@example.com",
        })),
        ("GET", ["contacts"]) => mail::list(state, state.contacts.iter().collect(), request),
        ("GET", ["mailFolders"]) => mail::folders(state, "", request),
        ("GET", ["mailFolders", folder]) => mail::folder(state, folder),
        ("GET", ["mailFolders", folder, "childFolders"]) => mail::folders(state, folder, request),
        ("GET", ["mailFolders", folder, "messages"]) => mail::messages(state, folder, request),
        ("POST", ["mailFolders", folder, "messages", id, "move"]) => mail::move_message(state, folder, id, request),
        ("GET", ["messages", id, "attachments"]) => mail::attachments(state, id, request),
        ("GET", ["messages", id, "attachments", file, "$value"]) => mail::attachment(state, id, file),
        ("POST", ["sendMail"]) => mail::send(state, request),
        ("GET", ["calendars"]) => calendar::calendars(state, request),
        ("POST", ["calendars", id, "events"]) => calendar::create(state, id, request),
        ("GET", ["calendarView"]) => calendar::view(state, request),
        (method, _) => Err(Refusal::not_here(format!("{method} {path}"))),
    }
}

/// `%XX` read; what is no such thing stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        let read = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        decoded.push(read.unwrap_or(byte));
        at += if read.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
