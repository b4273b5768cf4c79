//! HTTP as the runtime's own clients use it: everything has a time limit, and what fails for a moment is tried again.
//!
//! Errors name method and address without user-info and query, and never request contents.

use crate::{
    clients::tls,
    protocol::{EnvelopeError, Json, MAX_LOGGED_ID, Object, truncated},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    Client, ClientBuilder, RequestBuilder, Response, StatusCode, Url,
    header::{HeaderMap, RETRY_AFTER},
    redirect::{Action, Attempt, Policy},
};
use serde::de::DeserializeOwned;
use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

mod retry;

pub(crate) use retry::{RequestPolicy, retry};

/// How much of a refusal's text is kept.
const REFUSAL_LIMIT: usize = 2048;
/// The longest that a server may ask us to wait.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(60);
/// What may stand in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The client that follows redirects: one per process, cloned to whoever needs it.
pub(crate) fn client() -> Result<Client, HttpError> {
    build(Policy::custom(|attempt| {
        if may_carry_secrets_away(&attempt) {
            attempt.stop()
        } else {
            follow(attempt)
        }
    }))
}

fn follow(attempt: Attempt) -> Action {
    Policy::limited(10).redirect(attempt)
}

/// The client below takes `Authorization` and the like off where a hop leads to another origin than the one before it, and
/// puts them on again for each hop. So the second hop within a foreign origin would have them. (What leads back to the
/// first origin may have them.) The redirect itself is the answer then.
fn may_carry_secrets_away(attempt: &Attempt) -> bool {
    let (first, last) = (attempt.previous().first(), attempt.previous().last());
    let next = attempt.url().origin();
    first.is_some_and(|first| first.origin() != next)
        && last.is_some_and(|last| last.origin() == next)
}

/// The client for object storage, whose tokens are for one address only.
pub(crate) fn client_without_redirects() -> Result<Client, HttpError> {
    build(Policy::none())
}

/// The client for what is sent as a stream, which may take as long as its source does: each request needs a limit.
pub(crate) fn client_for_streams() -> Result<Client, HttpError> {
    finish(builder(Policy::none()))
}

fn build(redirects: Policy) -> Result<Client, HttpError> {
    // From the first byte that is sent on.
    finish(builder(redirects).read_timeout(Duration::from_secs(60)))
}

/// A client for requests that are never sent.
pub(crate) fn idle_client() -> Client {
    tls::choose_cryptography();
    Client::new()
}

fn builder(redirects: Policy) -> ClientBuilder {
    tls::choose_cryptography();
    Client::builder()
        .user_agent(concat!("elasticio-sailor-rs/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        .pool_idle_timeout(Duration::from_secs(60))
        // Where a redirect comes from is nobody's business: an address can hold secrets.
        .referer(false)
        .redirect(redirects)
}

fn finish(builder: ClientBuilder) -> Result<Client, HttpError> {
    builder.build().map_err(|e| HttpError::NoResponse {
        cause: format!(
            "no HTTP client can be made (are the system's CA certificates installed?): {}",
            chain(&e)
        ),
        passing: false,
    })
}

/// How much of an answer is read, after decompression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeLimit {
    pub(crate) bytes: usize,
    /// The variable that raises it, where there is one.
    pub(crate) variable: Option<&'static str>,
}

impl SizeLimit {
    /// For answers that only tell a state.
    pub(crate) const STATUS: Self = Self {
        bytes: 1 << 20,
        variable: None,
    };
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        match self.variable {
            Some(variable) => write!(
                f,
                " (raise {variable} where the container has the memory for it)"
            ),
            None => Ok(()),
        }
    }
}

/// A 2xx answer, read to its end.
pub(crate) struct ResponseBody {
    pub(crate) body: Bytes,
}

impl ResponseBody {
    /// Reads the body as JSON. The error tells where it does not fit, and nothing of the contents.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        json(self.body.clone()).map_err(|place| HttpError::NoResponse {
            cause: format!("the answer is not the JSON that was expected, {place}"),
            passing: false,
        })
    }
}

/// Reads JSON as JavaScript does. The error tells where it does not fit, and nothing of the contents.
pub(crate) fn json<T: DeserializeOwned>(text: Bytes) -> Result<T, String> {
    match Json::checked(text) {
        Ok(json) => json
            .parse()
            .map_err(|e| format!("line {}, column {}", e.inner().line(), e.inner().column())),
        Err(EnvelopeError::NotJson { line, column }) => {
            Err(format!("line {line}, column {column}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Why there is no 2xx answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// Nothing that could be used came back.
    #[error("{cause}")]
    NoResponse { cause: String, passing: bool },
    /// The answer is longer than what is read of it.
    #[error("the answer is larger than the limit of {0}")]
    TooLarge(SizeLimit),
    /// The server refused. What it said is the message, since it is the server that knows why.
    #[error("{}", if body.is_empty() { status.to_string() } else { body.clone() })]
    Status {
        status: StatusCode,
        body: String,
        retry_after: Option<Duration>,
        address: String,
    },
}

impl HttpError {
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::NoResponse { .. } | Self::TooLarge(_) => None,
            Self::Status { status, .. } => Some(*status),
        }
    }

    /// Worth another try.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::NoResponse { passing, .. } => *passing,
            Self::TooLarge(_) => false,
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

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoResponse { .. } | Self::TooLarge(_) => None,
            Self::Status { retry_after, .. } => *retry_after,
        }
    }

    /// For the log, where nothing of what a server says may stand.
    pub(crate) fn without_contents(&self) -> String {
        match self {
            Self::NoResponse { cause, .. } => cause.clone(),
            Self::TooLarge(_) => self.to_string(),
            Self::Status {
                status, address, ..
            } => format!("{status} from {address}"),
        }
    }

    fn of(error: reqwest::Error) -> Self {
        let address = error
            .url()
            .map(|url| format!(" from {}", shown(url)))
            .unwrap_or_default();
        let passing = !error.is_builder() && !error.is_redirect();
        let error = error.without_url();
        let reason = if error.is_timeout() {
            "out of time".to_owned()
        } else {
            chain(&error)
        };
        Self::NoResponse {
            cause: format!("no answer{address}: {reason}"),
            passing,
        }
    }
}

