//! An OAuth2 provider, and an API that accepts its tokens. It follows the RFCs, or breaks them as a test requires.
//!
//! It has the endpoints of a real provider (authorization, token, revocation, metadata), codes with PKCE, grants, and
//! refresh tokens with or without rotation, grace periods and reuse detection. [`Knobs`] set everything in which providers
//! differ. It leaves out users and their consent (every authorization is approved at once), registration (there is one
//! client), other grant types, signed tokens and TLS. Tokens are random texts with a number, such as `at-2.…`.
//!
//! For tests it injects [`Fault`]s, lets its API behave badly ([`Trouble`]), holds calls ([`Hold`]), and keeps a log of every call and of every token issued, spent
//! and reused ([`Provider::log`]). Time is tokio's, so that tests can pause and move it. A call is carried out to its end
//! even when its client goes away.

mod api;
mod authorize;
mod event;
mod form;
mod grants;
mod hold;
mod knobs;
mod request;
mod response;
mod revoke;
mod routes;
mod sample;
mod shared;
mod token;

pub use event::{Credentials, ProviderEvent, ProviderEventKind, TokenCall};
pub use hold::Hold;
pub use http_double::{
    BrokenBody, EmptyList, Encoding, Fault, Limit, LimitStyle, PreparedResponse, RandomTrouble,
    RecordedCall, SlowBody, Trouble,
};
pub use knobs::{
    ApiErrorStyle, BodyFormat, ClientAuth, Content, ExpiresIn, Knobs, TokenErrorStyle,
};

use hold::{Endpoint, HoldPoint};
use http_double::{Server, TokenIssuer};
use serde_json::{Map, Value};
use shared::Shared;
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::sync::broadcast;

/// Where the provider listens, and its one client.
#[derive(Clone)]
pub struct ProviderConfig {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The client's id.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// How it behaves at first.
    pub knobs: Knobs,
    /// What goes wrong with the responses of its API at first.
    pub trouble: Trouble,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            port: 0,
            client_id: "emulator-client".into(),
            client_secret: "emulator-client-secret".into(),
            knobs: Knobs::default(),
            trouble: Trouble::default(),
        }
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderConfig")
            .field("port", &self.port)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// A running provider. Clones are handles to the same one; it stops with [`Provider::shutdown`] or the last handle.
///
/// ```
/// use emulator::provider::{Knobs, Provider, ProviderConfig};
///
/// # async fn example() -> std::io::Result<()> {
/// let provider = Provider::start(ProviderConfig { knobs: Knobs::rotating(), ..Default::default() }).await?;
/// let record = provider.issue_expired(); // as a component stores it
/// // … the component calls `provider.api_url()`, is refused, refreshes at `provider.token_url()`, and retries …
/// assert_eq!(provider.refreshes(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Provider {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.server.fmt(f)
    }
}

impl Provider {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(config: ProviderConfig) -> io::Result<Self> {
        let (shared, server) = routes::start(config).await?;
        let server = server.into();
        Ok(Self { shared, server })
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end. This is also the issuer.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// The token endpoint.
    #[must_use]
    pub fn token_url(&self) -> String {
        self.url() + "/token"
    }

    /// The authorization endpoint.
    #[must_use]
    pub fn authorize_url(&self) -> String {
        self.url() + "/authorize"
    }

    /// The revocation endpoint.
    #[must_use]
    pub fn revoke_url(&self) -> String {
        self.url() + "/revoke"
    }

    /// The base of the API.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.url() + "/api"
    }

