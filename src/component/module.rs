//! Actions and triggers: what a component author implements.

use crate::{
    component::{
        context::{BoxFuture, Context, ContextParts, ServiceContext, ServiceContextParts},
        message::Message,
        schema::schema_of,
    },
    protocol::Object,
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{future::Future, marker::PhantomData, sync::Arc};

/// Answers messages, one call each; up to prefetch calls run at once.
///
/// What `process` returns decides about the message: `Ok` acknowledges it; an error is reported to the user and the
/// message rejected; a [`Rebound`](crate::Rebound) in the error's chain has it come again later. A panic counts as an
/// error. An `async fn(Message<Input>, Context<Config, Output>) -> anyhow::Result<()>` is an action too.
///
/// ```
/// use sailor::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct Config { greeting: String }
/// #[derive(Deserialize, JsonSchema)]
/// struct Guest { name: String }
/// #[derive(Serialize, JsonSchema)]
/// struct Greeting { text: String }
///
/// struct Greet;
/// impl Action for Greet {
///     type Config = Config;
///     type Input = Guest;
///     type Output = Greeting;
///     async fn process(&self, message: Message<Guest>, cx: Context<Config, Greeting>) -> anyhow::Result<()> {
///         cx.data(&Greeting { text: format!("{}, {}!", cx.config.greeting, message.body.name) }).await
///     }
/// }
/// ```
pub trait Action: Send + Sync + 'static {
    /// The step's fields and credentials.
    type Config: DeserializeOwned + Send + Sync + 'static;
    /// The body of what comes in: the `in` metadata.
    type Input: DeserializeOwned + JsonSchema + Send + 'static;
    /// The body of what goes out: the `out` metadata.
    type Output: Serialize + JsonSchema + 'static;

    /// Works on one message.
    fn process(
        &self,
        message: Message<Self::Input>,
        cx: Context<Self::Config, Self::Output>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// Runs once in each process, before the first message. An error ends the process.
    fn init(
        &self,
        _cx: &ServiceContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// Runs once when the flow is started; what it returns is stored and given to [`shutdown`](Self::shutdown). Only
    /// for the first step of a flow (wire-contract: Startup hook).
    fn startup(
        &self,
        _cx: &ServiceContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<Value>> + Send {
        async { Ok(Value::Null) }
    }

    /// Runs once when the flow is stopped, in a process of its own (wire-contract: Shutdown hook).
    fn shutdown(
        &self,
        _cx: &ServiceContext<Self::Config>,
        _state: Value,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }
}

/// Starts a flow by asking for what is new since the last time.
///
/// ```
/// use sailor::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, JsonSchema)]
/// struct Tick { number: u64 }
/// #[derive(Serialize, Deserialize)]
/// struct Last { number: u64 }
///
/// struct Ticks;
/// impl Trigger for Ticks {
///     type Config = serde_json::Value;
///     type Snapshot = Last;
///     type Output = Tick;
///     async fn poll(&self, since: Option<Last>, cx: &Context<Self::Config, Tick>) -> anyhow::Result<Option<Last>> {
///         let number = since.map_or(1, |last| last.number + 1);
///         cx.data(&Tick { number }).await?;
///         Ok(Some(Last { number }))
///     }
/// }
/// ```
pub trait Trigger: Send + Sync + 'static {
    /// The step's fields and credentials.
    type Config: DeserializeOwned + Send + Sync + 'static;
    /// What is kept from one poll to the next.
    type Snapshot: DeserializeOwned + Serialize + Send + 'static;
    /// The body of what goes out: the `out` metadata.
    type Output: Serialize + JsonSchema + 'static;

    /// Emits what is new since `since` and returns what to keep: it is saved once all data is confirmed.
    fn poll(
        &self,
        since: Option<Self::Snapshot>,
        cx: &Context<Self::Config, Self::Output>,
    ) -> impl Future<Output = anyhow::Result<Option<Self::Snapshot>>> + Send;

    /// As [`Action::init`].
    fn init(
        &self,
        _cx: &ServiceContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }

    /// As [`Action::startup`].
    fn startup(
        &self,
        _cx: &ServiceContext<Self::Config>,
    ) -> impl Future<Output = anyhow::Result<Value>> + Send {
        async { Ok(Value::Null) }
    }

    /// As [`Action::shutdown`].
    fn shutdown(
        &self,
        _cx: &ServiceContext<Self::Config>,
        _state: Value,
    ) -> impl Future<Output = anyhow::Result<()>> + Send {
        async { Ok(()) }
    }
}

/// The one object-safe shape that the engine knows.
pub(crate) trait Module: Send + Sync {
    fn process(&self, message: Object, run: ContextParts) -> BoxFuture<'_, anyhow::Result<()>>;
    fn init(&self, run: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<()>>;
    fn startup(&self, run: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<Value>>;
    fn shutdown(&self, run: ServiceContextParts, state: Value)
    -> BoxFuture<'_, anyhow::Result<()>>;
    /// The `in` and `out` metadata; a polling trigger takes nothing.
    fn metadata(&self) -> Metadata;
    /// The crate that the module stands in: its log lines are the component's.
    fn crate_name(&self) -> &'static str;
}

/// What goes into a function and what comes out, as JSON schemas in the platform's dialect.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    /// The body of incoming messages; none for polling triggers.
    pub input: Option<Value>,
    /// The body of outgoing messages.
    pub output: Value,
}

pub(crate) fn crate_of<T>() -> &'static str {
    std::any::type_name::<T>()
        .trim_start_matches('&')
        .split("::")
        .next()
        .unwrap_or_default()
}

/// The hooks are the same for both kinds of module.
macro_rules! hooks {
    () => {
        fn init(&self, run: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
            Box::pin(async move { self.0.init(&ServiceContext::typed(run)?).await })
        }
        fn startup(&self, run: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<Value>> {
            Box::pin(async move { self.0.startup(&ServiceContext::typed(run)?).await })
        }
        fn shutdown(
            &self,
            run: ServiceContextParts,
            state: Value,
        ) -> BoxFuture<'_, anyhow::Result<()>> {
            Box::pin(async move { self.0.shutdown(&ServiceContext::typed(run)?, state).await })
        }
    };
}

struct ActionModule<A>(A);

impl<A: Action> Module for ActionModule<A> {
    fn process(&self, message: Object, run: ContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let message = Message::read(message)?.with_storage(run.clients.object_storage.clone());
            self.0.process(message, Context::typed(run)?).await
        })
    }
    fn metadata(&self) -> Metadata {
        Metadata {
            input: Some(schema_of::<A::Input>()),
            output: schema_of::<A::Output>(),
        }
    }
    fn crate_name(&self) -> &'static str {
        crate_of::<A>()
    }
    hooks!();
}

