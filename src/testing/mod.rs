//! Runs a component's modules in memory, with no broker and no platform, for the tests of component authors; and the
//! lock between replicas, for those of them that have several.

use crate::{
    broker::amqp::LoneLocks,
    clients::http,
    component::{
        Component, Verified,
        context::{
            self, BoxFuture, Clients, ContextParts, Emitter, EventSink, KeySaver,
            ServiceContextParts, Taken,
        },
        error::ModuleOutcome,
        message::HttpReply,
    },
    engine::storage,
    oauth2::{
        AuthorizedClient, CredentialStore, CredentialWarning, Environment, RefreshLock, Session,
        SessionConfig, StoreError,
    },
    protocol::{Json, Object, StepIdentity},
    settings::{self, ObjectStorageSettings},
};
use anyhow::Context as _;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// Something that a module emitted.
///
/// ```
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// async fn count(_: Message<NoBody>, cx: Context<Value, u64>) -> anyhow::Result<()> {
///     cx.data(&1).await?;
///     cx.snapshot(&json!({ "last": 1 })).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"count": {"main": "./count.rs"}}}"#)?.action("count", count);
/// let emitted = Harness::new(&component, "count").run(json!({})).await?;
/// assert_eq!(emitted.events[0], Event::Data(json!({ "headers": {}, "body": 1 })));
/// assert_eq!(emitted.events[1], Event::Snapshot(json!({ "last": 1 })));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A message, with all its members.
    Data(Value),
    /// The text of an error.
    Error(String),
    /// The reason of a rebound.
    Rebound(String),
    /// A new snapshot.
    Snapshot(Value),
    /// Members merged into the snapshot.
    UpdateSnapshot(Value),
    /// New credentials.
    UpdateKeys(Value),
    /// The answer to an HTTP request.
    HttpReply(HttpReply),
}

/// What becomes of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done with.
    Acknowledged,
    /// It failed: there was an error event.
    Rejected,
}

/// What a run of a module did.
///
/// ```
/// use sailor::{prelude::*, testing::{Harness, Verdict}};
/// use serde_json::{Value, json};
///
/// async fn fail(_: Message<NoBody>, _: Context) -> anyhow::Result<()> {
///     anyhow::bail!("no such order")
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"fail": {"main": "./fail.rs"}}}"#)?.action("fail", fail);
/// let emitted = Harness::new(&component, "fail").run(json!({})).await?;
/// assert_eq!(emitted.verdict, Verdict::Rejected);
/// assert_eq!(emitted.error.unwrap().to_string(), "no such order");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Emitted {
    /// What was emitted, in order; an error or rebound that the module returned stands last.
    pub events: Vec<Event>,
    /// What becomes of the message.
    pub verdict: Verdict,
    /// What the module returned, when it failed.
    pub error: Option<anyhow::Error>,
}

impl Emitted {
    /// The bodies of all messages, typed.
    ///
    /// # Panics
    /// When one does not fit `T`.
    #[track_caller]
    pub fn data<T: DeserializeOwned>(&self) -> Vec<T> {
        let bodies = self.events.iter().filter_map(|event| match event {
            Event::Data(message) => Some(message["body"].clone()),
            _ => None,
        });
        bodies
            .map(|body| serde_json::from_value(body).expect("the body of an emitted message"))
            .collect()
    }
}

/// Runs one function of a component.
///
/// A message:
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
///
/// A check of credentials, and a poll of a trigger:
///
/// ```
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// struct Count;
/// impl Trigger for Count {
///     type Config = Value;
///     type Snapshot = u64;
///     type Output = u64;
///     async fn poll(&self, since: Option<u64>, cx: Context<Value, u64>) -> anyhow::Result<Option<u64>> {
///         let next = since.unwrap_or(0) + 1;
///         cx.data(&next).await?;
///         Ok(Some(next))
///     }
/// }
/// async fn verify(cx: ServiceContext) -> anyhow::Result<Verified> {
///     Ok(if cx.config["key"] == "right" { Verified::Yes } else { Verified::No("wrong key".to_owned()) })
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// let component = Component::new(r#"{"triggers": {"count": {"main": "./count.rs"}}}"#)?
///     .trigger("count", Count)
///     .verify_credentials(verify);
///
/// let verified = Harness::new(&component, "count").config(json!({ "key": "right" })).verify().await?;
/// assert_eq!(verified, Verified::Yes);
///
/// let emitted = Harness::new(&component, "count").snapshot(json!(4)).run(json!({})).await?;
/// assert_eq!(emitted.events.last(), Some(&Event::Snapshot(json!(5))));
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
    saved: SavedKeys,
}