    /// The one client's id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.shared.config.client_id
    }

    /// The one client's secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.shared.config.client_secret
    }

    /// Changes how the provider behaves from now on. Tokens that were issued keep their lifetime.
    pub fn knobs(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.shared.state().knobs);
    }

    /// What goes wrong with the responses of the API from now on. Faults that were injected come before it.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.shared.trouble.set(trouble);
    }

    /// Issues a new grant: the token response as after an authorization.
    #[must_use]
    pub fn issue(&self) -> Map<String, Value> {
        self.grant(false)
    }

    /// Like [`Self::issue`], but the access token is expired already.
    #[must_use]
    pub fn issue_expired(&self) -> Map<String, Value> {
        self.grant(true)
    }

    fn grant(&self, expired: bool) -> Map<String, Value> {
        let shared = &self.shared;
        let mut state = shared.state();
        let knobs = state.knobs.clone();
        let grant = state.grants.authorize(&knobs.scope);
        let tokens = state.grants.first(grant, &knobs);
        if expired {
            state.grants.expire(&tokens.access);
        }
        token::issued(shared, &tokens);
        response::members(&tokens, true, &knobs, &shared.url())
    }

    /// Expires all access tokens that were issued.
    pub fn expire_access_tokens(&self) {
        self.shared.state().grants.expire_all();
    }

    /// Revokes all tokens that were issued, as when users withdraw their consent.
    pub fn revoke_all(&self) {
        self.shared.state().grants.revoke_all();
    }

    /// Injects faults into the next calls of the token endpoint, one for each call.
    pub fn script_token(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.add(Endpoint::Token.pattern(), faults);
    }

    /// Injects faults into the next calls of the revocation endpoint, one for each call.
    pub fn script_revoke(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.add(Endpoint::Revoke.pattern(), faults);
    }

    /// Injects faults into the next calls of the API, one for each call.
    pub fn script_api(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.faults.add(Endpoint::Api.pattern(), faults);
    }

    /// Adds a route to the API: responds to calls with a valid token that match `pattern`, with one response for each, and with
    /// the last one to all further calls. `pattern` is a regular expression on [`RecordedCall::line`], such as
    /// `GET /api/orders`; all paths begin with `/api/`. The API's own resources come after it, and faults,
    /// [trouble](Self::set_trouble) and refused tokens before it. Of several routes that match, the first one counts.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    ///
    /// ```
    /// use emulator::provider::{PreparedResponse, Provider, ProviderConfig};
    /// use serde_json::json;
    ///
    /// # async fn example() -> std::io::Result<()> {
    /// let provider = Provider::start(ProviderConfig::default()).await?;
    /// provider.respond("GET /api/orders$", [PreparedResponse::json(200, &json!([{ "id": 1 }]))]);
    /// provider.handle("POST /api/orders$", |call| match call.json() {
    ///     Some(order) => PreparedResponse::json(201, &json!({ "id": 2, "order": order })),
    ///     None => PreparedResponse::status(400),
    /// });
    /// // … the component calls `provider.api_url()` + "/orders" with a token of the provider …
    /// # Ok(())
    /// # }
    /// ```
    pub fn respond(&self, pattern: &str, responses: impl IntoIterator<Item = PreparedResponse>) {
        self.shared.own_routes.guarded.respond(pattern, responses);
    }

    /// Adds a route like [`respond`](Self::respond), with what `handler` returns. The handler may use the provider.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn handle(
        &self,
        pattern: &str,
        handler: impl Fn(&RecordedCall) -> PreparedResponse + Send + Sync + 'static,
    ) {
        self.shared.own_routes.guarded.handle(pattern, handler);
    }

    /// Adds a route like [`handle`](Self::handle) whose calls need no token, such as a status page.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn handle_without_token(
        &self,
        pattern: &str,
        handler: impl Fn(&RecordedCall) -> PreparedResponse + Send + Sync + 'static,
    ) {
        self.shared.own_routes.open.handle(pattern, handler);
    }

    /// Holds token calls from now on, before anything is done: no token is spent while they wait.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_token_calls(&self) -> Hold {
        self.shared.holds.add(Endpoint::Token, HoldPoint::Before)
    }

    /// Holds the responses of token calls from now on: tokens are issued and spent immediately.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_token_responses(&self) -> Hold {
        self.shared.holds.add(Endpoint::Token, HoldPoint::After)
    }

    /// Holds the responses of API calls from now on: their tokens are checked immediately.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_api_responses(&self) -> Hold {
        self.shared.holds.add(Endpoint::Api, HoldPoint::After)
    }

    /// Everything that happened, in order. The place of a call is its arrival.
    #[must_use]
    pub fn log(&self) -> Vec<ProviderEvent> {
        self.shared.log.all()
    }

    /// Events from now on. A call is sent when it is finished. A slow reader loses the oldest, and its `recv` says so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<ProviderEvent> {
        self.shared.log.watch()
    }

    /// All calls of the token endpoint so far.
    #[must_use]
    pub fn token_calls(&self) -> Vec<TokenCall> {
        let calls = self.log().into_iter().filter_map(|entry| match entry.kind {
            ProviderEventKind::TokenCall(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// The number of refresh requests to the token endpoint, successful or not.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        self.shared
            .log
            .count(|event| matches!(&event.kind, ProviderEventKind::TokenCall(call) if call.grant_type == "refresh_token"))
    }

    /// All calls of the API so far. Calls of stand-ins that take these tokens are among them, without headers and bodies.
    #[must_use]
    pub fn api_calls(&self) -> Vec<RecordedCall> {
        let calls = self.log().into_iter().filter_map(|entry| match entry.kind {
            ProviderEventKind::ApiCall(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// Every `Authorization` header that the API received, in order.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        self.api_calls()
            .into_iter()
            .filter_map(|call| call.authorization())
            .collect()
    }

    /// Everything that must not be seen in a log: tokens, codes, verifiers and secrets, issued or received, and the
    /// random parts of tokens, which no encoding changes.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.shared.secrets()
    }

    /// Whether a refresh with this token would succeed.
    #[must_use]
    pub fn is_spendable(&self, refresh_token: &str) -> bool {
        let state = self.shared.state();
        state.grants.is_spendable(refresh_token, &state.knobs)
    }

    /// Whether the API accepts this access token now.
    #[must_use]
    pub fn is_valid(&self, access_token: &str) -> bool {
        self.shared.state().grants.is_valid(access_token)
    }

    /// How often this refresh token was used, valid or not.
    #[must_use]
    pub fn uses(&self, refresh_token: &str) -> usize {
        self.shared.state().grants.uses(refresh_token)
    }

    /// What `/api/records` lists from now on: objects with `id` and `updated_at`. The list is paged below `pages`,
    /// `offsets`, `cursors`, `links` and `headers` there.
    pub fn set_records(&self, records: impl IntoIterator<Item = Value>) {
        self.shared.state().sample.records = records.into_iter().collect();
    }

    /// The subscriptions to webhooks that were created at `/api/webhooks` and not deleted.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Value> {
        self.shared
            .state()
            .sample
            .subscriptions
            .values()
            .cloned()
            .collect()
    }

    /// Waits until `count` calls of the token endpoint have arrived; they may still be held. Cancel safe.
    pub async fn token_called(&self, count: usize) {
        self.shared
            .log
            .wait_for(count, |event| {
                matches!(event.kind, ProviderEventKind::TokenCall(_))
            })
            .await;
    }

    /// Waits until `count` calls of the API have arrived; they may still be held. Cancel safe.
    pub async fn api_called(&self, count: usize) {
        self.shared
            .log
            .wait_for(count, |event| {
                matches!(event.kind, ProviderEventKind::ApiCall(_))
            })
            .await;
    }

    /// Stops listening and ends open calls, including held ones.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

impl TokenIssuer for Provider {
    fn is_valid(&self, access_token: &str) -> bool {
        Self::is_valid(self, access_token)
    }

    fn record_call(&self, call: &RecordedCall) {
        if let Some(token) = &call.token {
            self.shared.secret(token);
        }
        let call = call.clone();
        self.shared.happened(ProviderEventKind::ApiCall(call));
    }

    fn add_token_member(&self, name: &str, value: Value) {
        let mut state = self.shared.state();
        state.knobs.extra.insert(name.to_owned(), value);
    }
}
