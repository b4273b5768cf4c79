//! Modules without their types, as the engine runs them.

use super::{Action, Metadata, Trigger};
use crate::{
    component::{
        config_type::ConfigType,
        context::{BoxFuture, Context, ContextParts, HookContext, ServiceContextParts},
        message::Message,
        schema::schema_of,
    },
    protocol::Object,
};
use serde_json::Value;

/// A module as the engine sees it.
pub(crate) trait Module: Send + Sync {
    fn process(&self, message: Object, parts: ContextParts) -> BoxFuture<'_, anyhow::Result<()>>;
    fn init(&self, parts: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<()>>;
    fn startup(&self, parts: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<Value>>;
    fn shutdown(
        &self,
        parts: ServiceContextParts,
        state: Value,
    ) -> BoxFuture<'_, anyhow::Result<()>>;
    /// The `in` and `out` metadata. A polling trigger has no input.
    fn metadata(&self) -> Metadata;
    /// What the step's configuration is read as.
    fn config(&self) -> ConfigType;
    /// True for a polling trigger.
    fn polls(&self) -> bool {
        false
    }
    /// What the body of a message is read as. A polling trigger does not read it.
    fn input_kind(&self) -> InputKind {
        InputKind::Nothing
    }
    /// The crate that the module is defined in. Its log lines are logged as the component's.
    fn crate_name(&self) -> &'static str;
}

/// What a module reads the body of a message as. It decides how much memory that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InputKind {
    /// The body is not parsed.
    Nothing,
    /// A [`Value`], or a list or a map of it.
    Value,
    /// A type of the component.
    Type,
}

/// The name of the crate that defines `T`.
pub(crate) fn crate_of<T>() -> &'static str {
    std::any::type_name::<T>()
        .trim_start_matches('&')
        .split("::")
        .next()
        .unwrap_or_default()
}

/// The hooks are the same for actions and triggers.
macro_rules! hooks {
    () => {
        fn init(&self, parts: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
            Box::pin(async move { self.0.init(HookContext::typed(parts)?).await })
        }
        fn startup(&self, parts: ServiceContextParts) -> BoxFuture<'_, anyhow::Result<Value>> {
            Box::pin(async move { self.0.startup(HookContext::typed(parts)?).await })
        }
        fn shutdown(
            &self,
            parts: ServiceContextParts,
            state: Value,
        ) -> BoxFuture<'_, anyhow::Result<()>> {
            Box::pin(async move { self.0.shutdown(HookContext::typed(parts)?, state).await })
        }
    };
}

pub(super) struct ActionModule<A>(pub(super) A);

impl<A: Action> Module for ActionModule<A> {
    fn process(&self, message: Object, parts: ContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let storage = parts.clients.object_storage.clone();
            let message = Message::read(message)?.with_storage(storage);
            self.0.process(message, Context::typed(parts)?).await
        })
    }
    fn metadata(&self) -> Metadata {
        Metadata {
            input: Some(schema_of::<A::Input>()),
            output: schema_of::<A::Output>(),
        }
    }
    fn config(&self) -> ConfigType {
        ConfigType::of::<A::Config>()
    }
    fn input_kind(&self) -> InputKind {
        let input = std::any::type_name::<A::Input>();
        if input.ends_with("::NoBody") {
            InputKind::Nothing
        } else if input.contains("serde_json::value::Value")
            || input.contains("serde_json::map::Map")
        {
            InputKind::Value
        } else {
            InputKind::Type
        }
    }
    fn crate_name(&self) -> &'static str {
        crate_of::<A>()
    }
    hooks!();
}

pub(super) struct TriggerModule<T>(pub(super) T);

impl<T: Trigger> Module for TriggerModule<T> {
    fn process(&self, _message: Object, parts: ContextParts) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let emitter = parts.emitter.clone();
            let cx = Context::typed(parts)?;
            let since = cx.stored_snapshot()?;
            if let Some(next) = self.0.poll(since, cx).await? {
                emitter.snapshot(&next).await?;
            }
            Ok(())
        })
    }
    fn polls(&self) -> bool {
        true
    }
    fn metadata(&self) -> Metadata {
        Metadata {
            input: None,
            output: schema_of::<T::Output>(),
        }
    }
    fn config(&self) -> ConfigType {
        ConfigType::of::<T::Config>()
    }
    fn crate_name(&self) -> &'static str {
        crate_of::<T>()
    }
    hooks!();
}
