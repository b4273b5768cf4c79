//! A component: its descriptor, and the modules that do what the descriptor promises.

use crate::{
    component::{
        context::{BoxFuture, ServiceContext, ServiceContextParts},
        module::{IntoAction, IntoTrigger, Metadata, Module, action, crate_of},
    },
    oauth2::{OAuth2, Session, SessionConfig},
    settings::descriptor::{Credentials, Descriptor, Function},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    path::Path,
    sync::Arc,
};

/// What verifyCredentials found.
#[derive(Clone, Debug, PartialEq)]
pub enum Verified {
    /// They work.
    Yes,
    /// They work, and there is something to tell.
    With(Map<String, Value>),
    /// They do not work, for this reason.
    No(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Action,
    Trigger,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Trigger => "trigger",
        })
    }
}

type ServiceFn<T> =
    Arc<dyn Fn(ServiceContextParts) -> BoxFuture<'static, anyhow::Result<T>> + Send + Sync>;

/// A component: one line per module of component.json.
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
///     Ok(Component::new(r#"{"title": "Echo", "actions": {"echo": {"main": "./lib/echo.rs"}}}"#)?
///         .action("echo", echo)
///         .check()?)
/// }
/// # component().unwrap();
/// ```
pub struct Component {
    descriptor: Descriptor,
    modules: Vec<(&'static str, Kind, Arc<dyn Module>)>,
    models: BTreeMap<&'static str, ServiceFn<Value>>,
    metadata: BTreeMap<&'static str, ServiceFn<Value>>,
    verify: Option<ServiceFn<Verified>>,
    oauth2: Option<OAuth2>,
    crates: BTreeSet<&'static str>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("title", &self.descriptor.title)
            .field(
                "modules",
                &self
                    .modules
                    .iter()
                    .map(|(name, ..)| name)
                    .collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

/// Every difference between component.json and the registered modules, not just the first.
#[derive(Debug, thiserror::Error)]
#[error("component.json and the registered modules disagree:\n{}", .0.join("\n"))]
pub struct Mismatch(Vec<String>);

impl Mismatch {
    /// The differences, a sentence each.
    #[must_use]
    pub fn differences(&self) -> &[String] {
        &self.0
    }
}

impl Component {
    /// A component with this component.json, and no modules yet.
    ///
    /// # Errors
    /// When the text is not JSON, or a member has another shape than the platform's (names it).
    pub fn new(component_json: &str) -> anyhow::Result<Self> {
        let descriptor = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(
            component_json,
        ))
        .map_err(|e| anyhow::anyhow!("component.json: {e}"))?;
        Ok(Self {
            descriptor,
            modules: vec![],
            models: BTreeMap::new(),
            metadata: BTreeMap::new(),
            verify: None,
            oauth2: None,
            crates: BTreeSet::new(),
        })
    }

    /// Registers the action that component.json calls `name`: a type that implements [`Action`](crate::Action), or
    /// an async function.
    #[must_use]
    pub fn action<K>(mut self, name: &'static str, module: impl IntoAction<K>) -> Self {
        self.modules.push((name, Kind::Action, action(module)));
        self
    }

    /// Registers the trigger that component.json calls `name`: polling, or an action that takes webhook requests.
    #[must_use]
    pub fn trigger<K>(mut self, name: &'static str, module: impl IntoTrigger<K>) -> Self {
        self.modules
            .push((name, Kind::Trigger, module.into_module().0));
        self
    }

    /// Registers the select model `name`: a function from the step's configuration to values and labels.
    #[must_use]
    pub fn select_model<C, T, F, Fut>(mut self, name: &'static str, model: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        T: Serialize + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        self.models.insert(
            name,
            service(model, |labels| Ok(serde_json::to_value(labels)?)),
        );
        self
    }

    /// Registers dynamic metadata for the function `name`: a function from the step's configuration to its schemas,
    /// `{"in": …, "out": …}`.
    #[must_use]
    pub fn metadata<C, T, F, Fut>(mut self, name: &'static str, metadata: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        T: Serialize + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        self.metadata.insert(
            name,
            service(metadata, |schemas| Ok(serde_json::to_value(schemas)?)),
        );
        self
    }

