//! The platform: its REST API and its object storage, as far as a component sees them (wire-contract: REST API,
//! wire-contract: Object storage).
//!
//! It has what a component calls: steps with their accounts, startup data, secrets, results of one-time calls, objects,
//! signed addresses, and the flow's webhook address. It is as strict as the real platform: wrong credentials, unknown
//! endpoints and malformed bodies are refused with a readable reason. It leaves out everything that only users and
//! other services see: workspaces, flows and their versions, logs, quotas, and any limit on size or rate. Signed
//! addresses do not expire. All state is in memory and ends with the last [`Platform`] handle.
//!
//! For tests it records its calls ([`Platform::calls`]) and injects faults ([`Platform::inject_faults`]). For a first
//! component it also serves a small sample API below `/sample`.

mod body;
mod error;
mod hook;
mod items;
mod objects;
mod routes;
mod sample;
mod secrets;
mod sends;
mod shared;
mod state;
mod steps;

pub(crate) use body::kind_of;
pub use http_double::{Fault, RecordedCall};
pub(crate) use sends::{PATH as SENDS, PendingSend, Sending};
pub(crate) use shared::{Webhook, WebhookResponse};
pub use state::{ServiceResult, Step};

use bytes::Bytes;
use http_double::{Server, percent_encoded};
use sailor::{Attachment, StoredFile};
use serde_json::{Map, Value};
use shared::Shared;
use std::{io, net::SocketAddr, sync::Arc};
use tokio::sync::{broadcast, mpsc};

/// Where the platform listens, and the credentials that it accepts.
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
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
    server: Arc<Server>,
}

impl std::fmt::Debug for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.server.fmt(f)
    }
}

