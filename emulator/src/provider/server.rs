//! The HTTP server: routes, and what happens to every call besides what it is for.

use super::{
    ProviderConfig, api, authorize,
    grants::Grants,
    knobs::Knobs,
    log::{Log, Place},
    revoke,
    script::{Orders, Scripted, Stage, Target, cut_in_the_middle, status_answer},
    token,
};
use crate::cut::{CuttableListener, Switch};
use axum::{
    Json, Router,
    extract::State as Extracted,
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    net::TcpListener,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Bodies of requests may be as large as this.
pub(super) const MAX_BODY: usize = 64 * 1024 * 1024;
/// Shorter texts would be found where they are not meant.
const SHORTEST_SECRET: usize = 8;

/// What all requests share.
pub(super) struct Shared {
    pub(super) config: ProviderConfig,
    pub(super) addr: SocketAddr,
    pub(super) log: Log,
    pub(super) orders: Orders,
    state: Mutex<State>,
    secrets: Mutex<BTreeSet<String>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What changes.
pub(super) struct State {
    pub(super) knobs: Knobs,
    pub(super) grants: Grants,
    /// How many refreshes of a token are under way.
    pub(super) under_way: HashMap<String, usize>,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Remembers a text that must not turn up anywhere.
    pub(super) fn secret(&self, text: &str) {
        if text.len() >= SHORTEST_SECRET {
            self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(text.to_owned());
        }
        // Of the provider's own tokens also the random part, which no encoding changes.
        if let Some((_, random)) = text.split_once('.') {
            let random: String = random.chars().take_while(char::is_ascii_alphanumeric).collect();
            if random.len() >= 32 {
                self.secrets.lock().unwrap_or_else(PoisonError::into_inner).insert(random);
            }
        }
    }

    pub(super) fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Carries a call out as it is ordered, to its end even when the client goes away: `act` is what the endpoint does.
    /// What `act` returns beside the answer lives until the call is over.
    pub(super) async fn perform<T: Send + 'static>(
        self: Arc<Self>,
        switch: Switch,
        target: Target,
        place: Place,
        act: impl FnOnce(&Self) -> (Response, T) + Send + 'static,
    ) -> Response {
        let shared = self.clone();
        let order = self.orders.take(target);
        let task = self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(async move {
            let response = shared.ordered(target, order, shared.log.at(place), act).await;
            shared.log.answered(place, response.as_ref().map(|response| response.status().as_u16()));
            response
        }));
        match task.await {
            Ok(Some(Some(response))) => response,
            _ => {
                switch.cut();
                StatusCode::SERVICE_UNAVAILABLE.into_response()
            }
        }
    }

    /// None: the connection is to be cut. Delays count from the call's arrival or its exchange, which tests can see, so that
    /// a test that then moves the clock is never too early.
    async fn ordered<T>(
        &self,
        target: Target,
        order: Scripted,
        arrival: Instant,
        act: impl FnOnce(&Self) -> (Response, T),
    ) -> Option<Response> {
        if let Some(response) = order.instead() {
            return Some(response);
        }
        match &order {
            Scripted::DropBefore => return None,
            Scripted::DelayBefore(time) => sleep_until(arrival + *time).await,
            _ => {}
        }
        if target == Target::Token {
            let latency = self.state().knobs.latency;
            if !latency.is_zero() {
                sleep_until(arrival + latency).await;
            }
        }
        self.orders.pass(target, Stage::Before).await;
        let exchange = Instant::now();
        let (response, _guard) = act(self);
        self.orders.pass(target, Stage::After).await;
        match order {
            Scripted::DelayAfterCommit(time) => sleep_until(exchange + time).await,
            Scripted::DropAfterCommit => return None,
            Scripted::DropMidAnswer => return Some(cut_in_the_middle(response).await),
            Scripted::StatusAfterCommit(status, body) => return Some(status_answer(status, &body)),
            _ => {}
        }
        Some(response)
    }
}

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
    let listener = TcpListener::bind(("127.0.0.1", config.port)).await?;
    let knobs = std::mem::take(&mut config.knobs);
    let shared = Arc::new(Shared {
        addr: listener.local_addr()?,
        log: Log::new(),
        orders: Orders::default(),
        state: State { knobs, grants: Grants::default(), under_way: HashMap::new() }.into(),
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
        let _ = axum::serve(CuttableListener(listener), service).with_graceful_shutdown(stopped).await;
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
