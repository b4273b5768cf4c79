//! What a module can use while it runs: its configuration, its emitter, and the runtime's clients.

mod emit;
mod hook;

pub use hook::HookContext;

use crate::{
    clients::{object_storage::ObjectStorage, platform::Platform},
    codes::{self, Coded},
    component::emitter::{Emitter, to_json_object},
    oauth2::AuthorizedClient,
    protocol::read_value,
};
use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{marker::PhantomData, sync::Arc};
use tokio_util::sync::CancellationToken;

pub(crate) use futures_util::future::BoxFuture;

/// The clients that a module can use. Each accessor returns an error if its client is not configured.
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
            "no object storage is configured here: set ELASTICIO_OBJECT_STORAGE_URI and ELASTICIO_OBJECT_STORAGE_TOKEN; in a \
             test, give the harness one with `Harness::object_storage`",
        )
    }
}

/// The untyped parts of a [`Context`].
pub(crate) struct ContextParts {
    pub(crate) config: Arc<Value>,
    pub(crate) snapshot: Value,
    pub(crate) variables: Arc<Map<String, Value>>,
    pub(crate) emitter: Emitter,
    pub(crate) cancelled: CancellationToken,
    pub(crate) clients: Clients,
    pub(crate) oauth: AuthorizedClient,
}

/// What a module can use while it processes one message. `C` is the type of the step's configuration, `O` the type of the
/// bodies that it emits.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::json;
///
/// #[derive(serde::Deserialize)]
/// struct Config { unit: String }
///
/// async fn label(message: Message<f64>, cx: Context<Config, String>) -> anyhow::Result<()> {
///     cx.data(&format!("{} {}", message.body, cx.config.unit)).await
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"label": {}}}"#)?.action("label", label);
/// let harness = Harness::new(&component, "label").config(json!({ "unit": "kg" }));
/// assert_eq!(harness.run(json!(2.5)).await?.data::<String>(), ["2.5 kg"]);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Context<C = Value, O: ?Sized = Value> {
    /// The step's fields and credentials, as they were when this message started.
    pub config: C,
    /// Is cancelled when the process is asked to stop. The module should then finish within `SHUTDOWN_TIMEOUT`, which is
    /// 25 seconds by default. It is also cancelled when the module has taken longer than `PROCESS_TIMEOUT`, so that tasks
    /// of the module can end.
    ///
    /// A module that waits for events of its own can end its stream:
    ///
    /// ```
    /// use futures_util::{StreamExt as _, stream};
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn listen(_: Message<NoBody>, cx: Context<Value, String>) -> anyhow::Result<()> {
    ///     let lines = stream::iter(["one", "two"]).map(str::to_owned);
    ///     cx.data_stream(lines.take_until(cx.cancelled.cancelled())).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"listen": {}}}"#)?.action("listen", listen);
    /// # let emitted = Harness::new(&component, "listen").run(json!({})).await?;
    /// # assert_eq!(emitted.data::<String>(), ["one", "two"]);
    /// # Ok(()) }
    /// ```
    pub cancelled: CancellationToken,
    emitter: Emitter,
    snapshot: Value,
    variables: Arc<Map<String, Value>>,
    clients: Clients,
    oauth: AuthorizedClient,
    output: PhantomData<fn(&O)>,
}

impl<C: DeserializeOwned, O: ?Sized> Context<C, O> {
    pub(crate) fn typed(parts: ContextParts) -> anyhow::Result<Self> {
        Ok(Self {
            config: typed_config(&parts.config)?,
            cancelled: parts.cancelled,
            emitter: parts.emitter,
            snapshot: parts.snapshot,
            variables: parts.variables,
            clients: parts.clients,
            oauth: parts.oauth,
            output: PhantomData,
        })
    }
}

