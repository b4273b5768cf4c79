//! The error of the platform's REST API.

use crate::clients::http::HttpError;
use reqwest::StatusCode;

/// A call of the platform's API failed after its last attempt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{cause}", operation.as_ref().map(|name| format!("{name} failed: ")).unwrap_or_default())]
pub struct PlatformError {
    pub(super) operation: Option<String>,
    pub(super) cause: HttpError,
}

impl PlatformError {
    /// Returns the status of the platform's response, if there was one.
    ///
    /// ```
    /// use sailor::Platform;
    /// use serde_json::Value;
    ///
    /// /// Returns an account, or `None` if it does not exist.
    /// async fn account(platform: &Platform, id: &str) -> anyhow::Result<Option<Value>> {
    ///     match platform.account(id).await {
    ///         Ok(account) => Ok(Some(account)),
    ///         Err(error) if error.status().is_some_and(|status| status == 404) => Ok(None),
    ///         Err(error) => Err(error.into()),
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        self.cause.status()
    }

    /// Returns true if a retry can succeed.
    pub(crate) fn is_transient(&self) -> bool {
        self.cause.is_transient()
    }

    /// Returns the error without the body of the response, for the log: a server may repeat the request.
    pub(crate) fn without_contents(&self) -> String {
        let operation = self
            .operation
            .as_deref()
            .unwrap_or("a call of the platform");
        format!("{operation} failed: {}", self.cause.without_contents())
    }
}

/// Names the operation that has failed.
pub(super) fn platform_error(
    operation: impl FnOnce() -> String,
) -> impl FnOnce(HttpError) -> PlatformError {
    |cause| PlatformError {
        operation: Some(operation()),
        cause,
    }
}
