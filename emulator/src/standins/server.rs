//! The HTTP server of a stand-in: tokens, the record of calls, and faults. What it answers is the [`Service`]'s.

use super::calls::{Call, Calls, Fault};
use crate::{
    cryptography,
    cut::{CuttableListener, Switch},
    provider::Provider,
};
use axum::{
    Router,
    body::to_bytes,
    extract::{ConnectInfo, Request as HttpRequest, State as Extracted},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

const MAX_BODY: usize = 200 * 1024 * 1024;

/// A service that is stood in for: its state, and how it speaks.
pub(super) trait Service: Send + 'static {
    const TITLE: &'static str;

    /// The answer to a request with a good token.
    fn answer(&mut self, request: Request) -> Response;

    /// The answer to a request that needs no token; none to all others.
    fn open(&self, _request: &Request) -> Option<Response> {
        None
    }

    /// Sets what all answers have.
    fn dress(&self, _response: &mut Response) {}

    /// A refusal with this status, code and message.
    fn refused(status: u16, code: &str, message: &str) -> Response;

    /// The answer to a token that is not good.
    fn unauthorized() -> Response;

    /// The answer to too many requests; the server adds `Retry-After`.
    fn throttled() -> Response;
}

/// A request in parts.
pub(super) struct Request {
    pub(super) method: String,
    /// The address without its query.
    pub(super) address: String,
    /// The path as it came.
    pub(super) path: String,
    /// How long path and query are together.
    pub(super) length: usize,
    /// The query, decoded.
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Request {
    /// The parts of the path, each decoded by itself: an id whose slash is not encoded makes a path of more parts.
    pub(super) fn segments(&self) -> Vec<String> {
        self.path
            .trim_matches('/')
            .split('/')
            .map(decoded)
            .collect()
    }
}

/// What all requests share.
pub(super) struct Shared<S> {
    provider: Provider,
    addr: SocketAddr,
    pub(super) calls: Calls,
    service: Mutex<S>,
    stop: CancellationToken,
}

impl<S> Shared<S> {
    /// `http://127.0.0.1:PORT`
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub(super) fn service(&self) -> MutexGuard<'_, S> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The server, stopped when this is dropped.
pub(super) struct Running<S: Service> {
    pub(super) shared: Arc<Shared<S>>,
    tasks: TaskTracker,
}

impl<S: Service> fmt::Debug for Running<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", S::TITLE, self.shared.addr)
    }
}

impl<S: Service> Drop for Running<S> {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl<S: Service> Running<S> {
    /// Listens on a free port of 127.0.0.1; tokens of `provider` are let in.
    pub(super) async fn start(provider: Provider, service: S) -> io::Result<Self> {
        cryptography::choose();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let shared = Arc::new(Shared {
            provider,
            addr: listener.local_addr()?,
            calls: Calls::default(),
            service: service.into(),
            stop: CancellationToken::new(),
        });
        let router = Router::new()
            .fallback(answer::<S>)
            .with_state(shared.clone());
        let service = router.into_make_service_with_connect_info::<Switch>();
        let stopped = shared.stop.clone().cancelled_owned();
        let tasks = TaskTracker::new();
        tasks.spawn(async move {
            // Serving ends without errors: failures of single connections stay with these.
            let _ = axum::serve(CuttableListener(listener), service)
                .with_graceful_shutdown(stopped)
                .await;
        });
        tasks.close();
        Ok(Self { shared, tasks })
    }

    pub(super) async fn shutdown(&self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

async fn answer<S: Service>(
    Extracted(shared): Extracted<Arc<Shared<S>>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let bearer = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let token = bearer
        .and_then(|value| value.strip_prefix("Bearer "))
        .map(str::to_owned);
    let query = parts.uri.query().unwrap_or_default().replace('+', " ");
    let path = parts.uri.path().to_owned();
    let call = Call {
        method: parts.method.to_string(),
        path: path.clone(),
        query: decoded(&query),
        token: token.clone(),
        body: serde_json::from_slice(&body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into()),
        status: None,
    };
    if let Some(work) = shared.calls.due(&call.line()) {
        work();
    }
    let (place, fault) = shared.calls.arrived(call);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let request = Request {
        method: parts.method.to_string(),
        address: format!("http://{}{path}", shared.addr),
        path,
        length: parts
            .uri
            .path_and_query()
            .map_or(0, |whole| whole.as_str().len()),
        query: pairs
            .map(|(name, value)| (decoded(name), decoded(value)))
            .collect(),
        headers: parts.headers,
        body,
    };
    let mut response = match fault {
        Some(Fault::Drop) => {
            switch.cut();
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Some(Fault::Throttled(seconds)) => {
            let mut response = S::throttled();
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            response
        }
        Some(Fault::Refused(status, code, message)) => S::refused(status, code, message),
        Some(Fault::Unauthorized) => S::unauthorized(),
        None | Some(Fault::DropAnswer) => {
            let mut service = shared.service();
            let is_good = || {
                token
                    .as_ref()
                    .is_some_and(|token| shared.provider.is_good(token))
            };
            match service.open(&request) {
                Some(response) => response,
                None if is_good() => service.answer(request),
                None => S::unauthorized(),
            }
        }
    };
    if fault == Some(Fault::DropAnswer) {
        switch.cut();
        return response;
    }
    shared.service().dress(&mut response);
    let status = response.status().as_u16();
    shared.calls.answered(place, status);
    shared
        .provider
        .log_api_call(&parts.method, &parts.uri, token, status);
    response
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
