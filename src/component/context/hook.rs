//! What a module's hooks can use.

use super::{ServiceContextParts, typed_config};
use crate::{clients::platform::Platform, oauth2::AuthorizedClient};
use anyhow::Context as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// What the hooks `init`, `startup` and `shutdown` can use. A hook runs in a flow but without a message: it can save
/// credentials but cannot emit anything else.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::{Value, json};
///
/// struct Orders;
/// impl Action for Orders {
///     type Config = Value;
///     type Input = Value;
///     type Output = Value;
///
///     async fn startup(&self, cx: HookContext) -> anyhow::Result<Value> {
///         Ok(json!({ "function": cx.function(), "notify": cx.webhook_uri()? }))
///     }
///
///     async fn process(&self, message: Message<Value>, cx: Context) -> anyhow::Result<()> {
///         cx.data(&message.body).await
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"triggers": {"orders": {}}}"#)?.trigger("orders", Orders);
/// let harness = Harness::new(&component, "orders").webhook_uri("https://in.example.com/hook/7");
/// let state = harness.startup().await?;
/// assert_eq!(state, json!({ "function": "orders", "notify": "https://in.example.com/hook/7" }));
/// # Ok(()) }
/// ```
pub struct HookContext<C = Value> {
    /// The step's fields and credentials.
    pub config: C,
    parts: ServiceContextParts,
}

impl<C> std::fmt::Debug for HookContext<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HookContext({:?})", self.parts.function)
    }
}

impl<C: DeserializeOwned> HookContext<C> {
    pub(crate) fn typed(parts: ServiceContextParts) -> anyhow::Result<Self> {
        Ok(Self {
            config: typed_config(&parts.config)?,
            parts,
        })
    }
}

impl<C> HookContext<C> {
    /// Returns the name of the trigger or action in component.json.
    pub fn function(&self) -> &str {
        &self.parts.function
    }

    /// Returns the flow's variables.
    pub fn variables(&self) -> &Map<String, Value> {
        &self.parts.variables
    }

    /// Returns the flow's webhook address: requests to it become messages of the first step.
    ///
    /// # Errors
    /// Returns an error if the platform has not set it.
    pub fn webhook_uri(&self) -> anyhow::Result<&str> {
        let uri = self.parts.clients.webhook_uri.as_deref();
        uri.context("the flow has no webhook address: ELASTICIO_FLOW_WEBHOOK_URI is not set")
    }

    /// Returns a client for the API that the OAuth2 credential belongs to. It attaches, refreshes and saves tokens.
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
    /// use serde_json::{Value, json};
    ///
    /// struct Orders;
    /// impl Action for Orders {
    ///     type Config = Value;
    ///     type Input = Value;
    ///     type Output = Value;
    ///
    ///     async fn startup(&self, cx: HookContext) -> anyhow::Result<Value> {
    ///         cx.update_keys(&json!({ "webhookSecret": "s-1" })).await?;
    ///         Ok(Value::Null)
    ///     }
    /// #   async fn process(&self, message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    /// #       cx.data(&message.body).await
    /// #   }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"triggers": {"orders": {}}}"#)?.trigger("orders", Orders);
    /// let harness = Harness::new(&component, "orders");
    /// let saved = harness.saved_keys();
    /// harness.startup().await?;
    /// assert_eq!(saved.all(), [json!({ "webhookSecret": "s-1" })]);
    /// # Ok(()) }
    /// ```
    pub async fn update_keys<T: Serialize + ?Sized + Sync>(&self, keys: &T) -> anyhow::Result<()> {
        self.parts.update_keys(keys).await
    }
}
