//! How a module's error decides what becomes of its message.

use crate::oauth2;
use std::fmt;

/// Turns an error into a rebound: the message is delivered again later. It counts anywhere in an error's chain.
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
pub trait ReboundExt<T> {
    /// Marks the error as a [`Rebound`] if `is_transient` returns true for it.
    ///
    /// # Errors
    /// Returns the error itself, marked or not.
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

/// An error that the user knows of already: an error event was published where it happened.
#[derive(Debug)]
pub(crate) struct AlreadyReported(pub(crate) String);

impl fmt::Display for AlreadyReported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AlreadyReported {}

/// What a module's result asks for. Nothing else decides that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ModuleOutcome {
    Done,
    Rebound(String),
    Failed,
    /// The module failed after an error that was reported where it happened.
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
        match find::<oauth2::Error>(error) {
            Some(cause) if cause.is_transient() => Self::Rebound(format!("{error:#}")),
            _ => Self::Failed,
        }
    }
}

/// Finds a marker in an error: as a context that was added to it, or as one of its causes.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error
        .downcast_ref()
        .or_else(|| error.chain().find_map(|cause| cause.downcast_ref()))
}