/// The credentials that a run or a call has saved, in order, each as it would go to the account: see
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
    /// All of them so far.
    #[must_use]
    pub fn all(&self) -> Vec<Value> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Harness<'a> {
    /// A harness for the function that component.json calls `function`, with an empty configuration.
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
            saved: SavedKeys::default(),
        }
    }

    /// Sets the step's configuration.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Sets the snapshot that the module finds.
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

    /// Sets a variable of the environment for the templates of the OAuth2 credential, such as the client's id. Without
    /// any, it is the environment of the test.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets the address for requests from outside that hooks find.
    #[must_use]
    pub fn webhook_uri(mut self, uri: &str) -> Self {
        self.webhook_uri = Some(uri.to_owned());
        self
    }

    /// Gives the function an object storage for attachments, such as the emulator's.
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

    /// What the run or the call saves of credentials, to look at when it is over; the only way to see it for calls and
    /// hooks, which give back what the module does.
    #[must_use]
    pub fn saved_keys(&self) -> SavedKeys {
        self.saved.clone()
    }

    /// Runs the function on a message with this body.
    ///
    /// # Errors
    /// When the component has no such function; what goes wrong inside it stands in [`Emitted`].
    pub async fn run(self, body: Value) -> anyhow::Result<Emitted> {
        self.run_message(json!({ "headers": {}, "body": body }))
            .await
    }

    /// Runs the function on a whole message.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when `message` is no object.
    pub async fn run_message(self, message: Value) -> anyhow::Result<Emitted> {
        let (module, _) = self.component.module(self.function)?;
        let message = Object::read(Json::from(&message).bytes())?;
        let clients = self.clients()?;
        let session = session(self.component, self.environment)?;
        let recorder = Arc::new(Recorder::new(self.config, self.saved, session.clone()));
        let run = ContextParts {
            config: recorder.config(),
            snapshot: self.snapshot,
            variables: Arc::new(self.variables),
            emitter: Emitter(recorder.clone()),
            cancelled: CancellationToken::new(),
            clients,
            oauth: recorder.oauth(),
        };
        let result = module.process(message, run).await;
        if let Some(session) = session {
            // What is refreshed in the background belongs to the run as well.
            session.close().await;
        }
        let mut events = std::mem::take(&mut *recorder.events());
        match ModuleOutcome::from(&result) {
            ModuleOutcome::Done | ModuleOutcome::AlreadyReported => {}
            ModuleOutcome::Rebound(reason) => events.push(Event::Rebound(reason)),
            ModuleOutcome::Failed => events.extend(
                result
                    .as_ref()
                    .err()
                    .map(|error| Event::Error(format!("{error:#}"))),
            ),
        }
        let failed = events.iter().any(|event| matches!(event, Event::Error(_)));
        let verdict = if failed {
            Verdict::Rejected
        } else {
            Verdict::Acknowledged
        };
        Ok(Emitted {
            events,
            verdict,
            error: result.err(),
        })
    }

    /// Runs a select model with the harness's configuration.
    ///
    /// # Errors
    /// When there is no such model, or it fails.
    pub async fn select_model(self, name: &str) -> anyhow::Result<Value> {
        let model = self
            .component
            .model_function(name)
            .with_context(|| format!("no select model \"{name}\""))?;
        self.call(async |run| model(run).await).await
    }

    /// Asks for the function's dynamic metadata with the harness's configuration.
    ///
    /// # Errors
    /// When the function has none, or it fails.
    pub async fn metadata(self) -> anyhow::Result<Value> {
        let metadata = self.component.metadata_function(self.function);
        let metadata =
            metadata.with_context(|| format!("\"{}\" has no dynamic metadata", self.function))?;
        self.call(async |run| metadata(run).await).await
    }

    /// Checks the harness's configuration with the component's verifyCredentials.
    ///
    /// # Errors
    /// When the check fails, as opposed to finding that they do not work.
    pub async fn verify(self) -> anyhow::Result<Verified> {
        let verify = self
            .component
            .verify_function()
            .context("the component has no verifyCredentials")?;
        self.call(async |run| verify(run).await).await
    }

    /// Runs the function's startup hook and gives what it wants kept.
    ///
    /// # Errors
    /// When the component has no such function, or the hook fails.
    pub async fn startup(self) -> anyhow::Result<Value> {
        let (module, _) = self.component.module(self.function)?;
        self.call(async |run| module.startup(run).await).await
    }

    /// Runs the function's shutdown hook with what the startup hook wanted kept.
    ///
    /// # Errors
    /// When the component has no such function, or the hook fails.
    pub async fn shutdown(self, state: Value) -> anyhow::Result<()> {
        let (module, _) = self.component.module(self.function)?;
        self.call(async |run| module.shutdown(run, state).await)
            .await
    }

    fn clients(&self) -> anyhow::Result<Clients> {
        let identity = StepIdentity::default();
        let object_storage = storage(self.object_storage.as_ref(), None, &identity)?;
        Ok(Clients {
            http: http::client()?,
            platform: None,
            object_storage,
            webhook_uri: self.webhook_uri.clone(),
        })
    }

    async fn call<T>(
        self,
        call: impl AsyncFnOnce(ServiceContextParts) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let clients = self.clients()?;
        let session = session(self.component, self.environment)?;
        let recorder = Arc::new(Recorder::new(self.config, self.saved, session.clone()));
        let answer = call(ServiceContextParts {
            function: self.function.to_owned(),
            config: recorder.config(),
            variables: Arc::new(self.variables),
            clients,
            oauth: recorder.oauth(),
            keys: recorder,
        })
        .await;
        if let Some(session) = session {
            session.close().await;
        }
        answer
    }
}

