//! What a module may touch while it works: its configuration, the events it can emit, and the runtime's clients.

mod emit;
mod hook;

pub use hook::HookContext;

use crate::{
    clients::{object_storage::ObjectStorage, platform::Platform},
    component::message::{HttpReply, Message},
    oauth2::AuthorizedClient,
    protocol::{ErrorReport, Json, Object, read_value},
};
use anyhow::Context as _;
use futures_util::{Stream, StreamExt, stream, stream::FuturesUnordered};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};
use tokio_util::sync::CancellationToken;

pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One thing a module tells the platform.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Data(Object),
    Error(ErrorReport),
    Rebound(String),
    Snapshot(Json),
    UpdateSnapshot(Map<String, Value>),
    UpdateKeys(Map<String, Value>),
    HttpReply(HttpReply),
}

/// Resolves when the platform has taken an event.
pub(crate) type Taken = BoxFuture<'static, anyhow::Result<()>>;

/// Where events go: the engine in a container, a list in a [`Harness`](crate::testing::Harness).
pub(crate) trait EventSink: Send + Sync + 'static {
    /// Sends the event on its way, in the order of the calls that have resolved; what comes back waits for its
    /// confirmation.
    fn emit(&self, event: Event) -> BoxFuture<'_, anyhow::Result<Taken>>;
}

/// How many events [`Emitter::data_all`] keeps unconfirmed at once.
const DATA_IN_FLIGHT: usize = 32;

/// Emits events. Cheap to clone, so that a module can emit from several tasks.
///
/// Every method resolves when the broker has confirmed the event: awaiting it is the back-pressure. A message is
/// acknowledged only when everything emitted for it is confirmed, awaited or not.
///
/// A clone may outlive its message, as in a streaming trigger: what it emits later carries the same headers, and
/// nobody waits for it.
///
/// # Cancel safety
/// Dropping one of these futures before it resolves does not call an event back that is on its way. Data or a snapshot
/// that still waited for its turn (a rate limit, an upload) is not sent; an error or new credentials are, from the first
/// poll on.
#[derive(Clone)]
pub struct Emitter(pub(crate) Arc<dyn EventSink>);

impl std::fmt::Debug for Emitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Emitter")
    }
}

impl Emitter {
    async fn emit(&self, event: Event) -> anyhow::Result<()> {
        self.0.emit(event).await?.await
    }

