//! The platform's REST API and object storage on loopback, as far as a component sees them (wire-contract: Object storage, wire-contract: REST API).
//!
//! It is strict: wrong credentials, unknown endpoints and malformed bodies are refused with a readable reason. What it
//! was asked is remembered ([`Platform::calls`]), and faults can be ordered ([`Platform::fail`]). All state is in
//! memory and ends with the last [`Platform`] handle.

mod calls;
mod faults;
mod hook;
mod items;
mod objects;
mod reply;
mod sample;
mod secrets;
mod server;
mod shared;
mod state;
mod steps;

pub use calls::Call;
pub use faults::Fault;
pub(crate) use reply::kind_of;
pub(crate) use shared::Webhook;
pub use state::{ServiceResult, Step};

use bytes::Bytes;
use serde_json::{Map, Value};
use shared::Shared;
use std::{io, net::SocketAddr};
use tokio::sync::{broadcast, mpsc};

/// Where the platform listens and whom it lets in.
#[derive(Clone)]
pub struct PlatformConfig {
    /// The port on 127.0.0.1; 0 takes a free one.
    pub port: u16,
    /// The user name of HTTP Basic: `ELASTICIO_API_USERNAME`.
    pub username: String,
    /// Its password: `ELASTICIO_API_KEY`.
    pub key: String,
    /// The bearer token of object storage: `ELASTICIO_OBJECT_STORAGE_TOKEN`.
    pub storage_token: String,
}

impl Default for PlatformConfig {
    fn default() -> Self {
        Self {
            port: 0,
            username: "emulator-user".into(),
            key: "emulator-key".into(),
            storage_token: "emulator-storage-token".into(),
        }
    }
}

impl std::fmt::Debug for PlatformConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlatformConfig")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// A running platform. Clones are handles to the same one; it stops with [`Platform::shutdown`] or the last handle.
#[derive(Clone, Debug)]
pub struct Platform {
    server: std::sync::Arc<server::Running>,
}

impl Platform {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(config: PlatformConfig) -> io::Result<Self> {
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

    /// `http://127.0.0.1:PORT`, without a slash at its end: the base of everything, object storage as well.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared().url()
    }

    /// The address for the result of a one-time execution, with credentials: `ELASTICIO_POST_RESULT_URL`.
    #[must_use]
    pub fn result_url(&self, exec: &str) -> String {
        let Shared { config, addr, .. } = self.shared();
        let (user, key) = (
            percent_encoded(&config.username),
            percent_encoded(&config.key),
        );
        format!(
            "http://{user}:{key}@{addr}/result/{}",
            percent_encoded(exec)
        )
    }

    /// Everything that was asked so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.shared().calls.all()
    }

    /// Waits until `count` calls that match `pattern` were answered (or cut off, or left hanging), and gives all of
    /// these. The pattern is a regular expression on `METHOD /path?query`. Cancel safe.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    pub async fn called(&self, pattern: &str, count: usize) -> Vec<Call> {
        self.shared()
            .calls
            .wait(&faults::regex(pattern), count)
            .await
    }

    /// Calls as they are answered. A slow reader loses the oldest and is told so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Call> {
        self.shared().calls.watch()
    }

    /// Orders faults for calls that match `pattern`, a regular expression on `METHOD /path?query`: one fault for each
    /// such call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is no regular expression.
    pub fn fail(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared()
            .faults
            .order(faults::regex(pattern), faults.into_iter().collect());
    }

    /// Adds a step to a flow, or replaces it. An account that its configuration names comes into being with it.
    pub fn set_step(&self, flow: &str, step: Step) {
        self.shared().state().set_step(flow, step);
    }

    /// A step as `GET` gives it: the account's keys are in its configuration.
    #[must_use]
    pub fn step(&self, flow: &str, step: &str) -> Option<Step> {
        self.shared().state().step(flow, step)
    }

    /// Changes a step's snapshot, as the platform does when a snapshot event reaches it. False when there is no such
    /// step.
    pub fn set_snapshot(&self, flow: &str, step: &str, snapshot: Value) -> bool {
        self.shared().state().set_snapshot(flow, step, snapshot)
    }

    /// Gives an account these keys and no others.
    pub fn set_account(&self, id: &str, keys: Map<String, Value>) {
        self.shared().state().accounts.insert(id.to_owned(), keys);
    }

    /// Puts new keys among those of an account, as `updateKeys` does. False when there is no such account.
    pub fn merge_account(&self, id: &str, keys: Map<String, Value>) -> bool {
        self.shared().state().merge_account(id, keys)
    }

    /// Removes an account, as when a user deletes a credential: from then on it is answered 404. False when there was
    /// none.
    pub fn delete_account(&self, id: &str) -> bool {
        self.shared().state().accounts.remove(id).is_some()
    }

    /// An account's keys.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<Map<String, Value>> {
        self.shared().state().accounts.get(id).cloned()
    }

    /// Sets or removes what a flow's startup hook stored.
    pub fn set_startup_data(&self, flow: &str, data: Option<Value>) {
        let mut state = self.shared().state();
        match data {
            Some(data) => state.startup.insert(flow.to_owned(), data),
            None => state.startup.remove(flow),
        };
    }

    /// What a flow's startup hook stored.
    #[must_use]
    pub fn startup_data(&self, flow: &str) -> Option<Value> {
        self.shared().state().startup.get(flow).cloned()
    }

    /// Keeps an object under an id of the caller's choice. Bodies of lightweight messages are raw ciphertext.
    pub fn set_object(&self, id: &str, bytes: impl Into<Bytes>) {
        self.shared()
            .state()
            .set_object(id, bytes.into(), "application/octet-stream");
    }

    /// An object's bytes.
    #[must_use]
    pub fn object(&self, id: &str) -> Option<Bytes> {
        self.shared()
            .state()
            .objects
            .get(id)
            .map(|object| object.bytes.clone())
    }

    /// The ids of all objects.
    #[must_use]
    pub fn object_ids(&self) -> Vec<String> {
        self.shared().state().objects.keys().cloned().collect()
    }

    /// Adds a secret to a workspace, or replaces it. `refreshed` are the credentials that refreshes will bring, one
    /// after another, each put over those before; when none is left a refresh is refused.
    pub fn set_secret(&self, workspace: &str, id: &str, credentials: Value, refreshed: Vec<Value>) {
        self.shared()
            .state()
            .set_secret(workspace, id, credentials, refreshed);
    }

    /// Whether refreshed secrets are answered bare from now on, as clients of the platform expect them, or in a list, as
    /// its documentation shows them. They are in a list at first.
    pub fn answer_refreshed_secrets_bare(&self, bare: bool) {
        self.shared().state().bare_refreshes = bare;
    }

    /// A secret's current credentials.
    #[must_use]
    pub fn secret(&self, workspace: &str, id: &str) -> Option<Value> {
        self.shared().state().secret(workspace, id)
    }

    /// Results of one-time executions, in order of arrival.
    #[must_use]
    pub fn results(&self) -> Vec<ServiceResult> {
        self.shared().state().results.clone()
    }

    /// Requests to `/hook/{flow}` from now on. Each must be answered.
    pub(crate) fn webhooks(&self, flow: &str) -> mpsc::UnboundedReceiver<Webhook> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.shared().hooks() = Some((flow.to_owned(), sender));
        receiver
    }

    /// Stops listening and ends calls that are under way, hanging ones too.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}

/// Letters, digits and `-._~` as they are, everything else as `%XX`.
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(byte.into());
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