/// The lock that replicas take turns with under `ELASTICIO_OAUTH_LOCK=broker`, for tests of several of them: each replica
/// needs one of its own, with the same `uri`. It connects when it is first asked for, and dropping it cuts its
/// connection, as the end of a process does.
///
/// # Errors
/// When `uri` is no AMQP URI, or the system has no thread left.
pub fn broker_lock(uri: &str) -> anyhow::Result<Arc<dyn RefreshLock>> {
    Ok(Arc::new(LoneLocks::new(&SecretString::from(uri))?))
}

fn session(
    component: &Component,
    environment: BTreeMap<String, String>,
) -> anyhow::Result<Option<Session>> {
    let environment: Environment = if environment.is_empty() {
        Arc::new(settings::environment)
    } else {
        Arc::new(move |name| environment.get(name).cloned())
    };
    let direct = http::client_without_redirects()?;
    let tools = SessionConfig {
        direct,
        environment,
        mode: None,
        lock: None,
        owner: String::new(),
    };
    Ok(component.session(tools))
}

/// Takes every event at once.
struct Recorder {
    events: Mutex<Vec<Event>>,
    config: Mutex<Arc<Value>>,
    saved: SavedKeys,
    session: Option<Session>,
}

impl Recorder {
    fn new(config: Value, saved: SavedKeys, session: Option<Session>) -> Self {
        Self {
            events: Mutex::default(),
            config: Mutex::new(Arc::new(config)),
            saved,
            session,
        }
    }

    /// The component's OAuth2 client, with credentials that live as long as the run.
    fn oauth(self: &Arc<Self>) -> AuthorizedClient {
        self.session
            .as_ref()
            .map_or_else(AuthorizedClient::unconfigured, |session| {
                session.client(self.clone())
            })
    }

    /// Takes credentials that the module emits, in the shape in which they are stored.
    async fn take_keys(&self, keys: Map<String, Value>) {
        match &self.session {
            Some(session) => {
                let (keys, _turn) = session.normalised(keys, self).await;
                self.keep(keys);
            }
            None => self.keep(keys),
        }
    }

    fn keep(&self, keys: Map<String, Value>) {
        self.merge(&keys);
        self.saved.lock().push(keys.clone().into());
        self.events().push(Event::UpdateKeys(keys.into()));
    }

    fn events(&self) -> MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn merge(&self, keys: &Map<String, Value>) {
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if let Value::Object(members) = Arc::make_mut(&mut config) {
            members.extend(keys.clone());
        }
    }
}

impl CredentialStore for Recorder {
    fn config(&self) -> Arc<Value> {
        self.config
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn reread(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        _: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.keep(keys);
        Box::pin(std::future::ready(Ok(())))
    }

    fn remember(&self, keys: &Map<String, Value>) {
        self.merge(keys);
    }

    fn report(&self, trouble: CredentialWarning) -> BoxFuture<'_, ()> {
        self.events().push(Event::Error(trouble.message));
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(&'a self, id: &'a str, _: bool) -> BoxFuture<'a, Result<Value, StoreError>> {
        let message = format!("there is no platform here that could have the secret {id}");
        Box::pin(std::future::ready(Err(StoreError::passing(message))))
    }
}

impl EventSink for Recorder {
    fn emit(&self, event: context::Event) -> BoxFuture<'_, anyhow::Result<Taken>> {
        let recorded = match event {
            context::Event::UpdateKeys(keys) => {
                return Box::pin(async {
                    self.take_keys(keys).await;
                    Ok(Box::pin(std::future::ready(Ok(()))) as Taken)
                });
            }
            context::Event::Data(message) => message.to_json().parse().map(Event::Data),
            context::Event::Error(report) => Ok(Event::Error(report.message)),
            context::Event::Rebound(reason) => Ok(Event::Rebound(reason)),
            context::Event::Snapshot(state) => state.parse().map(Event::Snapshot),
            context::Event::UpdateSnapshot(members) => Ok(Event::UpdateSnapshot(members.into())),
            context::Event::HttpReply(reply) => Ok(Event::HttpReply(reply)),
        };
        let recorded = recorded
            .map(|event| self.events().push(event))
            .map_err(anyhow::Error::from);
        Box::pin(async move {
            recorded?;
            Ok(Box::pin(std::future::ready(Ok(()))) as Taken)
        })
    }
}

impl KeySaver for Recorder {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            self.take_keys(keys).await;
            Ok(())
        })
    }
}
