//! Runs a component's modules in memory, with no broker and no platform, for the tests of component authors. Also
//! provides the lock between replicas, for tests with several replicas.

mod emitted;
mod recorder;

pub use crate::broker::transport::Verdict;
pub use emitted::{Emitted, Event};

use crate::{
    broker::amqp::StandaloneBrokerLock,
    clients::{
        http::{TestClients, TestProxy},
        object_storage::ObjectStorage,
    },
    component::{
        Component, Verified,
        context::{Clients, ContextParts, ServiceContextParts},
        emitter::Emitter,
        message::Attachment,
    },
    oauth2::{CredentialStore, Environment, RefreshLock, Session, SessionConfig},
    protocol::{Json, Object, StepIdentity},
    settings::{self, OUTGOING_MESSAGE_SIZE_LIMIT, ObjectStorageSettings},
};
use anyhow::Context as _;
use recorder::{Recorder, RecordingSink};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Runs one function of a component.
///
/// ```
/// use sailor::{prelude::*, testing::{Harness, Verdict}};
/// use serde_json::{Value, json};
///
/// async fn double(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     let n = message.body["n"].as_i64().ok_or_else(|| anyhow::anyhow!("n must be a number"))?;
///     cx.data(&json!({ "n": 2 * n })).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// let component = Component::new(r#"{"actions": {"double": {"main": "./lib/double.rs"}}}"#)?.action("double", double);
/// let emitted = Harness::new(&component, "double").run(json!({"n": 21})).await?;
/// assert_eq!(emitted.data::<Value>(), [json!({"n": 42})]);
/// assert_eq!(emitted.verdict, Verdict::Acknowledged);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Harness<'a> {
    component: &'a Component,
    function: &'a str,
    config: Value,
    snapshot: Value,
    variables: Map<String, Value>,
    environment: BTreeMap<String, String>,
    webhook_uri: Option<String>,
    object_storage: Option<ObjectStorageSettings>,
    message_size_limit: usize,
    attachments: Vec<(String, Attachment)>,
    proxy: Option<TestProxy>,
    saved: SavedKeys,
}

/// The credentials that a run or a call has saved, in order, in the shape in which the account stores them. See
/// [`Harness::saved_keys`].
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::{Value, json};
///
/// async fn log_in(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
///     cx.update_keys(&json!({ "session": "s-1" })).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"logIn": {"main": "./log_in.rs"}}}"#)?.action("logIn", log_in);
/// let harness = Harness::new(&component, "logIn");
/// let saved = harness.saved_keys();
/// harness.run(json!({})).await?;
/// assert_eq!(saved.all(), [json!({ "session": "s-1" })]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct SavedKeys(Arc<Mutex<Vec<Value>>>);

impl SavedKeys {
    /// Returns all credentials that were saved so far.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Harness<'a> {
    /// Creates a harness for a function of component.json, with an empty configuration.
    #[must_use]
    pub fn new(component: &'a Component, function: &'a str) -> Self {
        Self {
            component,
            function,
            config: json!({}),
            snapshot: json!({}),
            variables: Map::new(),
            environment: BTreeMap::new(),
            webhook_uri: None,
            object_storage: None,
            message_size_limit: OUTGOING_MESSAGE_SIZE_LIMIT as usize,
            attachments: Vec::new(),
            proxy: None,
            saved: SavedKeys::default(),
        }
    }

    /// Sets the step's configuration.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Config { prefix: String }
    ///
    /// async fn name(message: Message<String>, cx: Context<Config, String>) -> anyhow::Result<()> {
    ///     cx.data(&format!("{} {}", cx.config.prefix, message.body)).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"name": {}}}"#)?.action("name", name);
    /// let harness = Harness::new(&component, "name").config(json!({ "prefix": "Sir" }));
    /// assert_eq!(harness.run(json!("Rex")).await?.data::<Value>(), ["Sir Rex"]);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Sets the snapshot that the module starts with.
    #[must_use]
    pub fn snapshot(mut self, snapshot: Value) -> Self {
        self.snapshot = snapshot;
        self
    }

