//! An OAuth2 provider on loopback, with an API that its tokens are for: by the book, and as wrong as one wants it.
//!
//! [`Knobs`] say how it behaves, [`Scripted`] what goes wrong with the next calls, [`Hold`] stops calls until a test
//! lets go, and [`Provider::log`] tells every call, and every token issued, spent and reused. Time is tokio's, so that
//! tests can stop and move it. A call is carried out to its end even when its client does not wait for it.

mod answer;
mod api;
mod authorize;
mod form;
mod grants;
mod knobs;
mod log;
mod request;
mod revoke;
mod sample;
mod script;
mod server;
mod shared;
mod token;

pub use knobs::{BodyFormat, ClientAuth, Content, ExpiresIn, Knobs, Refused, Unauthorized};
pub use log::{ApiCall, Credentials, Entry, Kind, TokenCall};
pub use script::{Hold, Scripted};

use axum::http::{Method, Uri};
use script::{Stage, Target};
use serde_json::{Map, Value};
use server::Running;
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
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            port: 0,
            client_id: "emulator-client".into(),
            client_secret: "emulator-client-secret".into(),
            knobs: Knobs::default(),
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
/// let record = provider.issue_expired(); // what a component has stored
/// // … the component calls `provider.api_url()`, is refused, refreshes at `provider.token_url()`, and tries again …
/// assert_eq!(provider.refreshes(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Provider {
    server: Arc<Running>,
}

impl Provider {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(config: ProviderConfig) -> io::Result<Self> {
        Ok(Self {
            server: server::start(config).await?.into(),
        })
    }

    fn shared(&self) -> &Shared {
        &self.server.shared
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared().addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end. This is also the issuer.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared().url()
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
        &self.shared().config.client_id
    }

    /// The one client's secret.
    #[must_use]
    pub fn client_secret(&self) -> &str {
        &self.shared().config.client_secret
    }

