//! What can go wrong between a module and an API behind OAuth2. Nothing here holds a token or an answer of the token
//! endpoint.

use reqwest::StatusCode;
use std::time::Duration;

/// Why a request has no usable answer.
///
/// ```
/// use reqwest::StatusCode;
/// use sailor::{oauth2::Error, prelude::*};
/// use serde_json::Value;
///
/// async fn find(message: Message<u64>, cx: Context<Value, Value>) -> anyhow::Result<()> {
///     match cx.oauth().get(format!("/orders/{}", message.body)).send_json::<Value>().await {
///         Ok(order) => cx.data(&order).await,
///         Err(Error::Status { status: StatusCode::NOT_FOUND, .. }) => cx.data(&Value::Null).await,
///         Err(error) => Err(error.into()),
///     }
/// }
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The component, its environment or the credential's fields are set up wrongly: for its operator.
    #[error("OAuth2 is not set up: {0}")]
    Config(String),
    /// The user has to connect again: no token can be had without them.
    #[error("the credential has to be connected again on the platform: {0}")]
    ReauthRequired(String),
    /// No token can be had now; it may be possible later.
    #[error("no access token could be had: {reason}")]
    Unavailable {
        /// What stands in the way.
        reason: String,
        /// When to try again, where the provider says so.
        retry_after: Option<Duration>,
    },
    /// The API rejects every token there is, new ones too: another token would not mend it.
    #[error("the API rejects valid tokens: {0}")]
    TokenRejected(String),
    /// The request was not sent.
    #[error("the request was not sent: {0}")]
    NotSent(String),
    /// The token is valid, but not for this.
    #[error("{request} needs a scope that the credential does not have{}: connect it again with that scope",
        scope.as_ref().map(|scope| format!(" ({scope})")).unwrap_or_default())]
    InsufficientScope {
        /// Method and address.
        request: String,
        /// The scopes that the API names (RFC 6750 §3).
        scope: Option<String>,
    },
    /// The API gave an error status.
    #[error("{request} was answered {status}{}", if body.is_empty() { String::new() } else { format!(": {body}") })]
    Status {
        /// Method and address.
        request: String,
        /// The status.
        status: StatusCode,
        /// The start of the answer's body; of a redirect, where it leads.
        body: String,
        /// When to try again, where the API says so.
        retry_after: Option<Duration>,
        /// Sending it again later can do no harm: it changes nothing, or the API has not looked at it.
        repeatable: bool,
    },
    /// No answer came.
    #[error("{request} has no answer: {reason}")]
    NoResponse {
        /// Method and address.
        request: String,
        /// What happened.
        reason: String,
        /// Sending it again later can do no harm: nothing was sent, or it changes nothing.
        repeatable: bool,
    },
}

impl Error {
    /// True when the same request may work later and can be sent again without harm. A module that fails with such an
    /// error has its message come again later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. } => true,
            Self::Status {
                status, repeatable, ..
            } => {
                *repeatable
                    && (status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS)
            }
            Self::NoResponse { repeatable, .. } => *repeatable,
            _ => false,
        }
    }

    /// The API's status, where it answered.
    #[must_use]
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }
}
