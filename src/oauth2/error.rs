//! The errors of requests to an API with OAuth2. They contain no token, and nothing that a token endpoint sent.

use crate::{
    clients::http::ShownBody,
    codes::{self, Code},
};
use reqwest::StatusCode;
use std::time::Duration;

/// Why a request has no usable response.
///
/// ```
/// use sailor::oauth2::{AuthorizedClient, Error};
/// use serde_json::Value;
///
/// /// The item, or `None` if the API does not have it.
/// async fn item(client: &AuthorizedClient, id: u64) -> Result<Option<Value>, Error> {
///     match client.get(format!("/items/{id}")).send_json().await {
///         Ok(item) => Ok(Some(item)),
///         Err(error) if error.status().is_some_and(|status| status == 404) => Ok(None),
///         Err(error) => Err(error),
///     }
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The component, its environment or the credential's fields are configured incorrectly; the operator must act.
    #[error("OAuth2 is not configured: {0}")]
    Config(String),
    /// No access token is available until the user connects the account again.
    #[error("connect the account again on the platform: {0}")]
    ReauthRequired(String),
    /// No access token is available at the moment. A later attempt may succeed.
    #[error("no access token is available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to try again, if the provider specifies it.
        retry_after: Option<Duration>,
    },
    /// The API rejects every token, including new ones. Another token would not help.
    #[error("the API rejects new access tokens: {0}")]
    TokenRejected(String),
    /// The request was not sent.
    #[error("the request was not sent: {0}")]
    NotSent(String),
    /// The API refused the token, and the token has been refreshed since. But the body is a stream that can be read only
    /// once, so the request was not sent again. A later attempt has the new token.
    #[error(
        "{request} returned {status}, and was not sent again with the refreshed token: its body is a stream that can be read \
        only once (`reopen` provides one that can be sent again){}",
        ShownBody(body)
    )]
    NotResent {
        /// Method and path.
        request: String,
        /// The status of the response that refused the token.
        status: StatusCode,
        /// The start of that response's body.
        body: String,
    },
    /// The token is valid but lacks a scope (RFC 6750 section 3.1).
    #[error("{request} needs a scope that the credential lacks{}: connect the account again with that scope",
        scope.as_ref().map(|scope| format!(" ({scope})")).unwrap_or_default())]
    InsufficientScope {
        /// Method and path.
        request: String,
        /// The scopes that the API names.
        scope: Option<String>,
    },
    /// The API returned an error status.
    #[error("{request} returned {status}{}", ShownBody(body))]
    Status {
        /// Method and path.
        request: String,
        /// The status.
        status: StatusCode,
        /// The first 64 KiB of the response's body; for a redirect, its target. The message shows the first 2 KiB of it.
        body: String,
        /// When to try again, if the API specifies it.
        retry_after: Option<Duration>,
        /// Whether the request can be sent again without harm: it changes nothing, or the API did not process it.
        repeatable: bool,
        /// Whether the API asks for fewer requests: with 429, a 403 with `Retry-After`, or as the profile says.
        busy: bool,
    },
    /// No response arrived.
    #[error("{request} failed without a response: {reason}")]
    NoResponse {
        /// Method and path.
        request: String,
        /// What happened.
        reason: String,
        /// Whether the request can be sent again without harm: it was not sent, or it changes nothing.
        repeatable: bool,
    },
}

impl Error {
    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// Returns true if a later attempt of the same request can succeed and is harmless. A message whose module fails
    /// with such an error is delivered again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } | Self::NotResent { .. } => true,
            Self::Status {
                status,
                repeatable,
                busy,
                ..
            } => *repeatable && (status.is_server_error() || *busy),
            Self::NoResponse { repeatable, .. } => *repeatable,
            _ => false,
        }
    }

    /// Returns the code of this error, for log lines and error events.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Config(_) => codes::OAUTH2_MISCONFIGURED,
            Self::ReauthRequired(_) => codes::REAUTH_REQUIRED,
            Self::Unavailable { .. } => codes::TOKEN_UNAVAILABLE,
            Self::TokenRejected(_) => codes::TOKEN_REJECTED,
            Self::NotSent(_) => codes::API_REQUEST_NOT_SENT,
            Self::NotResent { .. } => codes::API_REQUEST_NOT_RESENT,
            Self::InsufficientScope { .. } => codes::SCOPE_MISSING,
            Self::Status { .. } => codes::API_REFUSED,
            Self::NoResponse { .. } => codes::API_NO_RESPONSE,
        }
    }

    /// Returns this error of a refresh with what the API said before it. `body` is the start of the API's response, without
    /// tokens.
    pub(super) fn after(mut self, request: &str, status: StatusCode, body: &str) -> Self {
        if let Self::Config(reason)
        | Self::ReauthRequired(reason)
        | Self::Unavailable { reason, .. } = &mut self
        {
            let body = ShownBody(body.trim());
            *reason = format!("{reason}. Before that, {request} returned {status}{body}");
        }
        self
    }

    /// Returns the status of the API's final response, if [`Status`](Self::Status) is the error.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
