//! Actions and triggers: what a component author implements.

mod erased;

pub(crate) use erased::{InputKind, Module, crate_of};

use crate::component::{
    context::{Context, HookContext},
    message::Message,
};
use erased::{ActionModule, TriggerModule};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::Future, marker::PhantomData, sync::Arc};

/// Processes messages, one call for each. As many calls run at the same time as the prefetch allows.
///
/// The result of `process` determines the verdict. `Ok` acknowledges the message. An error is reported to the user, and
/// the message is rejected. If a [`Rebound`](crate::Rebound) is in the error's chain, the message is delivered again
/// later. A panic counts as an error. An `async fn(Message<Input>, Context<Config, Output>) -> anyhow::Result<()>` is
/// an action too.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Deserialize)]
/// struct Config { greeting: String }
/// #[derive(Deserialize, JsonSchema)]
/// struct Guest { name: String }
/// #[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
/// struct Greeting { text: String }
///
/// struct Greet;
/// impl Action for Greet {
///     type Config = Config;
///     type Input = Guest;
///     type Output = Greeting;
///
///     async fn process(&self, message: Message<Guest>, cx: Context<Config, Greeting>) -> anyhow::Result<()> {
///         cx.data(&Greeting { text: format!("{}, {}!", cx.config.greeting, message.body.name) }).await
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"greet": {}}}"#)?.action("greet", Greet);
/// let harness = Harness::new(&component, "greet").config(json!({ "greeting": "Hello" }));
/// let emitted = harness.run(json!({ "name": "Ada" })).await?;
/// assert_eq!(emitted.data::<Greeting>(), [Greeting { text: "Hello, Ada!".to_owned() }]);
/// # Ok(()) }
/// ```
pub trait Action: Send + Sync + 'static {
    /// The step's fields and credentials.
    type Config: DeserializeOwned + Send + Sync + 'static;
    /// The body of incoming messages. Its schema is the `in` metadata.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The body of emitted messages. Its schema is the `out` metadata.
    type Output: Serialize + JsonSchema + 'static;

    /// Processes one message.
    fn process(
        &self,
        message: Message<Self::Input>,
        cx: Context<Self::Config, Self::Output>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Runs once in each process, before the first message. An error ends the process.
    fn init(
        &self,
        _cx: HookContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// Runs once when the flow is started. Its result is stored and passed to [`shutdown`](Self::shutdown). The
    /// platform runs it only for the first step of a flow (wire-contract: Startup hook).
    fn startup(
        &self,
        _cx: HookContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<Value>> + Send {
        async { Ok(Value::Null) }
    }

    /// Runs once when the flow is stopped, in a process of its own (wire-contract: Shutdown hook).
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
    ///     async fn startup(&self, _: HookContext) -> anyhow::Result<Value> {
    ///         Ok(json!({ "subscription": 7 }))
    ///     }
    ///
    ///     async fn shutdown(&self, _: HookContext, state: Value) -> anyhow::Result<()> {
    ///         anyhow::ensure!(state["subscription"] == 7, "this subscription is unknown");
    ///         Ok(())
    ///     }
    /// #   async fn process(&self, message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    /// #       cx.data(&message.body).await
    /// #   }
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// # let component = Component::new(r#"{"triggers": {"orders": {}}}"#)?.trigger("orders", Orders);
    /// let state = Harness::new(&component, "orders").startup().await?;
    /// Harness::new(&component, "orders").shutdown(state).await?;
    /// # Ok(()) }
    /// ```
    fn shutdown(
        &self,
        _cx: HookContext<Self::Config>,
        _state: Value,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Starts a flow: polls an API for what is new since the last poll.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde::{Deserialize, Serialize};
/// use serde_json::{Value, json};
///
/// #[derive(Serialize, JsonSchema)]
/// struct Tick { number: u64 }
/// #[derive(Serialize, Deserialize)]
/// struct Last { number: u64 }
///
/// struct Ticks;
/// impl Trigger for Ticks {
///     type Config = Value;
///     type Snapshot = Last;
///     type Output = Tick;
///
///     async fn poll(&self, since: Option<Last>, cx: Context<Value, Tick>) -> anyhow::Result<Option<Last>> {
///         let number = since.map_or(1, |last| last.number + 1);
///         cx.data(&Tick { number }).await?;
///         Ok(Some(Last { number }))
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"triggers": {"ticks": {}}}"#)?.trigger("ticks", Ticks);
/// let emitted = Harness::new(&component, "ticks").snapshot(json!({ "number": 4 })).run(json!({})).await?;
/// assert_eq!(emitted.data::<Value>(), [json!({ "number": 5 })]);
/// # Ok(()) }
/// ```
pub trait Trigger: Send + Sync + 'static {
    /// The step's fields and credentials.
    type Config: DeserializeOwned + Send + Sync + 'static;
    /// What is kept from one poll to the next.
    type Snapshot: DeserializeOwned + Serialize + Send + 'static;
    /// The body of emitted messages. Its schema is the `out` metadata.
    type Output: Serialize + JsonSchema + 'static;

    /// Emits the data that is new since `since`. Returns the next snapshot, which is saved after all data is confirmed;
    /// `None` keeps the current snapshot.
    fn poll(
        &self,
        since: Option<Self::Snapshot>,
        cx: Context<Self::Config, Self::Output>,
    ) -> impl Future<Output = anyhow::Result<Option<Self::Snapshot>>> + Send;

    /// See [`Action::init`].
    fn init(
        &self,
        _cx: HookContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// See [`Action::startup`].
    fn startup(
        &self,
        _cx: HookContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<Value>> + Send {
        async { Ok(Value::Null) }
    }

    /// See [`Action::shutdown`].
    fn shutdown(
        &self,
        _cx: HookContext<Self::Config>,
        _state: Value,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }
}

/// The schemas of a function's input and output, in the platform's dialect of JSON Schema.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::{Value, json};
///
/// async fn length(message: Message<String>, cx: Context<Value, usize>) -> anyhow::Result<()> {
///     cx.data(&message.body.len()).await
/// }
/// let component = Component::new(r#"{"actions": {"length": {"main": "./length.rs"}}}"#)?.action("length", length);
/// let metadata = component.metadata_of("length").unwrap();
/// assert_eq!(metadata.input.unwrap()["type"], "string");
/// assert_eq!(metadata.output["type"], "integer");
/// # Ok::<(), anyhow::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The body of incoming messages; `None` for polling triggers.
    pub input: Option<Value>,
    /// The body of emitted messages.
    pub output: Value,
}

/// An async function used as an action. [`Component::action`](crate::Component::action) makes it.
pub struct FnAction<F, C, I, O>(F, PhantomData<fn(C, I) -> O>);

impl<F, C, I, O> std::fmt::Debug for FnAction<F, C, I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::any::type_name::<F>())
    }
}

