//! The HTTP server: routes, credentials, and what happens to every call.

use super::{
    Call, Fault, PlatformConfig, calls::Calls, faults::Faults, hook, objects, reply::Refusal,
    sample, secrets, shared::Shared, state::State as PlatformState, steps,
};
use crate::{
    cryptography,
    cut::{CuttableListener, Switch},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{any, get, post},
};
use std::{
    fmt, io,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The server, stopped when this is dropped.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
    tasks: TaskTracker,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Platform({})", self.shared.addr)
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

pub(super) async fn start(config: PlatformConfig) -> io::Result<Running> {
    cryptography::choose();
    let listener = TcpListener::bind(("127.0.0.1", config.port)).await?;
    let shared = Arc::new(Shared {
        config,
        addr: listener.local_addr()?,
        calls: Calls::new(),
        faults: Faults::default(),
        state: PlatformState::new().into(),
        hooks: Mutex::default(),
        stop: CancellationToken::new(),
    });
    let service = router(&shared).into_make_service_with_connect_info::<Switch>();
    let stopped = shared.stop.clone().cancelled_owned();
    let tasks = TaskTracker::new();
    tasks.spawn(async move {
        // Serving ends without errors: failures of single connections stay with these.
        let _ = axum::serve(CuttableListener(listener), service)
            .with_graceful_shutdown(stopped)
            .await;
    });
    tasks.close();
    Ok(Running { shared, tasks })
}

fn router(shared: &Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/v1/tasks/{flow}/steps/{step}", get(steps::get_step))
        .route(
            "/v1/accounts/{id}",
            get(steps::get_account).put(steps::put_account),
        )
        .route(
            "/sailor-support/hooks/task/{flow}/startup/data",
            get(steps::get_startup)
                .post(steps::post_startup)
                .delete(steps::delete_startup),
        )
        .route(
            "/v2/workspaces/{workspace}/secrets/{id}",
            get(secrets::get_secret),
        )
        .route(
            "/v2/workspaces/{workspace}/secrets/{id}/refresh",
            post(secrets::refresh_secret),
        )
        .route("/v2/resources/storage/signed-url", post(objects::sign))
        .route("/result/{exec}", post(steps::post_result))
        .route_layer(middleware::from_fn_with_state(
            shared.clone(),
            require_basic,
        ));
    let storage = Router::new()
        .route("/objects", post(objects::post_object))
        .route("/objects/", post(objects::post_object))
        .route(
            "/objects/{id}",
            get(objects::get_object)
                .put(objects::put_object)
                .delete(objects::delete_object),
        )
        // Files are larger than axum thinks that bodies should be.
        .layer(DefaultBodyLimit::disable())
        .route_layer(middleware::from_fn_with_state(
            shared.clone(),
            require_bearer,
        ));
    Router::new()
        .merge(api)
        .merge(storage)
        .merge(sample::router())
        .route("/hook/{flow}", any(hook::hook))
        .route(
            "/signed/{id}",
            get(objects::get_signed).put(objects::put_signed),
        )
        .fallback(not_emulated)
        .method_not_allowed_fallback(not_emulated)
        .layer(middleware::from_fn_with_state(shared.clone(), record))
        .with_state(shared.clone())
}

async fn not_emulated(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("the emulator has no {method} {}", uri.path()),
    )
}

/// Writes every call down, and carries out the fault that was ordered for it.
async fn record(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, usize::MAX).await else {
        return Refusal::bad_request("the body ended before its time").into_response();
    };
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        auth: parts.headers.get(header::AUTHORIZATION).map(readable),
        body: serde_json::from_slice(&body).ok(),
        status: None,
    };
    let fault = shared.faults.take(&call.line());
    let place = shared.calls.arrived(call);
    let response = match fault {
        None => next.run(Request::from_parts(parts, Body::from(body))).await,
        Some(Fault::Status(code)) => ordered(code),
        Some(fault) => {
            shared.calls.over(place, None);
            if fault == Fault::Hang {
                shared.stop.cancelled().await;
            }
            switch.cut();
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
    };
    shared.calls.over(place, Some(response.status().as_u16()));
    response
}

fn ordered(code: u16) -> Response {
    match StatusCode::from_u16(code) {
        Ok(status) => {
            Refusal::new(status, format!("status {code} was ordered for this call")).into_response()
        }
        Err(_) => Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{code} is no HTTP status"),
        )
        .into_response(),
    }
}

async fn require_basic(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let wanted = format!("{}:{}", shared.config.username, shared.config.key);
    let reason = match request.headers().get(header::AUTHORIZATION) {
        Some(value) if value.as_bytes().starts_with(b"Basic ") && readable(value) == wanted => {
            return next.run(request).await;
        }
        Some(value) if value.as_bytes().starts_with(b"Basic ") => {
            "the user name or the key is wrong: use ELASTICIO_API_USERNAME and ELASTICIO_API_KEY"
        }
        _ => "this endpoint wants HTTP Basic with ELASTICIO_API_USERNAME and ELASTICIO_API_KEY",
    };
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"emulator\"")];
    (challenge, Refusal::new(StatusCode::UNAUTHORIZED, reason)).into_response()
}

async fn require_bearer(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    request: Request,
    next: Next,
) -> Response {
    let wanted = format!("Bearer {}", shared.config.storage_token);
    if headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes() == wanted.as_bytes())
    {
        return next.run(request).await;
    }
    let reason = "object storage wants the bearer token ELASTICIO_OBJECT_STORAGE_TOKEN";
    (
        [(header::WWW_AUTHENTICATE, "Bearer")],
        Refusal::new(StatusCode::UNAUTHORIZED, reason),
    )
        .into_response()
}

/// Basic credentials decoded to `user:key`; anything else as it is.
fn readable(authorization: &HeaderValue) -> String {
    let decoded = (authorization.as_bytes().strip_prefix(b"Basic ")).and_then(|base64| {
        base64_simd::STANDARD
            .decode_to_vec(base64.trim_ascii())
            .ok()
    });
    String::from_utf8_lossy(decoded.as_deref().unwrap_or(authorization.as_bytes())).into_owned()
}