    /// Sets a variable of the flow.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// Sets an environment variable for the OAuth2 credential: one of its templates, such as the client id, or
    /// `ELASTICIO_OAUTH_HTTP_HOSTS` or `ELASTICIO_OAUTH_MODE`. An empty one counts as not set. If none is set, templates and hosts
    /// are read from the environment of the test, and the mode is the component's choice.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the flow's webhook address for hooks.
    #[must_use]
    pub fn webhook_uri(mut self, uri: &str) -> Self {
        self.webhook_uri = Some(uri.to_owned());
        self
    }

    /// Gives the function an object storage for attachments, such as the emulator's.
    ///
    /// ```
    /// use emulator::platform::{Platform, PlatformConfig};
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn store(message: Message<String>, cx: Context) -> anyhow::Result<()> {
    ///     let file = cx.attachments()?.upload(message.body.into_bytes(), "text/plain").await?;
    ///     cx.data(&json!({ "size": file.size })).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"store": {}}}"#)?.action("store", store);
    /// let storage = Platform::start(PlatformConfig::default()).await?;
    /// let harness = Harness::new(&component, "store").object_storage(&storage.url(), "emulator-storage-token");
    /// assert_eq!(harness.run(json!("a text")).await?.data::<Value>(), [json!({ "size": 6 })]);
    /// assert_eq!(storage.object_ids().len(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn object_storage(mut self, uri: &str, token: &str) -> Self {
        self.object_storage = Some(ObjectStorageSettings {
            uri: uri.trim_end_matches('/').to_owned(),
            token: token.into(),
            retries: Some(2),
            timeout: Duration::from_secs(10),
            size_limit: None,
        });
        self
    }

    /// Adds an attachment to the message: a stored file, or one that another run has emitted
    /// ([`Emitted::attachment`]).
    ///
    /// ```
    /// use anyhow::Context as _;
    /// use emulator::platform::{Platform, PlatformConfig};
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn shout(message: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    ///     let file = message.attachments.get("a.txt")?.context("the message has no a.txt")?;
    ///     let text = cx.attachments()?.download(&file.url).await?.text().await?;
    ///     let loud = cx.attachments()?.upload(text.to_uppercase(), "text/plain").await?;
    ///     cx.message(Message::new(json!({})).with_attachment("a.txt", loud.into())).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"shout": {}}}"#)?.action("shout", shout);
    /// let storage = Platform::start(PlatformConfig::default()).await?;
    /// let harness = || Harness::new(&component, "shout").object_storage(&storage.url(), "emulator-storage-token");
    /// let emitted = harness().attachment("a.txt", storage.store("quiet", "text/plain")).run(json!({})).await?;
    /// // What one step has emitted is the message of the next.
    /// let again = harness().attachment("a.txt", emitted.attachment("a.txt")).run(json!({})).await?;
    /// assert_eq!(storage.file(&again.attachment("a.txt")).unwrap(), "QUIET");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn attachment(mut self, name: &str, file: impl Into<Attachment>) -> Self {
        self.attachments.push((name.to_owned(), file.into()));
        self
    }

    /// Sends all HTTP requests of the function through this proxy, and trusts `certificate` (PEM), which the proxy shows for
    /// `https`. The emulator replays recordings so. A client that the module has made itself does not use it.
    #[must_use]
    pub fn proxy(mut self, uri: &str, certificate: &str) -> Self {
        self.proxy = Some(TestProxy {
            uri: uri.to_owned(),
            certificate: certificate.to_owned(),
        });
        self
    }