impl<C, O: ?Sized> Context<C, O> {
    /// Returns the step's snapshot as it was when this message started, or `None` if there is no snapshot yet.
    ///
    /// # Errors
    /// Returns an error if the snapshot does not deserialize to `S`.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Seen { id: u64 }
    ///
    /// async fn unseen(message: Message<Vec<u64>>, cx: Context<Value, u64>) -> anyhow::Result<()> {
    ///     let seen = cx.stored_snapshot::<Seen>()?.map_or(0, |seen| seen.id);
    ///     cx.data_all(message.body.into_iter().filter(move |id| *id > seen)).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"unseen": {}}}"#)?.action("unseen", unseen);
    /// let harness = Harness::new(&component, "unseen").snapshot(json!({ "id": 7 }));
    /// assert_eq!(harness.run(json!([6, 7, 8])).await?.data::<u64>(), [8]);
    /// # Ok(()) }
    /// ```
    pub fn stored_snapshot<S: DeserializeOwned>(&self) -> anyhow::Result<Option<S>> {
        match &self.snapshot {
            Value::Null => Ok(None),
            Value::Object(members) if members.is_empty() => Ok(None),
            snapshot => read_value(snapshot)
                .context(Coded::new(
                    codes::SNAPSHOT_MISMATCH,
                    "the step's snapshot does not match this function; reset it on the platform",
                ))
                .map(Some),
        }
    }

    /// Returns the flow's variables.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn language(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    ///     cx.data(cx.variables().get("language").unwrap_or(&json!("en"))).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"language": {}}}"#)?.action("language", language);
    /// let harness = Harness::new(&component, "language").variable("language", "fr");
    /// assert_eq!(harness.run(json!({})).await?.data::<Value>(), ["fr"]);
    /// # Ok(()) }
    /// ```
    pub fn variables(&self) -> &Map<String, Value> {
        &self.variables
    }

    /// Returns a client for the API that the step's OAuth2 credential belongs to. It attaches, refreshes and saves tokens.
    ///
    /// ```
    /// use emulator::provider::{Provider, ProviderConfig};
    /// use sailor::{oauth2::OAuth2, prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn create(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    ///     let created: Value = cx.oauth().post("/items").json(&message.body).send_json().await?;
    ///     cx.data(&created["name"]).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let provider = Provider::start(ProviderConfig::default()).await?;
    /// # let oauth2 = OAuth2::new().base_url(provider.api_url()).token_uri(provider.token_url());
    /// # let oauth2 = oauth2.client_id(provider.client_id()).client_secret(provider.client_secret());
    /// # let component = Component::new(r#"{"actions": {"create": {}}}"#)?;
    /// # let component = component.action("create", create).oauth2(oauth2);
    /// let harness = Harness::new(&component, "create").config(json!({ "oauth": provider.issue_expired() }));
    /// assert_eq!(harness.run(json!({ "name": "Rex" })).await?.data::<Value>(), ["Rex"]);
    /// assert_eq!(provider.refreshes(), 1);
    /// # Ok(()) }
    /// ```
    pub fn oauth(&self) -> &AuthorizedClient {
        &self.oauth
    }

    /// Returns the process's shared HTTP client, with timeouts and kept-alive connections.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    /// use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Config { url: String }
    ///
    /// async fn rate(message: Message<String>, cx: Context<Config, Value>) -> anyhow::Result<()> {
    ///     let url = format!("{}/rates/{}", cx.config.url, sailor::http::path_segment(&message.body)?);
    ///     cx.data(&cx.http().get(url).send().await?.error_for_status()?.json().await?).await
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"rate": {}}}"#)?.action("rate", rate);
    /// let api = MockServer::start().await;
    /// let response = ResponseTemplate::new(200).set_body_json(1.25);
    /// Mock::given(path("/rates/EUR")).respond_with(response).mount(&api).await;
    ///
    /// let harness = Harness::new(&component, "rate").config(json!({ "url": api.uri() }));
    /// assert_eq!(harness.run(json!("EUR")).await?.data::<f64>(), [1.25]);
    /// # Ok(()) }
    /// ```
    pub fn http(&self) -> &reqwest::Client {
        &self.clients.http
    }

    /// Returns a client for the platform's REST API.
    ///
    /// # Errors
    /// Returns an error if the API is not configured.
    pub fn platform(&self) -> anyhow::Result<&Platform> {
        self.clients.platform()
    }

    /// Returns the object storage, for attachments.
    ///
    /// # Errors
    /// Returns an error if object storage is not configured.
    pub fn attachments(&self) -> anyhow::Result<&ObjectStorage> {
        self.clients.attachments()
    }
}

/// Saves keys outside of a message, for [`ServiceContext::update_keys`].
pub(crate) trait KeySaver: Send + Sync + 'static {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>>;
}