impl Platform {
    /// Starts to listen.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(config: PlatformConfig) -> io::Result<Self> {
        let (shared, server) = routes::start(config).await?;
        let server = server.into();
        Ok(Self { shared, server })
    }

    /// 127.0.0.1 and the port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end. Object storage has the same base.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// The address for the result of a one-time call, with credentials: `ELASTICIO_POST_RESULT_URL`.
    #[must_use]
    pub fn result_url(&self, exec: &str) -> String {
        let Shared { config, addr, .. } = &*self.shared;
        let (user, key) = (
            percent_encoded(&config.username),
            percent_encoded(&config.key),
        );
        format!(
            "http://{user}:{key}@{addr}/result/{}",
            percent_encoded(exec)
        )
    }

    /// All calls so far, in order of arrival.
    #[must_use]
    pub fn calls(&self) -> Vec<RecordedCall> {
        self.shared.calls.all()
    }

    /// Waits until `count` calls that match `pattern`, a regular expression on [`RecordedCall::line`], are finished, and
    /// returns all of these. A call that hangs is finished. Cancel safe.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub async fn called(&self, pattern: &str, count: usize) -> Vec<RecordedCall> {
        self.shared.calls.finished(pattern, count).await
    }

    /// Calls from now on, each when it is finished. A slow reader loses the oldest, and its `recv` says so.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<RecordedCall> {
        self.shared.calls.watch()
    }

    /// Injects faults into calls that match `pattern`, a regular expression on [`RecordedCall::line`]: one fault for
    /// each such call, then calls succeed again.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn inject_faults(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        self.shared.calls.inject_faults(pattern, faults);
    }

    /// Adds a step to a flow, or replaces it. Creates the account that its configuration names.
    pub fn set_step(&self, flow: &str, step: Step) {
        self.shared.state().set_step(flow, step);
    }

    /// A step as a component gets it: its configuration contains the account's keys.
    #[must_use]
    pub fn step(&self, flow: &str, step: &str) -> Option<Step> {
        self.shared.state().step(flow, step)
    }

    /// Replaces a step's snapshot, as the platform does when it receives a snapshot event. False when there is no such
    /// step.
    pub fn set_snapshot(&self, flow: &str, step: &str, snapshot: Value) -> bool {
        self.shared.state().set_snapshot(flow, step, snapshot)
    }

    /// Replaces all keys of an account.
    pub fn set_account(&self, id: &str, keys: Map<String, Value>) {
        self.shared.state().accounts.insert(id.to_owned(), keys);
    }

    /// Merges keys into those of an account, as `updateKeys` does. False when there is no such account.
    pub fn merge_account(&self, id: &str, keys: Map<String, Value>) -> bool {
        self.shared.state().merge_account(id, keys)
    }

    /// Removes an account, as when a user deletes a credential: from then on it is a 404. False when there was none.
    pub fn delete_account(&self, id: &str) -> bool {
        self.shared.state().accounts.remove(id).is_some()
    }

    /// An account's keys.
    #[must_use]
    pub fn account(&self, id: &str) -> Option<Map<String, Value>> {
        self.shared.state().accounts.get(id).cloned()
    }

    /// Sets or removes a flow's startup data.
    pub fn set_startup_data(&self, flow: &str, data: Option<Value>) {
        let mut state = self.shared.state();
        match data {
            Some(data) => state.startup.insert(flow.to_owned(), data),
            None => state.startup.remove(flow),
        };
    }

    /// A flow's startup data, as its startup hook stored it.
    #[must_use]
    pub fn startup_data(&self, flow: &str) -> Option<Value> {
        self.shared.state().startup.get(flow).cloned()
    }

    /// Stores an object under this id. Bodies of lightweight messages are raw ciphertext.
    pub fn set_object(&self, id: &str, bytes: impl Into<Bytes>) {
        self.shared
            .state()
            .set_object(id, bytes.into(), "application/octet-stream");
    }

    /// Stores a file, and returns it as an attachment of a message.
    pub fn store(&self, bytes: impl Into<Bytes>, content_type: &str) -> StoredFile {
        let (id, bytes) = (uuid::Uuid::new_v4().to_string(), bytes.into());
        let size = Some(bytes.len() as u64);
        self.shared.state().set_object(&id, bytes, content_type);
        StoredFile {
            url: format!("{}/objects/{id}", self.url()),
            content_type: content_type.to_owned(),
            size,
        }
    }

    /// The bytes of an attachment that is stored here.
    #[must_use]
    pub fn file(&self, attachment: &Attachment) -> Option<Bytes> {
        let path = attachment.url.strip_prefix(&self.url())?;
        let id = path.strip_prefix("/objects/")?.split('?').next()?;
        self.object(id)
    }

    /// An object's bytes.
    #[must_use]
    pub fn object(&self, id: &str) -> Option<Bytes> {
        self.shared
            .state()
            .objects
            .get(id)
            .map(|object| object.bytes.clone())
    }

    /// The ids of all objects.
    #[must_use]
    pub fn object_ids(&self) -> Vec<String> {
        self.shared.state().objects.keys().cloned().collect()
    }

    /// Adds a secret to a workspace, or replaces it. `refreshed` are the credentials of the refreshes to come, one after
    /// another, each merged into those before. When none are left, a refresh is refused.
    pub fn set_secret(&self, workspace: &str, id: &str, credentials: Value, refreshed: Vec<Value>) {
        self.shared
            .state()
            .set_secret(workspace, id, credentials, refreshed);
    }

    /// Whether refreshed secrets are returned bare from now on, as clients of the platform expect them, or in a list, as
    /// its documentation shows them. At first they are in a list.
    pub fn return_bare_refreshed_secrets(&self, bare: bool) {
        self.shared.state().bare_refreshes = bare;
    }

    /// A secret's current credentials.
    #[must_use]
    pub fn secret(&self, workspace: &str, id: &str) -> Option<Value> {
        self.shared.state().secret(workspace, id)
    }

    /// Results of one-time calls, in order of arrival.
    #[must_use]
    pub fn results(&self) -> Vec<ServiceResult> {
        self.shared.state().results.clone()
    }

    /// Requests to `/hook/{flow}` from now on. Each needs a response.
    pub(crate) fn webhooks(&self, flow: &str) -> mpsc::UnboundedReceiver<Webhook> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.shared.hooks() = Some((flow.to_owned(), sender));
        receiver
    }

    /// Messages that `emulator send` sends from now on.
    pub(crate) fn sends(&self) -> mpsc::UnboundedReceiver<PendingSend> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.shared.sends() = Some(sender);
        receiver
    }

    /// Stops listening and ends open calls, including hanging ones.
    pub async fn shutdown(&self) {
        self.server.shutdown().await;
    }
}