    /// Emits a message with this body.
    ///
    /// # Errors
    /// When the body cannot be written as JSON, is too large or cannot be delivered. Other than the first, the user
    /// has been told by an error event when this returns.
    pub fn data<'a, T: Serialize + ?Sized>(
        &'a self,
        body: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        // Written before the future exists: it holds no `&T`, so `T` need not be `Sync`.
        let message = message_with(body);
        async move { self.emit(Event::Data(message?)).await }
    }

    /// Emits a message for each item of an iterator, in order, with up to 32 unconfirmed at once.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Items after it are not emitted.
    pub fn data_all<'a, I>(
        &'a self,
        bodies: I,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, I>
    where
        I: IntoIterator<Item: Serialize + Send, IntoIter: Send>,
    {
        self.data_stream(stream::iter(bodies))
    }

    /// Emits a message for each item of a stream, in order, with up to 32 unconfirmed at once.
    ///
    /// # Errors
    /// Returns the first error, as [`data`](Self::data) does. Items after it are not emitted.
    pub async fn data_stream<T, S>(&self, bodies: S) -> anyhow::Result<()>
    where
        T: Serialize + Send,
        S: Stream<Item = T> + Send,
    {
        let mut bodies = std::pin::pin!(bodies);
        let mut unconfirmed = FuturesUnordered::new();
        while let Some(body) = bodies.next().await {
            let message = message_with(&body);
            if unconfirmed.len() == DATA_IN_FLIGHT {
                unconfirmed.next().await.transpose()?;
            }
            let taken = self.0.emit(Event::Data(message?)).await?;
            unconfirmed.push(taken);
        }
        while let Some(taken) = unconfirmed.next().await {
            taken?;
        }
        Ok(())
    }

    /// Emits a whole message, with id, headers and attachments.
    ///
    /// # Errors
    /// As for [`data`](Self::data).
    pub fn message<'a, B: Serialize>(
        &'a self,
        message: Message<B>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, B> {
        let message = message.write();
        async move { self.emit(Event::Data(message?)).await }
    }

    /// Reports an error to the user and goes on; the message will be rejected at its end.
    ///
    /// # Errors
    /// When the report cannot be delivered.
    pub async fn error(&self, error: impl Into<anyhow::Error>) -> anyhow::Result<()> {
        let report = ErrorReport::of(&error.into());
        self.emit(Event::Error(report)).await
    }

    /// Has the message come again later: after 15 s the first time, then twice as long each time.
    ///
    /// # Errors
    /// When it cannot be delivered. Past the rebound limit the user is told by an error event, and this succeeds.
    pub async fn rebound(&self, reason: impl Into<String>) -> anyhow::Result<()> {
        self.emit(Event::Rebound(reason.into())).await
    }

    /// Replaces the step's snapshot.
    ///
    /// # Errors
    /// When the state cannot be written as JSON or delivered.
    pub fn snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        state: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let state = Json::of(state).context("writing the snapshot as JSON");
        async move { self.emit(Event::Snapshot(state?)).await }
    }

    /// Merges members into the step's snapshot, one level deep.
    ///
    /// # Errors
    /// When `members` is not written as a JSON object, or not delivered.
    pub fn update_snapshot<'a, T: Serialize + ?Sized>(
        &'a self,
        members: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let members = object_of(members, "a snapshot update");
        async move { self.emit(Event::UpdateSnapshot(members?)).await }
    }

    /// Saves new credentials, such as `{"oauth": {…}}`, with the account that the step uses. Resolves when every
    /// configured way has taken them; messages that come after see them in their configuration.
    ///
    /// # Errors
    /// When a way refuses them, or none is configured; the user has been told by an error event then.
    pub fn update_keys<'a, T: Serialize + ?Sized>(
        &'a self,
        keys: &T,
    ) -> impl Future<Output = anyhow::Result<()>> + Send + use<'a, T> {
        let keys = object_of(keys, "updateKeys");
        async move { self.emit(Event::UpdateKeys(keys?)).await }
    }

    /// Answers the HTTP request that started the flow.
    ///
    /// # Errors
    /// When nobody waits for an answer, or it is too large, or cannot be delivered.
    pub async fn http_reply(&self, reply: HttpReply) -> anyhow::Result<()> {
        self.emit(Event::HttpReply(reply)).await
    }
}

fn message_with<T: Serialize + ?Sized>(body: &T) -> anyhow::Result<Object> {
    let mut message = Object::new();
    message.set("headers", Json::empty_object());
    message.set(
        "body",
        Json::of(body).context("writing the message's body as JSON")?,
    );
    Ok(message)
}

fn object_of<T: Serialize + ?Sized>(value: &T, what: &str) -> anyhow::Result<Map<String, Value>> {
    match serde_json::to_value(value).with_context(|| format!("writing {what} as JSON"))? {
        Value::Object(members) => Ok(members),
        _ => anyhow::bail!("{what} must be a JSON object"),
    }
}

/// The clients a module can use. What is not configured says so when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    pub(crate) http: reqwest::Client,
    pub(crate) platform: Option<Platform>,
    pub(crate) object_storage: Option<ObjectStorage>,
    pub(crate) webhook_uri: Option<String>,
}

impl Clients {
    fn platform(&self) -> anyhow::Result<&Platform> {
        self.platform.as_ref().context(
            "no platform API is configured here: set ELASTICIO_API_URI and its credentials",
        )
    }

    fn attachments(&self) -> anyhow::Result<&ObjectStorage> {
        self.object_storage.as_ref().context(
            "no object storage is configured here: set ELASTICIO_OBJECT_STORAGE_URI and ELASTICIO_OBJECT_STORAGE_TOKEN",
        )
    }
}