    /// Sets the largest message that can be emitted, in bytes: the JSON text of the message, encrypted and in base64, as the
    /// runtime measures it. The default is that of `ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT`, 10 MiB.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::{Harness, Verdict}};
    /// use serde_json::{Value, json};
    ///
    /// async fn join(message: Message<Vec<String>>, cx: Context) -> anyhow::Result<()> {
    ///     cx.data(&json!({ "text": message.body.concat() })).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"join": {}}}"#)?.action("join", join);
    /// let harness = Harness::new(&component, "join").message_size_limit(1000);
    /// let emitted = harness.run(json!(["a".repeat(500), "b".repeat(500)])).await?;
    /// assert_eq!(emitted.verdict, Verdict::Rejected);
    /// assert!(emitted.error.unwrap().to_string().contains("exceeds limit of 1000"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn message_size_limit(mut self, bytes: usize) -> Self {
        self.message_size_limit = bytes;
        self
    }

    /// Returns a handle to the credentials that the run or call saves. Calls and hooks return the module's own result, so
    /// for them this is the only way to see saved credentials.
    #[must_use]
    pub fn saved_keys(&self) -> SavedKeys {
        self.saved.clone()
    }

    /// Runs the function on a message with this body.
    ///
    /// # Errors
    /// Returns an error if the component has no such function. The function's own error is in [`Emitted`].
    pub async fn run(self, body: Value) -> anyhow::Result<Emitted> {
        self.run_message(json!({ "headers": {}, "body": body }))
            .await
    }

    /// Runs the function on a whole message.
    ///
    /// # Errors
    /// Returns the same error as [`run`](Self::run), and an error if `message` is not an object.
    ///
    /// A webhook trigger reads the request from the message:
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn webhook(request: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    ///     cx.data(&json!([request.method, request.query["page"]])).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"triggers": {"webhook": {}}}"#)?.trigger("webhook", webhook);
    /// let request = json!({ "method": "GET", "query": { "page": "2" } });
    /// let emitted = Harness::new(&component, "webhook").run_message(request).await?;
    /// assert_eq!(emitted.data::<Value>(), [json!(["GET", "2"])]);
    /// # Ok(()) }
    /// ```
    pub async fn run_message(self, mut message: Value) -> anyhow::Result<Emitted> {
        let (module, _) = self.component.module(self.function)?;
        for (name, file) in &self.attachments {
            anyhow::ensure!(message.is_object(), "a message must be an object");
            message["attachments"][name] = serde_json::to_value(file)?;
        }
        let message = Object::read(Json::from(&message).bytes())?;
        let (clients, streaming) = self.clients()?;
        let session = session(self.component, self.environment, streaming)?;
        let recorder = Recorder::new(self.config, self.saved, session, self.message_size_limit);
        let parts = ContextParts {
            config: recorder.config(),
            snapshot: self.snapshot,
            variables: Arc::new(self.variables),
            emitter: Emitter(Arc::new(RecordingSink(recorder.clone()))),
            cancelled: CancellationToken::new(),
            clients,
            oauth: recorder.oauth(),
        };
        let result = module.process(message, parts).await;
        Ok(Emitted::new(recorder.finish().await, result))
    }

    /// Runs a select model with the harness's configuration.
    ///
    /// # Errors
    /// Returns an error if there is no such model, or if it fails.
    pub async fn select_model(self, name: &str) -> anyhow::Result<Value> {
        let model = self.component.model_function(name).with_context(|| {
            let known = self.component.known_models(name);
            format!("no select model \"{name}\"\n{known}")
        })?;
        self.call(async |parts| model(parts).await).await
    }

    /// Runs the function's dynamic metadata with the harness's configuration.
    ///
    /// # Errors
    /// Returns an error if the function has none, or if it fails.
    pub async fn metadata(self) -> anyhow::Result<Value> {
        let metadata = self.component.metadata_function(self.function);
        let metadata =
            metadata.with_context(|| format!("\"{}\" has no dynamic metadata", self.function))?;
        self.call(async |parts| metadata(parts).await).await
    }

    /// Checks the harness's configuration with the component's `verifyCredentials`.
    ///
    /// # Errors
    /// Returns an error if the check itself fails. Credentials that do not work are [`Verified::No`].
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    ///
    /// async fn verify(_: ServiceContext) -> anyhow::Result<Verified> {
    ///     anyhow::bail!("the API is down")
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// let component = Component::new(r#"{"actions": {}}"#)?.verify_credentials(verify);
    /// assert!(Harness::new(&component, "").verify().await.is_err());
    /// # Ok(()) }
    /// ```
    pub async fn verify(self) -> anyhow::Result<Verified> {
        let verify = self
            .component
            .verify_function()
            .context("the component has no verifyCredentials")?;
        self.call(async |parts| verify(parts).await).await
    }

    /// Runs the function's startup hook and returns the state to store.
    ///
    /// # Errors
    /// Returns an error if the component has no such function, or if the hook fails.
    pub async fn startup(self) -> anyhow::Result<Value> {
        let (module, _) = self.component.module(self.function)?;
        self.call(async |parts| module.startup(parts).await).await
    }

    /// Runs the function's shutdown hook with the state that the startup hook returned.
    ///
    /// # Errors
    /// Returns an error if the component has no such function, or if the hook fails.
    pub async fn shutdown(self, state: Value) -> anyhow::Result<()> {
        let (module, _) = self.component.module(self.function)?;
        self.call(async |parts| module.shutdown(parts, state).await)
            .await
    }

    /// Returns the clients of the module, and the one for requests with tokens.
    fn clients(&self) -> anyhow::Result<(Clients, reqwest::Client)> {
        let TestClients {
            following,
            direct,
            streaming,
        } = TestClients::new(self.proxy.as_ref())?;
        let storage = |settings: &ObjectStorageSettings| {
            let identity = StepIdentity::default();
            ObjectStorage::new(direct, streaming.clone(), settings, None, &identity)
        };
        let clients = Clients {
            http: following,
            platform: None,
            object_storage: self.object_storage.as_ref().map(storage),
            webhook_uri: self.webhook_uri.clone(),
        };
        Ok((clients, streaming))
    }

    async fn call<T>(
        self,
        call: impl AsyncFnOnce(ServiceContextParts) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (clients, streaming) = self.clients()?;
        let session = session(self.component, self.environment, streaming)?;
        let recorder = Recorder::new(self.config, self.saved, session, self.message_size_limit);
        let parts = ServiceContextParts {
            function: self.function.to_owned(),
            config: recorder.config(),
            variables: Arc::new(self.variables),
            clients,
            oauth: recorder.oauth(),
            keys: recorder.clone(),
        };
        let result = call(parts).await;
        recorder.finish().await;
        result
    }
}

