//! How a failure steers the runtime.

use crate::oauth2;
use std::fmt;

/// Turns a failure into a rebound: the message comes again later. Found anywhere in an error's chain.
///
/// ```
/// use sailor::prelude::*;
/// fn busy() -> anyhow::Result<()> {
///     Err(Rebound::because("the API is closed for maintenance").into())
/// }
/// assert!(busy().unwrap_err().is::<Rebound>());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebound(String);

impl Rebound {
    /// A rebound for this reason; the platform shows it to the user.
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

/// Makes rebounds of errors that will pass.
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
    /// Rebound instead of failing when `passes` says so of the error.
    ///
    /// # Errors
    /// The error itself, marked as a rebound or not.
    fn rebound_if(self, passes: impl FnOnce(&anyhow::Error) -> bool) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> ReboundExt<T> for Result<T, E> {
    fn rebound_if(self, passes: impl FnOnce(&anyhow::Error) -> bool) -> anyhow::Result<T> {
        self.map_err(|error| {
            let error = error.into();
            if passes(&error) {
                let reason = format!("{error:#}");
                error.context(Rebound(reason))
            } else {
                error
            }
        })
    }
}

/// Marks an error that the user has been told of already: it went out as an error event where it happened.
#[derive(Debug)]
pub(crate) struct AlreadyReported(pub(crate) String);

impl fmt::Display for AlreadyReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AlreadyReported {}

/// What a module's result asks for. The only place that decides.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModuleOutcome {
    Done,
    Rebound(String),
    Failed,
    /// Failed, and reported already.
    AlreadyReported,
}

impl From<&anyhow::Result<()>> for ModuleOutcome {
    fn from(result: &anyhow::Result<()>) -> Self {
        let Err(error) = result else {
            return Self::Done;
        };
        if error.is::<AlreadyReported>()
            || error
                .chain()
                .find_map(|cause| cause.downcast_ref::<AlreadyReported>())
                .is_some()
        {
            return Self::AlreadyReported;
        }
        let rebound = error.downcast_ref::<Rebound>();
        if let Some(Rebound(reason)) = rebound.or_else(|| {
            error
                .chain()
                .find_map(|cause| cause.downcast_ref::<Rebound>())
        }) {
            return Self::Rebound(reason.clone());
        }
        match error
            .chain()
            .find_map(|cause| cause.downcast_ref::<oauth2::Error>())
        {
            Some(cause) if cause.is_transient() => Self::Rebound(format!("{error:#}")),
            _ => Self::Failed,
        }
    }
}