/// What the engine gives to one run of a module, before it is typed.
pub(crate) struct ContextParts {
    pub(crate) config: Arc<Value>,
    pub(crate) snapshot: Value,
    pub(crate) variables: Arc<Map<String, Value>>,
    pub(crate) emitter: Emitter,
    pub(crate) cancelled: CancellationToken,
    pub(crate) clients: Clients,
    pub(crate) oauth: AuthorizedClient,
}

/// Everything one run of a module may touch: `C` is the step's configuration, `O` the body of what it emits.
///
/// ```
/// use sailor::prelude::*;
///
/// #[derive(serde::Deserialize)]
/// struct Config { unit: String }
///
/// async fn label(message: Message<f64>, cx: Context<Config, String>) -> anyhow::Result<()> {
///     cx.data(&format!("{} {}", message.body, cx.config.unit)).await
/// }
/// ```
#[derive(Debug)]
pub struct Context<C = Value, O: ?Sized = Value> {
    /// The step's fields and credentials, as they were when this message began.
    pub config: C,
    /// Fires when the process is asked to stop: wind up within the time that is left (25 s unless configured).
    pub cancelled: CancellationToken,
    emitter: Emitter,
    snapshot: Value,
    variables: Arc<Map<String, Value>>,
    clients: Clients,
    oauth: AuthorizedClient,
    output: PhantomData<fn(&O)>,
}

impl<C: DeserializeOwned, O: ?Sized> Context<C, O> {
    pub(crate) fn typed(run: ContextParts) -> anyhow::Result<Self> {
        Ok(Self {
            config: typed_config(&run.config)?,
            cancelled: run.cancelled,
            emitter: run.emitter,
            snapshot: run.snapshot,
            variables: run.variables,
            clients: run.clients,
            oauth: run.oauth,
            output: PhantomData,
        })
    }
}

impl<C, O: ?Sized> Context<C, O> {
    /// The step's snapshot when this message began; none when there is none yet.
    ///
    /// # Errors
    /// When it does not fit `S`.
    pub fn stored_snapshot<S: DeserializeOwned>(&self) -> anyhow::Result<Option<S>> {
        match &self.snapshot {
            Value::Null => Ok(None),
            Value::Object(members) if members.is_empty() => Ok(None),
            snapshot => read_value(snapshot)
                .context(
                    "the step's snapshot is not what this function keeps; reset it on the platform",
                )
                .map(Some),
        }
    }

    /// The flow's variables.
    pub fn variables(&self) -> &Map<String, Value> {
        &self.variables
    }

    /// Sends requests to the API that the step's OAuth2 credential is for. Tokens are attached, refreshed and saved.
    pub fn oauth(&self) -> &AuthorizedClient {
        &self.oauth
    }

    /// An HTTP client with time limits and kept-alive connections, shared by the whole process.
    pub fn http(&self) -> &reqwest::Client {
        &self.clients.http
    }

    /// The platform's REST API.
    ///
    /// # Errors
    /// When it is not configured.
    pub fn platform(&self) -> anyhow::Result<&Platform> {
        self.clients.platform()
    }

    /// Uploads and downloads attachments through object storage.
    ///
    /// # Errors
    /// When it is not configured.
    pub fn attachments(&self) -> anyhow::Result<&ObjectStorage> {
        self.clients.attachments()
    }
}

/// Saves credentials outside of a message: what a [`ServiceContext`] does with `update_keys`.
pub(crate) trait KeySaver: Send + Sync + 'static {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>>;
}

/// What the engine gives to hooks and one-time calls, before it is typed.
#[derive(Clone)]
pub(crate) struct ServiceContextParts {
    pub(crate) function: String,
    pub(crate) config: Arc<Value>,
    pub(crate) variables: Arc<Map<String, Value>>,
    pub(crate) clients: Clients,
    pub(crate) oauth: AuthorizedClient,
    pub(crate) keys: Arc<dyn KeySaver>,
}