    /// Registers the check of credentials. An error counts as "not verified", with the error as the reason; one that may
    /// pass (trouble on the network, a busy API, a [`Rebound`](crate::Rebound)) says nothing of them and is posted as
    /// the call's error.
    #[must_use]
    pub fn verify_credentials<C, F, Fut>(mut self, verify: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Verified>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        self.verify = Some(service(verify, Ok));
        self
    }

    /// Says of the OAuth2 credential what component.json cannot say: where the API is, how its provider behaves.
    #[must_use]
    pub fn oauth2(mut self, oauth2: OAuth2) -> Self {
        self.oauth2 = Some(oauth2);
        self
    }

    /// What the author says of the OAuth2 credential, if anything.
    pub(crate) fn oauth2_definition(&self) -> OAuth2 {
        self.oauth2.clone().unwrap_or_default()
    }

    /// A session for the component's OAuth2 credential; none when it has no such credential.
    pub(crate) fn session(&self, tools: SessionConfig) -> Option<Session> {
        let declared = self
            .descriptor
            .credentials
            .as_ref()
            .is_some_and(Credentials::are_oauth2);
        (declared || self.oauth2.is_some())
            .then(|| Session::new(self.oauth2_definition(), self.descriptor.clone(), tools))
    }

    /// Compares component.json with what is registered, both ways.
    ///
    /// # Errors
    /// [`Mismatch`] with every difference.
    pub fn check(self) -> Result<Self, Mismatch> {
        let differences = self.differences();
        if differences.is_empty() {
            Ok(self)
        } else {
            Err(Mismatch(differences))
        }
    }

    fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        let declared = self.declared().collect::<Vec<_>>();
        if declared.is_empty() {
            found.push("component.json has neither triggers nor actions".to_owned());
        }
        for (kind, name, function) in &declared {
            let registered = self
                .modules
                .iter()
                .filter(|(n, k, _)| n == name && k == kind)
                .count();
            match (&function.main, registered) {
                (None, _) => found.push(format!("{kind} \"{name}\" has no `main`")),
                (Some(main), 0) => found.push(format!(
                    "{kind} \"{name}\" ({main}) has no module: register it"
                )),
                (Some(_), 1) => {}
                (Some(_), n) => found.push(format!("{kind} \"{name}\" is registered {n} times")),
            }
            let dynamic = function
                .dynamic_metadata
                .as_ref()
                .is_some_and(|d| *d != Value::Bool(false));
            if dynamic && !self.metadata.contains_key(name.as_str()) {
                found.push(format!(
                    "{kind} \"{name}\" has dynamic metadata, but no function for it is registered"
                ));
            }
        }
        for (name, kind, _) in &self.modules {
            if !declared
                .iter()
                .any(|(k, n, _)| n.as_str() == *name && k == kind)
            {
                found.push(format!(
                    "{kind} \"{name}\" is registered, but not in component.json"
                ));
            }
        }
        for name in self
            .metadata
            .keys()
            .filter(|name| self.descriptor.function(name).is_none())
        {
            found.push(format!(
                "metadata for \"{name}\" is registered, but no function of that name is in component.json"
            ));
        }
        for (place, model) in self
            .descriptor
            .models()
            .filter(|(_, model)| !self.models.contains_key(model))
        {
            found.push(format!(
                "{place} asks for select model \"{model}\", which is not registered"
            ));
        }
        for model in self
            .models
            .keys()
            .filter(|model| !self.descriptor.models().any(|(_, m)| m == **model))
        {
            found.push(format!(
                "select model \"{model}\" is registered, but no field asks for it"
            ));
        }
        found
    }

    fn declared(&self) -> impl Iterator<Item = (Kind, &String, &Function)> {
        let triggers = self
            .descriptor
            .triggers
            .iter()
            .map(|(name, f)| (Kind::Trigger, name, f));
        triggers.chain(
            self.descriptor
                .actions
                .iter()
                .map(|(name, f)| (Kind::Action, name, f)),
        )
    }

    /// component.json.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// The module of a function: the trigger of that name, or else the action.
    ///
    /// # Errors
    /// With the text that the platform's other sailors give.
    pub(crate) fn module(&self, name: &str) -> anyhow::Result<(Arc<dyn Module>, &Function)> {
        let not_found =
            || anyhow::anyhow!("Trigger or action \"{name}\" is not found in component.json!");
        let function = self.descriptor.function(name).ok_or_else(not_found)?;
        let kind = if self.descriptor.triggers.contains_key(name) {
            Kind::Trigger
        } else {
            Kind::Action
        };
        let registered = self
            .modules
            .iter()
            .find(|(n, k, _)| *n == name && *k == kind);
        let (.., module) = registered.ok_or_else(|| {
            let main = function.main.as_deref().unwrap_or("no file");
            anyhow::anyhow!(
                "Trigger or action \"{name}\" ({main}) is in component.json, but this binary has no module for it"
            )
        })?;
        Ok((module.clone(), function))
    }

    pub(crate) fn model_function(&self, name: &str) -> Option<&ServiceFn<Value>> {
        self.models.get(name)
    }

    pub(crate) fn metadata_function(&self, name: &str) -> Option<&ServiceFn<Value>> {
        self.metadata.get(name)
    }

    pub(crate) fn verify_function(&self) -> Option<&ServiceFn<Verified>> {
        self.verify.as_ref()
    }

    /// The metadata that follows from a function's types.
    #[must_use]
    pub fn metadata_of(&self, function: &str) -> Option<Metadata> {
        self.module(function)
            .ok()
            .map(|(module, _)| module.metadata())
    }

    /// Where component.json's schemas differ from the types, a sentence each; paths in it are relative to `root`. A
    /// function with dynamic metadata, or with none in component.json, has nothing to differ from.
    #[must_use]
    pub fn schema_differences(&self, root: &Path) -> Vec<String> {
        self.schemas()
            .filter_map(|(function, side, place, schema)| {
                let stands = match place {
                    Value::String(path) => match std::fs::read_to_string(root.join(path)) {
                        Ok(text) => serde_json::from_str(&text).unwrap_or_default(),
                        Err(e) => return Some(format!("{path}, the {side} metadata of \"{function}\": {e}")),
                    },
                    inline => inline.clone(),
                };
                (stands != schema).then(|| match place {
                    Value::String(path) => format!("{path} differs from the {side} type of \"{function}\""),
                    _ => format!("the {side} metadata of \"{function}\" in component.json differs from its type"),
                })
            })
            .collect()
    }

    /// Each schema that component.json has: function, side, where it stands, and what the type says.
    pub(crate) fn schemas(&self) -> impl Iterator<Item = (&str, &'static str, &Value, Value)> {
        self.declared()
            .filter(|(_, name, _)| !self.metadata.contains_key(name.as_str()))
            .flat_map(|(_, name, function)| {
                let types = self.metadata_of(name);
                let places = function.metadata.as_ref();
                let input = places
                    .and_then(|p| p.input.as_ref())
                    .zip(types.as_ref().and_then(|t| t.input.clone()));
                let output = places
                    .and_then(|p| p.output.as_ref())
                    .zip(types.map(|t| t.output));
                let input = input.map(|(place, schema)| (name.as_str(), "in", place, schema));
                let output = output.map(|(place, schema)| (name.as_str(), "out", place, schema));
                [input, output].into_iter().flatten()
            })
    }

    /// The crates that the modules and functions stand in: their log lines are the component's.
    pub(crate) fn crate_names(&self) -> Vec<&'static str> {
        let modules = self.modules.iter().map(|(.., module)| module.crate_name());
        modules
            .chain(self.crates.iter().copied())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

/// Erases a service function's types.
fn service<C, T, R, F, Fut>(function: F, result: fn(T) -> anyhow::Result<R>) -> ServiceFn<R>
where
    C: DeserializeOwned + Send + Sync + 'static,
    T: 'static,
    R: 'static,
    F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |run| {
        let function = function.clone();
        Box::pin(async move { result(function(ServiceContext::typed(run)?).await?) })
    })
}