struct TriggerModule<T>(T);

impl<T: Trigger> Module for TriggerModule<T> {
    fn process(&self, _message: Object, run: ContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let cx = Context::typed(run)?;
            if let Some(next) = self.0.poll(cx.stored_snapshot()?, &cx).await? {
                cx.snapshot(&next).await?;
            }
            Ok(())
        })
    }
    fn metadata(&self) -> Metadata {
        Metadata {
            input: None,
            output: schema_of::<T::Output>(),
        }
    }
    fn crate_name(&self) -> &'static str {
        crate_of::<T>()
    }
    hooks!();
}

/// An async function used as an action.
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

/// What [`Component::action`](crate::Component::action) takes. `Kind` only tells the two implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an action",
    note = "an action is a type that implements `Action`, or an `async fn(Message<Input>, Context<Config, Output>) -> anyhow::Result<()>`"
)]
pub trait IntoAction<Kind> {
    /// The action it becomes.
    type Action: Action;
    /// Makes it one.
    fn into_action(self) -> Self::Action;
}

/// What [`Component::trigger`](crate::Component::trigger) takes: polling triggers, and actions, which is what webhook
/// triggers are: the incoming request is their message.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trigger",
    note = "a trigger is a type that implements `Trigger` (polling), or anything that is an action (webhooks)"
)]
pub trait IntoTrigger<Kind> {
    #[doc(hidden)]
    fn into_module(self) -> RegisteredModule;
}

/// A module in the shape that the engine knows.
pub struct RegisteredModule(pub(crate) Arc<dyn Module>);

impl std::fmt::Debug for RegisteredModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RegisteredModule")
    }
}

/// Marks types that implement [`Action`] themselves.
#[derive(Debug)]
pub enum IsType {}
/// Marks types that implement [`Trigger`].
#[derive(Debug)]
pub enum IsPolling {}

impl<A: Action> IntoAction<IsType> for A {
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

impl<T: Trigger> IntoTrigger<IsPolling> for T {
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