impl<F, Fut, C, I, O> Action for FnAction<F, C, I, O>
where
    F: Fn(Message<I>, Context<C, O>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
    C: DeserializeOwned + Send + Sync + 'static,
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema + 'static,
{
    type Config = C;
    type Input = I;
    type Output = O;
    fn process(
        &self,
        message: Message<I>,
        cx: Context<C, O>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        (self.0)(message, cx)
    }
}

/// The argument of [`Component::action`](crate::Component::action): a type that implements [`Action`], or an async
/// function. `Kind` only distinguishes these two.
///
/// ```
/// use sailor::{IntoAction, prelude::*};
/// use serde_json::Value;
///
/// /// Registers the same action under two names.
/// fn twice<K>(component: Component, action: impl IntoAction<K> + Clone) -> Component {
///     component.action("copy", action.clone()).action("clone", action)
/// }
///
/// async fn copy(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     cx.data(&message.body).await
/// }
/// # let json = r#"{"actions": {"copy": {"main": "./copy.rs"}, "clone": {"main": "./copy.rs"}}}"#;
/// twice(Component::new(json)?, copy).check()?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an action",
    note = "an action is a type that implements `Action`, or an `async fn(Message<Input>, Context<Config, Output>) -> anyhow::Result<()>`",
    note = "`Config` and `Input` must implement `DeserializeOwned`, `Output` `Serialize`, `Input` and `Output` `JsonSchema`, and the future must be `Send`",
    note = "to see which of these is missing, add a line with `sailor::check::action(…)` and this function"
)]
pub trait IntoAction<Kind> {
    /// The resulting action.
    type Action: Action;
    /// Converts this into an action.
    fn into_action(self) -> Self::Action;
}

/// The argument of [`Component::trigger`](crate::Component::trigger): a [`Trigger`], which polls, or any action. An
/// action is a webhook trigger: the incoming request is its message.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::Value;
///
/// async fn webhook(request: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     cx.data(&request.body).await
/// }
/// # let json = r#"{"triggers": {"webhook": {"main": "./webhook.rs"}}}"#;
/// Component::new(json)?.trigger("webhook", webhook).check()?;
/// # Ok::<(), anyhow::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trigger",
    note = "a trigger is a type that implements `Trigger` (polling), or anything that is an action (webhooks)",
    note = "an action's `Config` and `Input` must implement `DeserializeOwned`, `Output` `Serialize`, `Input` and `Output` `JsonSchema`, and its future must be `Send`",
    note = "to see which of these is missing, add a line with `sailor::check::action(…)` and this function, or with `sailor::check::trigger(…)` and this type"
)]
pub trait IntoTrigger<Kind> {
    #[doc(hidden)]
    fn into_module(self) -> RegisteredModule;
}

/// A module without its types, for [`IntoTrigger`] only.
#[doc(hidden)]
pub struct RegisteredModule(pub(crate) Arc<dyn Module>);

impl std::fmt::Debug for RegisteredModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegisteredModule")
    }
}

/// Marks types that implement [`Action`].
#[derive(Debug)]
pub enum ActionMarker {}
/// Marks types that implement [`Trigger`].
#[derive(Debug)]
pub enum PollingMarker {}

impl<A: Action> IntoAction<ActionMarker> for A {
    type Action = A;
    fn into_action(self) -> A {
        self
    }
}

impl<F, Fut, C, I, O> IntoAction<fn(C, I) -> O> for F
where
    F: Fn(Message<I>, Context<C, O>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
    C: DeserializeOwned + Send + Sync + 'static,
    I: DeserializeOwned + JsonSchema + Send + 'static,
    O: Serialize + JsonSchema + 'static,
{
    type Action = FnAction<F, C, I, O>;
    fn into_action(self) -> Self::Action {
        FnAction(self, PhantomData)
    }
}

impl<T: Trigger> IntoTrigger<PollingMarker> for T {
    fn into_module(self) -> RegisteredModule {
        RegisteredModule(Arc::new(TriggerModule(self)))
    }
}

impl<K, A: IntoAction<K>> IntoTrigger<(K,)> for A {
    fn into_module(self) -> RegisteredModule {
        RegisteredModule(action(self))
    }
}

pub(crate) fn action<K>(action: impl IntoAction<K>) -> Arc<dyn Module> {
    Arc::new(ActionModule(action.into_action()))
}
