//! Tells which bound a module lacks, for a compile error that only says "is not an action".
//!
//! [`Component::action`](crate::Component::action) takes a type or a function, so rustc tries both, and cannot say why neither
//! fits. The functions of this module take only one of them, and demand each bound by itself: rustc names the bound, the type
//! and, for a future that is not `Send`, the line. They do nothing at run time; remove the line when it compiles.

use crate::component::{
    context::{Context, ServiceContext},
    message::Message,
    module::{Action, Trigger},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

/// Checks that an async function is an action, or a trigger that receives webhooks.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::Value;
///
/// async fn echo(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     cx.data(&message.body).await
/// }
///
/// fn component() -> anyhow::Result<Component> {
///     sailor::check::action(echo);
///     Component::new(r#"{"actions": {"echo": {"main": "./echo.rs"}}}"#)?.action("echo", echo).check()
/// }
/// # component().unwrap();
/// ```
///
/// A function whose future is not `Send` does not compile, and rustc shows the value that is held across an await:
///
/// ```compile_fail
/// # use sailor::prelude::*;
/// # use serde_json::Value;
/// use std::rc::Rc;
///
/// async fn count(message: Message<Value>, cx: Context<Value, usize>) -> anyhow::Result<()> {
///     let names = Rc::new(message.body); // `Rc<Value>` is not `Send`
///     cx.data(&1).await?; // await occurs here, with `names` maybe used later
///     cx.data(&names.to_string().len()).await
/// }
/// # fn _f() {
/// sailor::check::action(count);
/// # }
/// ```
pub fn action<F, Fut, Config, Input, Output>(_: F)
where
    F: Fn(Message<Input>, Context<Config, Output>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send,
    Config: DeserializeOwned + Send + Sync + 'static,
    Input: DeserializeOwned + JsonSchema + Send + 'static,
    Output: Serialize + JsonSchema + 'static,
{
}

/// Checks that a type implements [`Action`], and names the bound that is missing.
pub fn action_type<A: Action>(_: A) {}

/// Checks that a type implements [`Trigger`], and names the bound that is missing.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::Value;
///
/// struct Ticks;
/// impl Trigger for Ticks {
///     type Config = Value;
///     type Snapshot = u64;
///     type Output = u64;
///
///     async fn poll(&self, _: Option<u64>, cx: Context<Value, u64>) -> anyhow::Result<Option<u64>> {
///         cx.data(&1).await?;
///         Ok(None)
///     }
/// }
/// sailor::check::trigger(Ticks);
/// ```
pub fn trigger<T: Trigger>(_: T) {}

/// Checks that an async function is a select model, dynamic metadata, or a check of credentials.
///
/// ```
/// use sailor::prelude::*;
/// use std::collections::BTreeMap;
///
/// async fn folders(_: ServiceContext) -> anyhow::Result<BTreeMap<String, String>> {
///     Ok([("inbox".to_owned(), "Inbox".to_owned())].into())
/// }
/// async fn verify(_: ServiceContext) -> anyhow::Result<Verified> {
///     Ok(Verified::Yes)
/// }
/// sailor::check::service(folders);
/// sailor::check::service(verify);
/// ```
pub fn service<F, Fut, Config, T>(_: F)
where
    F: Fn(ServiceContext<Config>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    Config: DeserializeOwned + Send + Sync + 'static,
    T: 'static,
{
}
