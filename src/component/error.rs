//! How a module's error determines the verdict on its message.

use crate::{
    broker::transport::{PublishError, TransportError},
    clients::{object_storage::ObjectStorageError, platform::PlatformError},
    codes::{self, Code, Coded},
    oauth2,
    protocol::{CipherError, ErrorReport},
    settings::SettingsError,
};
use std::fmt;

/// Turns an error into a rebound: the message is delivered again later. It works as the error itself, as its cause and
/// as its context.
///
/// ```
/// use sailor::{prelude::*, testing::{Event, Harness}};
/// use serde_json::{Value, json};
///
/// async fn export(_: Message<NoBody>, _: Context) -> anyhow::Result<()> {
///     Err(Rebound::because("the API is closed for maintenance").into())
/// }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> anyhow::Result<()> {
/// # let component = Component::new(r#"{"actions": {"export": {}}}"#)?.action("export", export);
/// let emitted = Harness::new(&component, "export").run(json!({})).await?;
/// assert_eq!(emitted.events, [Event::Rebound("the API is closed for maintenance".to_owned())]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebound(String);

impl Rebound {
    /// Creates a rebound with a reason, which the platform shows to the user.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for Rebound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Rebound {}

/// Turns transient errors into rebounds.
///
/// ```
/// use sailor::prelude::*;
///
/// async fn fetch(_: Message<NoBody>, cx: Context<serde_json::Value, String>) -> anyhow::Result<()> {
///     let response = cx.http().get("https://api.example.com/report").send().await;
///     let response = response.rebound_if(|error| error.downcast_ref::<reqwest::Error>().is_some_and(|e| e.is_timeout()))?;
///     cx.data(&response.text().await?).await
/// }
/// ```
pub trait ReboundExt<T> {
    /// Marks the error as a [`Rebound`] if `is_transient` returns true for it.
    ///
    /// # Errors
    /// Returns the error, marked or unmarked.
    ///
    /// ```
    /// use sailor::prelude::*;
    ///
    /// let read = |text: &str| text.parse::<u32>().rebound_if(|error| error.to_string().contains("empty"));
    /// assert!(read("").unwrap_err().is::<Rebound>());
    /// assert!(!read("seven").unwrap_err().is::<Rebound>());
    /// ```
    fn rebound_if(self, is_transient: impl FnOnce(&anyhow::Error) -> bool) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ReboundExt<T> for Result<T, E> {
    fn rebound_if(self, is_transient: impl FnOnce(&anyhow::Error) -> bool) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if is_transient(&error) {
                let reason = format!("{error:#}");
                error.context(Rebound(reason))
            } else {
                error
            }
        })
    }
}

/// Marks an error that was already reported by an error event. Holds its text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AlreadyReported(pub(crate) String);

/// A message that is larger than the limit.
#[derive(Debug, thiserror::Error)]
#[error("Outgoing message size {size} exceeds limit of {limit}.")]
pub(crate) struct Oversized {
    pub(crate) size: usize,
    pub(crate) limit: usize,
}

/// Returns whether a message could not be emitted because of what it contains.
pub(crate) fn is_unpublishable(error: &anyhow::Error) -> bool {
    find::<Oversized>(error).is_some()
        || find::<PublishError>(error).is_some_and(PublishError::is_of_the_message)
}

/// How a module's call ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModuleOutcome {
    Done,
    Rebound(String),
    Failed,
    /// The module failed because of an error that was already reported.
    AlreadyReported,
}

impl From<&anyhow::Result<()>> for ModuleOutcome {
    fn from(result: &anyhow::Result<()>) -> Self {
        let Err(error) = result else {
            return Self::Done;
        };
        if find::<AlreadyReported>(error).is_some() {
            return Self::AlreadyReported;
        }
        if let Some(Rebound(reason)) = find(error) {
            return Self::Rebound(reason.clone());
        }
        let is_transient = find(error).is_some_and(oauth2::Error::is_transient)
            || find(error).is_some_and(ObjectStorageError::is_transient);
        if is_transient {
            Self::Rebound(format!("{error:#}"))
        } else {
            Self::Failed
        }
    }
}

/// Returns the code of an error that the runtime has raised, also if a module has passed it on.
pub(crate) fn code_of(error: &anyhow::Error) -> Option<Code> {
    find(error)
        .map(|error: &Coded| error.code)
        .or_else(|| find(error).map(oauth2::Error::code))
        .or_else(|| find(error).map(PublishError::code))
        .or_else(|| find(error).map(CipherError::code))
        .or_else(|| find(error).map(|_: &Oversized| codes::EVENT_TOO_LARGE))
        .or_else(|| find(error).map(|_: &PlatformError| codes::PLATFORM_FAILED))
        .or_else(|| find(error).map(|_: &ObjectStorageError| codes::OBJECT_STORAGE_FAILED))
        .or_else(|| find(error).map(|_: &TransportError| codes::BROKER_FAILED))
        .or_else(|| find(error).map(|_: &SettingsError| codes::INVALID_SETTINGS))
}

/// Returns the report of an error of a module. It has the code of the runtime's error, if that was the cause.
pub(crate) fn report_of(error: &anyhow::Error) -> ErrorReport {
    let code = code_of(error).unwrap_or(codes::MODULE_FAILED);
    ErrorReport::from_error(error).with_code(code)
}

/// Finds a marker in an error's chain: a context that was added, or a cause.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error
        .downcast_ref()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}
