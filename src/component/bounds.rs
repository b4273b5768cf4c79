//! Tells which bound a module lacks, for a compile error that only says "is not an action".
//!
//! [`Component::action`](crate::Component::action) takes a type or a function, so rustc tries both, and cannot say why neither
//! fits. The functions of this module take only one of them, and demand each bound by itself: rustc names the bound, the type
//! and, for a future that is not `Send`, the line. They do nothing at run time; remove the line when it compiles.
//!
//! Each function names the method that it is about in a closure that nobody calls: it would not compile if it demanded less.

use crate::component::{
    context::{Context, ServiceContext},
    message::Message,
    module::{Action, Trigger, action as action_module},
    registry::{Component, Verified},
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
    let _ = |function: F| action_module(function);
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

/// Checks that an async function is a select model: what [`Component::select_model`] demands.
///
/// ```
/// use sailor::prelude::*;
/// use std::collections::BTreeMap;
///
/// async fn folders(_: ServiceContext) -> anyhow::Result<BTreeMap<String, String>> {
///     Ok([("inbox".to_owned(), "Inbox".to_owned())].into())
/// }
/// sailor::check::select_model(folders);
/// ```
///
/// Its choices must implement `Serialize`:
///
/// ```compile_fail
/// # use sailor::prelude::*;
/// struct Folders {
///     names: Vec<String>,
/// }
/// async fn folders(_: ServiceContext) -> anyhow::Result<Folders> {
///     Ok(Folders { names: Vec::new() })
/// }
/// # fn _f() {
/// sailor::check::select_model(folders);
/// # }
/// ```
pub fn select_model<F, Fut, Config, Choices>(_: F)
where
    F: Fn(ServiceContext<Config>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Choices>> + Send + 'static,
    Config: DeserializeOwned + Send + Sync + 'static,
    Choices: Serialize + 'static,
{
    let _ = |component: Component, model: F| component.select_model("", model);
}

/// Checks that an async function is dynamic metadata: what [`Component::metadata`] demands.
///
/// ```
/// use sailor::prelude::*;
/// use serde_json::{Value, json};
///
/// async fn row(_: ServiceContext) -> anyhow::Result<Value> {
///     Ok(json!({ "in": { "type": "object" }, "out": { "type": "object" } }))
/// }
/// sailor::check::metadata(row);
/// ```
pub fn metadata<F, Fut, Config, Schemas>(_: F)
where
    F: Fn(ServiceContext<Config>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Schemas>> + Send + 'static,
    Config: DeserializeOwned + Send + Sync + 'static,
    Schemas: Serialize + 'static,
{
    let _ = |component: Component, metadata: F| component.metadata("", metadata);
}

/// Checks that an async function is a check of credentials: what [`Component::verify_credentials`] demands.
///
/// ```
/// use sailor::prelude::*;
///
/// async fn verify(_: ServiceContext) -> anyhow::Result<Verified> {
///     Ok(Verified::Yes)
/// }
/// sailor::check::verify_credentials(verify);
/// ```
pub fn verify_credentials<F, Fut, Config>(_: F)
where
    F: Fn(ServiceContext<Config>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<Verified>> + Send + 'static,
    Config: DeserializeOwned + Send + Sync + 'static,
{
    let _ = |component: Component, verify: F| component.verify_credentials(verify);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serializer};
    use std::rc::Rc;

    #[derive(Deserialize)]
    struct Least;

    /// It is not `Send`.
    struct Choices(Rc<str>);

    impl Serialize for Choices {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_str(&self.0)
        }
    }

    async fn choices(_: ServiceContext<Least>) -> anyhow::Result<Choices> {
        Ok(Choices("".into()))
    }

    async fn verify(_: ServiceContext<Least>) -> anyhow::Result<Verified> {
        Ok(Verified::Yes)
    }

    /// That they demand no less is in their bodies.
    #[test]
    fn a_helper_demands_no_more_than_its_method() {
        select_model(choices);
        metadata(choices);
        verify_credentials(verify);
        let component = Component::new("{}").unwrap();
        let component = component.select_model("a", choices).metadata("b", choices);
        let _ = component.verify_credentials(verify);
    }
}