/// What select models, dynamic metadata and verifyCredentials may touch: there is no message and no flow, so nothing but
/// credentials can be emitted.
///
/// ```
/// # use sailor::prelude::*;
/// # use serde_json::{Value, json};
/// async fn sheets(cx: ServiceContext<Value>) -> anyhow::Result<Value> {
///     let sheets: Value = cx.oauth().get("/sheets").send_json().await?;
///     Ok(json!({ "first": sheets[0]["title"] }))
/// }
/// # let component = Component::new(r#"{"actions": {}}"#)?.select_model("getSheets", sheets);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub struct ServiceContext<C = Value> {
    /// The step's fields and credentials.
    pub config: C,
    run: ServiceContextParts,
}

impl<C> std::fmt::Debug for ServiceContext<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceContext({:?})", self.run.function)
    }
}

impl<C: DeserializeOwned> ServiceContext<C> {
    pub(crate) fn typed(run: ServiceContextParts) -> anyhow::Result<Self> {
        Ok(Self {
            config: typed_config(&run.config)?,
            run,
        })
    }
}

impl<C> ServiceContext<C> {
    /// The trigger or action this is asked for; empty when verifying credentials.
    pub fn function(&self) -> &str {
        &self.run.function
    }

    /// Sends requests to the API that the OAuth2 credential is for, as in a step: tokens that are refreshed here are
    /// saved before the call's result is posted.
    pub fn oauth(&self) -> &AuthorizedClient {
        &self.run.oauth
    }

    /// An HTTP client with time limits and kept-alive connections.
    pub fn http(&self) -> &reqwest::Client {
        &self.run.clients.http
    }

    /// The platform's REST API.
    ///
    /// # Errors
    /// When it is not configured.
    pub fn platform(&self) -> anyhow::Result<&Platform> {
        self.run.clients.platform()
    }

    /// Saves new credentials with the account; resolves when the platform has taken them.
    ///
    /// # Errors
    /// When it refuses them, or the configuration names no account.
    pub async fn update_keys<T: Serialize + ?Sized + Sync>(&self, keys: &T) -> anyhow::Result<()> {
        self.run
            .keys
            .clone()
            .update_keys(object_of(keys, "updateKeys")?)
            .await
    }
}

fn typed_config<C: DeserializeOwned>(config: &Value) -> anyhow::Result<C> {
    read_value(config).map_err(|error| {
        let (path, what) = (error.path().to_string(), error.into_inner().to_string());
        // A dot is the configuration itself.
        let place = if path == "." {
            String::new()
        } else {
            format!("{path}: ")
        };
        anyhow::anyhow!(
            "the step's configuration is not what this function takes: {place}{}",
            without_values(&what)
        )
    })
}

/// What serde says of a value, without the value: it may be a password.
fn without_values(text: &str) -> &str {
    let expected = text.rfind(", expected ").map(|at| &text[at + 2..]);
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .any(|start| text.starts_with(start));
    expected.unwrap_or(if named { text } else { "it does not fit" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Plain,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Config {
        _port: u16,
        _kind: Kind,
    }

    #[test]
    fn a_configuration_error_names_the_field_but_not_the_value() {
        for (config, told) in [
            (
                serde_json::json!({ "_port": "SECRET", "_kind": "plain" }),
                "_port: expected u16",
            ),
            (
                serde_json::json!({ "_port": ", expected SECRET", "_kind": "plain" }),
                "_port: expected u16",
            ),
            (
                serde_json::json!({ "_port": 1, "_kind": "SECRET" }),
                "_kind: expected `plain`",
            ),
            (serde_json::json!({ "_port": 1 }), "missing field `_kind`"),
        ] {
            let error = format!("{:#}", typed_config::<Config>(&config).unwrap_err());
            assert!(
                error.ends_with(told) && !error.contains("SECRET"),
                "{error}"
            );
        }
    }
}