/// Creates the lock that replicas share on the broker, for tests of several replicas. Each replica needs its own lock
/// with the same `uri`. It connects when it is first acquired. Dropping it breaks its connection, like the end of a
/// process.
///
/// # Errors
/// Returns an error if `uri` is not an AMQP URI, or if no thread can be started.
///
/// ```no_run
/// # use sailor::testing::broker_lock;
/// let uri = "amqp://guest:guest@127.0.0.1:5672";
/// let replicas = [broker_lock(uri)?, broker_lock(uri)?];
/// # Ok::<(), anyhow::Error>(())
/// ```
pub fn broker_lock(uri: &str) -> anyhow::Result<Arc<dyn RefreshLock>> {
    Ok(Arc::new(StandaloneBrokerLock::new(&SecretString::from(
        uri,
    ))?))
}

fn session(
    component: &Component,
    environment: BTreeMap<String, String>,
    http: reqwest::Client,
) -> anyhow::Result<Option<Session>> {
    let name = settings::OAUTH_MODE_VARIABLE;
    let mode = environment.get(name).filter(|mode| !mode.is_empty());
    let mode = mode.map(|mode| mode.parse()).transpose().context(name)?;
    let environment: Environment = if environment.is_empty() {
        Arc::new(settings::environment)
    } else {
        Arc::new(move |name| environment.get(name).cloned())
    };
    let config = SessionConfig {
        http,
        environment,
        mode,
        lock: None,
        lock_scope: String::new(),
    };
    Ok(component.session(config))
}