/// Sends what `make` makes until there is a 2xx answer, read to its end, or no try is left.
pub(crate) async fn send_with_retry(
    policy: &RequestPolicy,
    limit: SizeLimit,
    make: impl Fn() -> RequestBuilder,
) -> Result<ResponseBody, HttpError> {
    retry(policy, || {
        let request = make().timeout(policy.timeout);
        async { read(send(request).await?, limit).await }
    })
    .await
}

/// Sends what `make` makes until there is a 2xx answer, or no try is left. The status says all: whatever else the answer
/// holds, and however much of it, what was sent has been taken.
pub(crate) async fn deliver_with_retry(
    policy: &RequestPolicy,
    make: impl Fn() -> RequestBuilder,
) -> Result<(), HttpError> {
    retry(policy, || {
        let request = make().timeout(policy.timeout);
        async {
            let response = send(request).await?;
            // A connection is used again once its answer is read; that is worth a moment.
            let _ = tokio::time::timeout(Duration::from_secs(1), read(response, SizeLimit::STATUS))
                .await;
            Ok(())
        }
    })
    .await
}

/// Sends one request; any answer but a 2xx is an error.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    let response = request.send().await.map_err(HttpError::of)?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(refusal(response).await)
    }
}

/// What is not done in this time is out of it.
pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    let late = |_| {
        Err(HttpError::NoResponse {
            cause: "no answer: out of time".to_owned(),
            passing: true,
        })
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(late)
}

/// Sends one request with a client that does not follow redirects; they are answers as well.
pub(crate) async fn send_redirectable(request: RequestBuilder) -> Result<Response, HttpError> {
    let response = request.send().await.map_err(HttpError::of)?;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        Ok(response)
    } else {
        Err(refusal(response).await)
    }
}

/// Reads an answer to its end, or up to the limit: what is larger is not read on.
pub(crate) async fn read(
    mut response: Response,
    limit: SizeLimit,
) -> Result<ResponseBody, HttpError> {
    let announced = response
        .content_length()
        .map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > limit.bytes) {
        return Err(HttpError::TooLarge(limit));
    }
    let mut body = Vec::with_capacity(announced.unwrap_or_default());
    while let Some(chunk) = response.chunk().await.map_err(HttpError::of)? {
        if chunk.len() > limit.bytes - body.len() {
            return Err(HttpError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(ResponseBody { body: body.into() })
}

/// An id as a segment of a path.
pub(crate) fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

async fn refusal(mut response: Response) -> HttpError {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    let address = shown(response.url());
    let mut body = Vec::new();
    // A refusal is one whether or not its text can be read.
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > REFUSAL_LIMIT {
            body.truncate(REFUSAL_LIMIT);
            break;
        }
    }
    HttpError::Status {
        status,
        body: compact(body),
        retry_after,
        address,
    }
}

/// An error body as one line: JSON without the white space between its members, as the platform's other sailors show
/// it.
fn compact(body: Vec<u8>) -> String {
    let text = match Object::read(body.clone().into()) {
        Ok(object) => object.to_vec(),
        Err(_) => body,
    };
    String::from_utf8_lossy(&text).into_owned()
}

/// The first `limit` bytes of an answer's body, or all where there are fewer, and the answer as if nobody had looked.
pub(crate) async fn peek(mut response: Response, limit: usize) -> (Response, String) {
    let mut head = ::http::Response::new(());
    *head.status_mut() = response.status();
    *head.version_mut() = response.version();
    *head.headers_mut() = std::mem::take(response.headers_mut());
    let (mut read, mut length) = (Vec::new(), 0);
    while length < limit {
        let chunk = response.chunk().await;
        let end = !matches!(chunk, Ok(Some(_)));
        if let Some(chunk) = chunk.transpose() {
            length += chunk.as_ref().map_or(0, Bytes::len);
            read.push(chunk);
        }
        if end {
            break;
        }
    }
    let start = read
        .iter()
        .flatten()
        .flat_map(|chunk| chunk.iter().copied())
        .take(limit)
        .collect::<Vec<_>>();
    let body = stream::iter(read).chain(response.bytes_stream());
    let response = head.map(|()| reqwest::Body::wrap_stream(body)).into();
    (response, String::from_utf8_lossy(&start).into_owned())
}

/// `Retry-After`: seconds or a date, at most a minute.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text)
            .ok()?
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_LIMIT))
}

/// An address as it may be shown: user-info and query can hold secrets, and a path an id of any length.
pub(crate) fn shown(url: &Url) -> String {
    format!(
        "{}{}",
        url.origin().ascii_serialization(),
        truncated(url.path(), MAX_LOGGED_ID)
    )
}

/// An error and its causes in one line.
fn chain(error: &reqwest::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.fold(error.to_string(), |line, cause| format!("{line}: {cause}"))
}

#[cfg(test)]
mod tests;
