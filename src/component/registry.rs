//! A component: its descriptor, and the modules and functions that are registered for it.

use crate::{
    component::{
        config_type::ConfigType,
        context::{BoxFuture, ServiceContext, ServiceContextParts},
        module::{IntoAction, IntoTrigger, Metadata, Module, action, crate_of},
    },
    oauth2::{OAuth2, Session, SessionConfig},
    settings::{
        descriptor::{Credentials, Descriptor, Function},
        lint::did_you_mean,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    sync::Arc,
};

/// The result of `verifyCredentials`.
///
/// ```
/// use sailor::{prelude::*, testing::Harness};
/// use serde_json::json;
///
/// #[derive(serde::Deserialize)]
/// struct Credentials { key: String }
///
/// async fn verify(cx: ServiceContext<Credentials>) -> anyhow::Result<Verified> {
///     Ok(if cx.config.key.is_empty() { Verified::No("the key is empty".to_owned()) } else { Verified::Yes })
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// let component = Component::new(r#"{"actions": {}}"#)?.verify_credentials(verify);
/// let harness = Harness::new(&component, "").config(json!({ "key": "" }));
/// assert_eq!(harness.verify().await?, Verified::No("the key is empty".to_owned()));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Verified {
    /// The credentials work.
    Yes,
    /// The credentials work. The members are added to the result.
    With(Map<String, Value>),
    /// The credentials do not work, for this reason.
    No(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FunctionKind {
    Action,
    Trigger,
}

impl FunctionKind {
    /// The member of component.json that has the functions of this kind.
    pub(super) fn section(self) -> &'static str {
        match self {
            Self::Action => "actions",
            Self::Trigger => "triggers",
        }
    }
}

impl fmt::Display for FunctionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Action => "action",
            Self::Trigger => "trigger",
        })
    }
}

type ServiceFn<T> =
    Arc<dyn Fn(ServiceContextParts) -> BoxFuture<'static, anyhow::Result<T>> + Send + Sync>;

/// An author's function for one-time calls, without its types.
pub(super) struct Service<T> {
    call: ServiceFn<T>,
    pub(super) config: ConfigType,
}

/// A component: its component.json, and one registered module for each function in it.
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
///     Component::new(r#"{"title": "Echo", "actions": {"echo": {"main": "./lib/echo.rs"}}}"#)?
///         .action("echo", echo)
///         .check()
/// }
/// # component().unwrap();
/// ```
pub struct Component {
    /// The text of component.json.
    pub(super) json: String,
    pub(super) descriptor: Descriptor,
    pub(super) modules: Vec<(&'static str, FunctionKind, Arc<dyn Module>)>,
    pub(super) models: BTreeMap<&'static str, Service<Value>>,
    pub(super) metadata: BTreeMap<&'static str, Service<Value>>,
    pub(super) verify: Option<Service<Verified>>,
    /// What was registered again, so that only the last of it is there.
    pub(super) twice: Vec<String>,
    pub(super) oauth2: Option<OAuth2>,
    crates: BTreeSet<&'static str>,
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules: Vec<_> = self.modules.iter().map(|(name, ..)| name).collect();
        f.debug_struct("Component")
            .field("title", &self.descriptor.title)
            .field("modules", &modules)
            .finish_non_exhaustive()
    }
}