/// The untyped parts of a [`ServiceContext`] or a [`HookContext`].
#[derive(Clone)]
pub(crate) struct ServiceContextParts {
    pub(crate) function: String,
    pub(crate) config: Arc<Value>,
    pub(crate) variables: Arc<Map<String, Value>>,
    pub(crate) clients: Clients,
    pub(crate) oauth: AuthorizedClient,
    pub(crate) keys: Arc<dyn KeySaver>,
}

impl ServiceContextParts {
    async fn update_keys<T: Serialize + ?Sized + Sync>(&self, keys: &T) -> anyhow::Result<()> {
        let keys = to_json_object(keys, "updateKeys")?;
        self.keys.clone().update_keys(keys).await
    }
}

/// What select models, dynamic metadata and `verifyCredentials` can use. They run without a message, so they can save
/// credentials but cannot emit anything else.
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
    parts: ServiceContextParts,
}

impl<C> std::fmt::Debug for ServiceContext<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceContext({:?})", self.parts.function)
    }
}

impl<C: DeserializeOwned> ServiceContext<C> {
    pub(crate) fn typed(parts: ServiceContextParts) -> anyhow::Result<Self> {
        Ok(Self {
            config: typed_config(&parts.config)?,
            parts,
        })
    }
}

impl<C> ServiceContext<C> {
    /// Returns the name of the trigger or action that this call is for. Empty for `verifyCredentials`.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn metadata(cx: ServiceContext) -> anyhow::Result<Value> {
    ///     Ok(json!({ "out": { "type": "object", "title": cx.function() } }))
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {"insert": {}}}"#)?.metadata("insert", metadata);
    /// let metadata = Harness::new(&component, "insert").metadata().await?;
    /// assert_eq!(metadata["out"]["title"], "insert");
    /// # Ok(()) }
    /// ```
    pub fn function(&self) -> &str {
        &self.parts.function
    }

    /// Returns a client for the API that the OAuth2 credential belongs to, as in a step. Tokens that it refreshes are
    /// saved before the result of the call is posted.
    pub fn oauth(&self) -> &AuthorizedClient {
        &self.parts.oauth
    }

    /// Returns an HTTP client with timeouts and kept-alive connections.
    pub fn http(&self) -> &reqwest::Client {
        &self.parts.clients.http
    }

    /// Returns a client for the platform's REST API.
    ///
    /// # Errors
    /// Returns an error if the API is not configured.
    pub fn platform(&self) -> anyhow::Result<&Platform> {
        self.parts.clients.platform()
    }

    /// Saves new credentials in the account. Resolves when the platform has them.
    ///
    /// # Errors
    /// Returns an error if the platform refuses them, or if the configuration names no account.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::json;
    ///
    /// async fn verify(cx: ServiceContext) -> anyhow::Result<Verified> {
    ///     cx.update_keys(&json!({ "accountName": "Rex" })).await?;
    ///     Ok(Verified::Yes)
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"actions": {}}"#)?.verify_credentials(verify);
    /// let harness = Harness::new(&component, "");
    /// let saved = harness.saved_keys();
    /// assert_eq!(harness.verify().await?, Verified::Yes);
    /// assert_eq!(saved.all(), [json!({ "accountName": "Rex" })]);
    /// # Ok(()) }
    /// ```
    pub async fn update_keys<T: Serialize + ?Sized + Sync>(&self, keys: &T) -> anyhow::Result<()> {
        self.parts.update_keys(keys).await
    }
}

fn typed_config<C: DeserializeOwned>(config: &Value) -> anyhow::Result<C> {
    read_value(config).map_err(|error| {
        let (path, what) = (error.path().to_string(), error.into_inner().to_string());
        // serde_path_to_error writes a dot for the value itself.
        let place = if path == "." {
            String::new()
        } else {
            format!("{path}: ")
        };
        let text = format!(
            "the step's configuration does not match this function: {place}{}",
            without_values(&what)
        );
        Coded::new(codes::CONFIGURATION_MISMATCH, text).into()
    })
}

/// Removes the value from serde's error text, because it may be a password.
fn without_values(text: &str) -> &str {
    let expected = text.rfind(", expected ").map(|at| &text[at + 2..]);
    let named = ["missing field `", "duplicate field `"]
        .iter()
        .any(|start| text.starts_with(start));
    expected.unwrap_or(if named { text } else { "it does not match" })
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