    /// Changes how the provider behaves from now on. Tokens that are out keep their lifetime.
    pub fn knobs(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.shared().state().knobs);
    }

    /// A new grant: the token answer as after an authorization.
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
        let shared = self.shared();
        let mut state = shared.state();
        let knobs = state.knobs.clone();
        let family = state.grants.authorize(&knobs.scope);
        let minted = state.grants.first(family, &knobs);
        if expired {
            state.grants.expire(&minted.access);
        }
        token::issued(shared, &minted);
        answer::members(&minted, true, &knobs, &shared.url())
    }

    /// All access tokens that are out are expired now.
    pub fn expire_access_tokens(&self) {
        self.shared().state().grants.expire_all();
    }

    /// All tokens that are out are dead now, as when users take their consent back.
    pub fn revoke_all(&self) {
        self.shared().state().grants.kill_all();
    }

    /// What happens to the next calls of the token endpoint, one by one; then all is as usual.
    pub fn script_token(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.shared().orders.script(Target::Token, answers);
    }

    /// What happens to the next calls of the revocation endpoint.
    pub fn script_revoke(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.shared().orders.script(Target::Revoke, answers);
    }

    /// What happens to the next calls of the API.
    pub fn script_api(&self, answers: impl IntoIterator<Item = Scripted>) {
        self.shared().orders.script(Target::Api, answers);
    }

    /// From now on token calls wait before anything is done: nothing is spent while they are held.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_token_calls(&self) -> Hold {
        self.shared().orders.hold(Target::Token, Stage::Before)
    }

    /// From now on token calls are done, tokens issued and spent, but their answers wait.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_token_answers(&self) -> Hold {
        self.shared().orders.hold(Target::Token, Stage::After)
    }

    /// From now on API calls are judged when they come, but their answers wait.
    #[must_use = "calls are held only while the hold lives"]
    pub fn hold_api_answers(&self) -> Hold {
        self.shared().orders.hold(Target::Api, Stage::After)
    }

    /// Everything that happened, in order. Calls stand where they arrived.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.shared().log.all()
    }

    /// What happens from now on; calls come when they are answered. A slow reader loses the oldest and is told so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Entry> {
        self.shared().log.watch()
    }

    /// All calls of the token endpoint so far.
    #[must_use]
    pub fn token_calls(&self) -> Vec<TokenCall> {
        let calls = self.log().into_iter().filter_map(|entry| match entry.kind {
            Kind::TokenCall(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// How many calls of the token endpoint asked for a refresh, whatever came of it.
    #[must_use]
    pub fn refreshes(&self) -> usize {
        self.shared()
            .log
            .count(|kind| matches!(kind, Kind::TokenCall(call) if call.grant == "refresh_token"))
    }

    /// All calls of the API so far, and of stand-ins for others that take its tokens, those without headers and bodies.
    #[must_use]
    pub fn api_calls(&self) -> Vec<ApiCall> {
        let calls = self.log().into_iter().filter_map(|entry| match entry.kind {
            Kind::ApiCall(call) => Some(call),
            _ => None,
        });
        calls.collect()
    }

    /// Every `Authorization` header that the API was sent, in order.
    #[must_use]
    pub fn authorizations(&self) -> Vec<String> {
        self.api_calls()
            .into_iter()
            .filter_map(|call| call.authorization)
            .collect()
    }

    /// Everything that must not be seen in a log: tokens, codes, verifiers and secrets, issued or received, and the
    /// random parts of tokens, which no encoding changes.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        self.shared().secrets()
    }

    /// Whether a refresh with this token would succeed.
    #[must_use]
    pub fn is_spendable(&self, refresh_token: &str) -> bool {
        let state = self.shared().state();
        state.grants.is_spendable(refresh_token, &state.knobs)
    }

    /// Whether the API would take this access token.
    #[must_use]
    pub fn is_good(&self, access_token: &str) -> bool {
        self.shared().state().grants.is_good(access_token)
    }

    /// How often this refresh token reached the exchange, whether it was good or not.
    #[must_use]
    pub fn presented(&self, refresh_token: &str) -> usize {
        self.shared().state().grants.presented(refresh_token)
    }

    /// Writes down a call of another API that takes this provider's tokens, without headers and body.
    pub(crate) fn log_api_call(
        &self,
        method: &Method,
        uri: &Uri,
        token: Option<String>,
        status: u16,
    ) {
        token.iter().for_each(|token| self.shared().secret(token));
        let call = ApiCall {
            method: method.to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers: Default::default(),
            body: Default::default(),
            authorization: token.as_ref().map(|token| format!("Bearer {token}")),
            token,
            status: Some(status),
        };
        self.shared().log.happened(Kind::ApiCall(call));
    }

    /// What `/api/records` lists from now on: objects with `id` and `updated_at`. The list is paged below `pages`,
    /// `offsets`, `cursors`, `links` and `headers` there.
    pub fn set_records(&self, records: impl IntoIterator<Item = Value>) {
        self.shared().state().sample.records = records.into_iter().collect();
    }

    /// The subscriptions to webhooks that were made at `/api/webhooks` and have not ended.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<Value> {
        self.shared()
            .state()
            .sample
            .subscriptions
            .values()
            .cloned()
            .collect()
    }

    /// Waits until `count` calls of the token endpoint have arrived; they may still be held. Cancel safe.
    pub async fn token_called(&self, count: usize) {
        self.shared()
            .log
            .wait(count, |kind| matches!(kind, Kind::TokenCall(_)))
            .await;
    }

    /// Waits until `count` calls of the API have arrived; they may still be held. Cancel safe.
    pub async fn api_called(&self, count: usize) {
        self.shared()
            .log
            .wait(count, |kind| matches!(kind, Kind::ApiCall(_)))
            .await;
    }

    /// Stops listening and ends calls that are under way, held ones too.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}