impl Component {
    /// Creates a component from the text of its component.json, with nothing registered yet.
    ///
    /// # Errors
    /// Returns an error if the text is not JSON, or if a member has the wrong type. The error names the member.
    ///
    /// ```
    /// use sailor::Component;
    ///
    /// let component = Component::new(r#"{"title": "Mail", "actions": {"send": {"main": "./send.rs"}}}"#)?;
    /// assert_eq!(component.descriptor().title, "Mail");
    ///
    /// let error = Component::new(r#"{"actions": {"send": {"main": 7}}}"#).unwrap_err();
    /// assert!(error.to_string().contains("actions.send.main"));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    pub fn new(component_json: &str) -> anyhow::Result<Self> {
        let json = &mut serde_json::Deserializer::from_str(component_json);
        let descriptor = serde_path_to_error::deserialize(json)
            .map_err(|error| anyhow::anyhow!("component.json: {error}"))?;
        Ok(Self {
            json: component_json.to_owned(),
            descriptor,
            modules: vec![],
            models: BTreeMap::new(),
            metadata: BTreeMap::new(),
            verify: None,
            twice: Vec::new(),
            oauth2: None,
            crates: BTreeSet::new(),
        })
    }

    /// Registers the action that is called `name` in component.json: a type that implements [`Action`](crate::Action), or
    /// an async function.
    ///
    /// ```
    /// use sailor::prelude::*;
    /// use serde_json::Value;
    ///
    /// async fn echo(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    ///     cx.data(&message.body).await
    /// }
    /// let json = r#"{"actions": {"echo": {"main": "./echo.rs"}}}"#;
    /// Component::new(json)?.action("echo", echo).check()?;
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn action<K>(mut self, name: &'static str, module: impl IntoAction<K>) -> Self {
        self.modules
            .push((name, FunctionKind::Action, action(module)));
        self
    }

    /// Registers the trigger that is called `name` in component.json: a [`Trigger`](crate::Trigger), which polls, or an
    /// action, which gets webhook requests as messages.
    ///
    /// ```
    /// use sailor::prelude::*;
    /// use serde_json::Value;
    ///
    /// async fn webhook(request: Message<Value>, cx: Context) -> anyhow::Result<()> {
    ///     cx.data(&request.body).await
    /// }
    ///
    /// struct Poll;
    /// impl Trigger for Poll {
    ///     type Config = Value;
    ///     type Snapshot = u64;
    ///     type Output = u64;
    ///
    ///     async fn poll(&self, since: Option<u64>, cx: Context<Value, u64>) -> anyhow::Result<Option<u64>> {
    ///         let next = since.unwrap_or(0) + 1;
    ///         cx.data(&next).await?;
    ///         Ok(Some(next))
    ///     }
    /// }
    /// let json = r#"{"triggers": {"webhook": {"main": "./webhook.rs"}, "poll": {"main": "./poll.rs"}}}"#;
    /// Component::new(json)?.trigger("webhook", webhook).trigger("poll", Poll).check()?;
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn trigger<K>(mut self, name: &'static str, module: impl IntoTrigger<K>) -> Self {
        self.modules
            .push((name, FunctionKind::Trigger, module.into_module().0));
        self
    }

    /// Registers the select model `name`: a function from the step's configuration to values and their labels.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    /// use std::collections::BTreeMap;
    ///
    /// async fn folders(cx: ServiceContext) -> anyhow::Result<BTreeMap<String, String>> {
    ///     Ok([("inbox".to_owned(), format!("Inbox of {}", cx.config["user"]))].into())
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// let component = Component::new(r#"{"actions": {"read": {}}}"#)?.select_model("getFolders", folders);
    /// let harness = Harness::new(&component, "read").config(json!({ "user": 7 }));
    /// assert_eq!(harness.select_model("getFolders").await?, json!({ "inbox": "Inbox of 7" }));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn select_model<C, T, F, Fut>(mut self, name: &'static str, model: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        T: Serialize + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        if self
            .models
            .insert(name, erase_types(model, to_json))
            .is_some()
        {
            self.twice.push(format!("select model \"{name}\""));
        }
        self
    }

    /// Registers dynamic metadata for the function `name`: a function from the step's configuration to its schemas,
    /// `{"in": …, "out": …}`. In component.json the function has `"dynamicMetadata": true`.
    ///
    /// ```
    /// use sailor::{prelude::*, testing::Harness};
    /// use serde_json::{Value, json};
    ///
    /// async fn row(cx: ServiceContext) -> anyhow::Result<Value> {
    ///     let table = &cx.config["table"];
    ///     Ok(json!({ "in": { "type": "object", "title": table }, "out": { "type": "object" } }))
    /// }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
    /// let component = Component::new(r#"{"actions": {"insertRow": {}}}"#)?.metadata("insertRow", row);
    /// let harness = Harness::new(&component, "insertRow").config(json!({ "table": "pets" }));
    /// assert_eq!(harness.metadata().await?["in"]["title"], "pets");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn metadata<C, T, F, Fut>(mut self, name: &'static str, metadata: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        T: Serialize + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        let earlier = self.metadata.insert(name, erase_types(metadata, to_json));
        if earlier.is_some() {
            self.twice.push(format!("metadata for \"{name}\""));
        }
        self
    }

    /// Registers the check of credentials. If the function returns an error, the credentials are not verified, and the
    /// error is the reason. A transient error of the OAuth2 client or a [`Rebound`](crate::Rebound) is not a result: it
    /// is posted as the error of the call.
    ///
    /// ```
    /// use sailor::prelude::*;
    /// use serde_json::Value;
    ///
    /// async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    ///     let me: Value = cx.oauth().get("/me").send_json().await?;
    ///     Ok(if me["active"] == true { Verified::Yes } else { Verified::No("the user is inactive".to_owned()) })
    /// }
    /// # let json = r#"{"actions": {}}"#;
    /// let component = Component::new(json)?.verify_credentials(verify);
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn verify_credentials<C, F, Fut>(mut self, verify: F) -> Self
    where
        C: DeserializeOwned + Send + Sync + 'static,
        F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = anyhow::Result<Verified>> + Send + 'static,
    {
        self.crates.insert(crate_of::<F>());
        if self.verify.replace(erase_types(verify, Ok)).is_some() {
            self.twice.push("the check of credentials".to_owned());
        }
        self
    }

    /// Configures what component.json cannot express about the OAuth2 credential, such as the API's base URL.
    ///
    /// ```
    /// use sailor::{Component, oauth2::OAuth2};
    ///
    /// # let json = r#"{"actions": {}}"#;
    /// let component = Component::new(json)?
    ///     .oauth2(OAuth2::new().profile("salesforce").base_url("{{baseUrl|API_BASE_URL}}"));
    /// # Ok::<(), anyhow::Error>(())
    /// ```
    #[must_use]
    pub fn oauth2(mut self, oauth2: OAuth2) -> Self {
        if self.oauth2.replace(oauth2).is_some() {
            self.twice.push("the OAuth2 credential".to_owned());
        }
        self
    }

    /// Returns the author's settings for the OAuth2 credential, or the defaults.
    pub(crate) fn oauth2_definition(&self) -> OAuth2 {
        self.oauth2.clone().unwrap_or_default()
    }

    /// Creates a session for the component's OAuth2 credential; `None` if the component has no such credential.
    pub(crate) fn session(&self, tools: SessionConfig) -> Option<Session> {
        self.has_oauth2()
            .then(|| Session::new(self.oauth2_definition(), self.descriptor.clone(), tools))
    }

    /// Returns whether the component has an OAuth2 credential.
    pub(crate) fn has_oauth2(&self) -> bool {
        let declared = self.descriptor.credentials.as_ref();
        declared.is_some_and(Credentials::are_oauth2) || self.oauth2.is_some()
    }

    /// Returns the content of component.json.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Returns its title and version, for `--version`.
    pub(crate) fn versioned_title(&self) -> String {
        let Descriptor { title, version, .. } = &self.descriptor;
        match version {
            Some(version) => format!("{title} {version}"),
            None => format!("{title} (component.json has no version)"),
        }
    }

    /// Returns the module of a function: the trigger of that name, or else the action.
    ///
    /// # Errors
    /// Returns an error if component.json has no such function, with the text of the platform's other sailors, or if no
    /// module is registered for it.
    pub(crate) fn module(&self, name: &str) -> anyhow::Result<(Arc<dyn Module>, &Function)> {
        let function = self.descriptor.function(name).ok_or_else(|| {
            let known = self.descriptor.triggers.keys();
            let known = known.chain(self.descriptor.actions.keys());
            let known = listed(name, known.map(String::as_str));
            anyhow::anyhow!("Trigger or action \"{name}\" is not found in component.json!\n{known}")
        })?;
        let kind = if self.descriptor.triggers.contains_key(name) {
            FunctionKind::Trigger
        } else {
            FunctionKind::Action
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
        self.models.get(name).map(|model| &model.call)
    }

    /// Names the select models, for an error about an unknown one.
    pub(crate) fn known_models(&self, unknown: &str) -> String {
        listed(unknown, self.models.keys().copied())
    }

    pub(crate) fn metadata_function(&self, name: &str) -> Option<&ServiceFn<Value>> {
        self.metadata.get(name).map(|metadata| &metadata.call)
    }

    pub(crate) fn verify_function(&self) -> Option<&ServiceFn<Verified>> {
        self.verify.as_ref().map(|verify| &verify.call)
    }

    /// Returns the metadata that is derived from a function's types; `None` if the function has no module.
    #[must_use]
    pub fn metadata_of(&self, function: &str) -> Option<Metadata> {
        let (module, _) = self.module(function).ok()?;
        Some(module.metadata())
    }

    /// Returns the crates that define the modules and functions. Their log lines are logged as the component's.
    pub(crate) fn crate_names(&self) -> Vec<&'static str> {
        let modules = self.modules.iter().map(|(.., module)| module.crate_name());
        let names: BTreeSet<_> = modules.chain(self.crates.iter().copied()).collect();
        names.into_iter().collect()
    }
}

/// Names what there is, for an error about an unknown name.
fn listed<'a>(unknown: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    let names: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
    if names.is_empty() {
        "There are none".to_owned()
    } else {
        let near = did_you_mean(unknown, &known);
        format!("There are: {}{near}", names.join(", "))
    }
}

fn to_json<T: Serialize>(value: T) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(value)?)
}

/// Wraps an author's function, so that functions of different types can be stored together.
fn erase_types<C, T, R, F, Fut>(function: F, result: fn(T) -> anyhow::Result<R>) -> Service<R>
where
    C: DeserializeOwned + Send + Sync + 'static,
    T: 'static,
    R: 'static,
    F: Fn(ServiceContext<C>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    let function = Arc::new(function);
    let call: ServiceFn<R> = Arc::new(move |parts| {
        let function = function.clone();
        Box::pin(async move { result(function(ServiceContext::typed(parts)?).await?) })
    });
    let config = ConfigType::of::<C>();
    Service { call, config }
}
