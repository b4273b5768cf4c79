//! The routes of the provider.

use super::{
    ProviderConfig, api, authorize,
    grants::Grants,
    hold::Holds,
    revoke,
    shared::{Shared, State},
    token,
};
use axum::{
    Json, Router,
    extract::State as Extracted,
    http::{Method, StatusCode, Uri},
    routing::{any, get},
};
use http_double::{Listener, Log, Rules, Server, Troublemaker};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
};

pub(super) async fn start(mut config: ProviderConfig) -> io::Result<(Arc<Shared>, Server)> {
    let listener = Listener::bind(config.port).await?;
    let state = State {
        knobs: std::mem::take(&mut config.knobs),
        grants: Grants::default(),
        in_progress: HashMap::new(),
        sample: Default::default(),
    };
    let shared = Arc::new(Shared {
        addr: listener.addr(),
        log: Log::default(),
        faults: Rules::default(),
        trouble: Troublemaker::new(std::mem::take(&mut config.trouble)),
        holds: Holds::default(),
        own_routes: Default::default(),
        state: state.into(),
        secrets: Mutex::default(),
        calls: listener.calls(),
        config,
    });
    shared.secret(&shared.config.client_secret);
    let server = listener.serve("Provider", router(&shared));
    Ok((shared, server))
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

/// The metadata (RFC 8414).
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
