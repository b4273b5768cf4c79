//! The errors of HTTP requests. They name the URL without user info and query, and never the content of a request.

use super::{SizeLimit, client};
use crate::{
    clients::tls::{self, Peer},
    protocol::{MAX_LOGGED_ID, Object, truncated},
};
use reqwest::{Response, StatusCode, Url};
use std::{error::Error, io, time::Duration};

/// How many bytes of an error response are kept.
pub(super) const ERROR_BODY_LIMIT: usize = 2048;

/// A request without a usable 2xx response.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// There is no response, or its body is not as expected.
    #[error("{reason}")]
    NoResponse { reason: String, is_transient: bool },
    /// The response, or its body, did not come in time.
    #[error("no response{from}: timed out after {} s", limit.as_secs_f32())]
    TimedOut { from: String, limit: Duration },
    /// The response is larger than the limit.
    #[error("the response is larger than the limit of {0}")]
    TooLarge(SizeLimit),
    /// There is no memory for a body of so many bytes at the moment.
    #[error("there is no memory for a response of {0} bytes at the moment")]
    NoMemory(usize),
    /// The server responded with an error status. Its body is the message, because the server knows what is wrong.
    #[error("{}", if body.is_empty() { status.to_string() } else { body.clone() })]
    Status {
        status: StatusCode,
        body: String,
        retry_after: Option<Duration>,
        url: String,
    },
}

impl HttpError {
    /// Creates the error of a request that took longer than `limit`.
    pub(super) fn timed_out(limit: Duration, url: &Url) -> Self {
        let from = format!(" from {}", redacted_url(url));
        Self::TimedOut { from, limit }
    }

    /// Tells which limit has struck, if one has.
    pub(crate) fn with_limit(self, limit: Duration) -> Self {
        match self {
            Self::TimedOut { from, .. } => Self::TimedOut { from, limit },
            error => error,
        }
    }

    /// Creates the error of a request. If it took too long, the limit is the client's; for another one, see
    /// [`Self::with_limit`].
    pub(super) fn from_reqwest(error: reqwest::Error) -> Self {
        let from = error
            .url()
            .map(|url| format!(" from {}", redacted_url(url)))
            .unwrap_or_default();
        let is_transient = !error.is_builder() && !error.is_redirect();
        let error = error.without_url();
        if error.is_timeout() && !error.is_connect() {
            let limit = client::READ_TIMEOUT;
            return Self::TimedOut { from, limit };
        }
        let reason = if error.is_timeout() {
            timeout_text(&error)
        } else if let Some(advice) = tls_advice(&error) {
            format!("no TLS connection: {advice}")
        } else {
            with_causes(&error)
        };
        Self::NoResponse {
            reason: format!("no response{from}: {reason}"),
            is_transient,
        }
    }

    /// Reads the error from a response with an error status.
    pub(super) async fn from_response(mut response: Response) -> Self {
        let status = response.status();
        let retry_after = super::retry_after(response.headers());
        let url = redacted_url(response.url());
        let mut body = Vec::new();
        // If the body cannot be read, the status is enough.
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() > ERROR_BODY_LIMIT {
                body.truncate(ERROR_BODY_LIMIT);
                break;
            }
        }
        Self::Status {
            status,
            body: in_one_line(body),
            retry_after,
            url,
        }
    }

    /// The status of the response, if there is one.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::NoResponse { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge(_)
            | Self::NoMemory(_) => None,
            Self::Status { status, .. } => Some(*status),
        }
    }

    /// Returns true if a retry can succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoResponse { is_transient, .. } => *is_transient,
            Self::TimedOut { .. } => true,
            Self::TooLarge(_) | Self::NoMemory(_) => false,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(
                        *status,
                        StatusCode::REQUEST_TIMEOUT
                            | StatusCode::TOO_EARLY
                            | StatusCode::TOO_MANY_REQUESTS
                    )
            }
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoResponse { .. }
            | Self::TimedOut { .. }
            | Self::TooLarge(_)
            | Self::NoMemory(_) => None,
            Self::Status { retry_after, .. } => *retry_after,
        }
    }

    /// Returns the error without the body of the response, for the log: a server may repeat the request.
    pub(crate) fn without_contents(&self) -> String {
        match self {
            Self::NoResponse { reason, .. } => reason.clone(),
            Self::TimedOut { .. } | Self::TooLarge(_) | Self::NoMemory(_) => self.to_string(),
            Self::Status { status, url, .. } => format!("{status} from {url}"),
        }
    }
}

/// Returns a URL without user info and query, which may contain secrets, and with a path of limited length.
pub(crate) fn redacted_url(url: &Url) -> String {
    format!(
        "{}{}",
        url.origin().ascii_serialization(),
        truncated(url.path(), MAX_LOGGED_ID)
    )
}

/// The server, in advice about TLS.
const PEER: Peer = Peer {
    name: "the server",
    address: "the URL",
    plain: "http://",
};

/// Returns what to do about a failed TLS connection, if the error is one.
fn tls_advice(error: &reqwest::Error) -> Option<String> {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let error = causes.find_map(|cause| cause.downcast_ref::<io::Error>().and_then(tls::inside))?;
    Some(format!("{error}; {}", tls::advice(error, PEER)))
}

fn timeout_text(error: &reqwest::Error) -> String {
    if error.is_connect() {
        let limit = client::CONNECT_TIMEOUT.as_secs();
        return format!("no connection within {limit} s, name lookup and TLS included");
    }
    "timed out".to_owned()
}

/// Returns the last cause of an error, which contains no URL.
pub(crate) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return timeout_text(error);
    }
    if let Some(advice) = tls_advice(error) {
        return advice;
    }
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes
        .map(ToString::to_string)
        .last()
        .unwrap_or_else(|| "the connection failed".into())
}

/// Returns an error and its causes in one line.
pub(super) fn with_causes(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

/// Removes the white space between the members of a JSON object, as the platform's other sailors do.
fn in_one_line(body: Vec<u8>) -> String {
    let text = match Object::read(body.clone().into()) {
        Ok(object) => object.to_vec(),
        Err(_) => body,
    };
    String::from_utf8_lossy(&text).into_owned()
}
