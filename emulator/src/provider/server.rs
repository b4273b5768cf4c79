//! The HTTP server and its routes.

use super::{
    ProviderConfig, api, authorize,
    grants::Grants,
    log::Log,
    revoke,
    script::Orders,
    shared::{Shared, State},
    token,
};
use crate::{
    cryptography,
    cut::{CuttableListener, Switch},
};
use axum::{
    Json, Router,
    extract::State as Extracted,
    http::{Method, StatusCode, Uri},
    routing::{any, get},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    fmt, io,
    sync::{Arc, Mutex},
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The server, stopped when this is dropped.
pub(super) struct Running {
    pub(super) shared: Arc<Shared>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({})", self.shared.addr)
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
        self.shared.tasks.wait().await;
    }
}

pub(super) async fn start(mut config: ProviderConfig) -> io::Result<Running> {
    cryptography::choose();
    let listener = TcpListener::bind(("127.0.0.1", config.port)).await?;
    let knobs = std::mem::take(&mut config.knobs);
    let shared = Arc::new(Shared {
        addr: listener.local_addr()?,
        log: Log::new(),
        orders: Orders::default(),
        state: State {
            knobs,
            grants: Grants::default(),
            under_way: HashMap::new(),
            sample: Default::default(),
        }
        .into(),
        secrets: Mutex::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
        config,
    });
    shared.secret(&shared.config.client_secret);
    let service = router(&shared).into_make_service_with_connect_info::<Switch>();
    let stopped = shared.stop.clone().cancelled_owned();
    shared.tasks.spawn(async move {
        // Serving ends without errors: failures of single connections stay with these.
        let _ = axum::serve(CuttableListener(listener), service)
            .with_graceful_shutdown(stopped)
            .await;
    });
    shared.tasks.close();
    Ok(Running { shared })
}

fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/authorize", get(authorize::authorize))
        .route("/token", any(token::token))
        .route("/revoke", any(revoke::revoke))
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/api/{*path}", any(api::api))
        .fallback(async |method: Method, uri: Uri| {
            let reason = format!("the emulated provider has no {method} {}", uri.path());
            (StatusCode::NOT_IMPLEMENTED, Json(json!({"error": reason})))
        })
        .with_state(shared.clone())
}

/// RFC 8414.
async fn metadata(Extracted(shared): Extracted<Arc<Shared>>) -> Json<Value> {
    let url = shared.url();
    Json(json!({
        "issuer": url,
        "authorization_endpoint": format!("{url}/authorize"),
        "token_endpoint": format!("{url}/token"),
        "revocation_endpoint": format!("{url}/revoke"),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
    }))
}
