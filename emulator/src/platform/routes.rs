//! The routes of the platform, who may use them, and what happens to every call.

use super::{
    PlatformConfig,
    error::{ErrorResponse, unauthorized},
    hook, objects, sample, secrets, sends,
    shared::Shared,
    state::State as PlatformState,
    steps,
};
use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, DefaultBodyLimit, Request, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::{any, get, post},
};
use http_double::{
    Calls, Disconnect, Listener, RecordedCall, Server, authorization_text, read_request,
};
use std::{
    io,
    sync::{Arc, Mutex},
};

pub(super) async fn start(config: PlatformConfig) -> io::Result<(Arc<Shared>, Server)> {
    let listener = Listener::bind(config.port).await?;
    let shared = Arc::new(Shared {
        config,
        addr: listener.addr(),
        state: PlatformState::new().into(),
        hooks: Mutex::default(),
        sends: Mutex::default(),
        calls: Calls::new(listener.calls()),
    });
    let server = listener.serve("Platform", router(&shared));
    Ok((shared, server))
}

fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .merge(api(shared))
        .merge(storage(shared))
        .merge(sample::router())
        .route("/hook/{flow}", any(hook::hook))
        .route(
            "/signed/{id}",
            get(objects::get_signed).put(objects::put_signed),
        )
        .fallback(not_emulated)
        .method_not_allowed_fallback(not_emulated)
        .layer(middleware::from_fn_with_state(shared.clone(), record))
        // Not a call of the component, so it is not recorded.
        .route(
            sends::PATH,
            post(sends::post_message).layer(DefaultBodyLimit::disable()),
        )
        .with_state(shared.clone())
}

/// The REST API.
fn api(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
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
        ))
}

/// The object storage.
fn storage(shared: &Arc<Shared>) -> Router<Arc<Shared>> {
    Router::new()
        .route("/objects", post(objects::post_object))
        .route("/objects/", post(objects::post_object))
        .route(
            "/objects/{id}",
            get(objects::get_object)
                .put(objects::put_object)
                .delete(objects::delete_object),
        )
        // Files are larger than axum's limit for bodies.
        .layer(DefaultBodyLimit::disable())
        .route_layer(middleware::from_fn_with_state(
            shared.clone(),
            require_bearer,
        ))
}

async fn not_emulated(method: Method, uri: Uri) -> ErrorResponse {
    ErrorResponse::new(
        StatusCode::NOT_IMPLEMENTED,
        format!("the emulator has no {method} {}", uri.path()),
    )
}

/// Records every call, and applies the fault that was injected for it.
async fn record(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(disconnect): ConnectInfo<Disconnect>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = match read_request::<ErrorResponse>(request).await {
        Ok(request) => request,
        Err(response) => return response,
    };
    let call = RecordedCall::new(&parts, body.clone(), "Bearer");
    let request = Request::from_parts(parts, Body::from(body));
    let carry_out = async || next.run(request).await;
    let response = shared.calls.respond::<ErrorResponse>(call, carry_out).await;
    disconnect.unless(response)
}

async fn require_basic(
    State(shared): State<Arc<Shared>>,
    request: Request,
    next: Next,
) -> Response {
    let wanted = format!("{}:{}", shared.config.username, shared.config.key);
    let reason = match request.headers().get(header::AUTHORIZATION) {
        Some(value)
            if value.as_bytes().starts_with(b"Basic ") && authorization_text(value) == wanted =>
        {
            return next.run(request).await;
        }
        Some(value) if value.as_bytes().starts_with(b"Basic ") => {
            "the user name or the key is wrong: use ELASTICIO_API_USERNAME and ELASTICIO_API_KEY"
        }
        _ => "this endpoint needs HTTP Basic with ELASTICIO_API_USERNAME and ELASTICIO_API_KEY",
    };
    unauthorized("Basic realm=\"emulator\"", reason)
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
    unauthorized(
        "Bearer",
        "object storage needs the bearer token ELASTICIO_OBJECT_STORAGE_TOKEN",
    )
}
