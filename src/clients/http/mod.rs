//! HTTP requests of the runtime. Each has a time limit, a limit on the size of its response, and retries for transient
//! errors. This folder is independent of any particular API.

use crate::{
    formats::time::parse_time,
    protocol::{EnvelopeError, Json},
};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{
    RequestBuilder, Response,
    header::{CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use std::{
    fmt,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, timeout};

mod address;
mod challenge;
mod client;
mod error;
mod error_body;
mod form;
mod header_text;
mod lenient_json;
mod moving;
mod pace;
mod peek;
mod redact;
mod redirect;
mod repeatable;
mod resend;
mod response_rule;
mod retry;
mod retry_budget;
mod spans;
#[cfg(test)]
mod tests;

pub(crate) use address::{follow_base, is_below, join_path, request_label};
pub(crate) use challenge::challenges;
pub(crate) use client::{
    TestClients, TestProxy, client, client_without_redirects, idle_client, load_certificates_for,
    streaming_client,
};
pub(crate) use error::{HttpError, reason, redacted_url};
pub(crate) use error_body::{ErrorBody, ShownBody, error_message, is_code};
pub(crate) use form::{basic_auth, form_encoded, sensitive, with_query};
pub(crate) use header_text::{header_name, headers};
pub(crate) use lenient_json::{begins_as_object, lenient_members};
pub(crate) use moving::{NoResponse, execute};
pub(crate) use peek::{detached, peek_error};
pub(crate) use redact::without_tokens;
pub(crate) use redirect::{Trail, is_redirect, redirect_target};
pub(crate) use repeatable::{BodyFactory, PLACEHOLDER_URL, Repeatable, form_factory};
pub(crate) use resend::{Resends, can_repeat};
pub(crate) use response_rule::{ResponseRule, contains_ignoring_case};
pub(crate) use retry::{RequestPolicy, retry};
pub(crate) use retry_budget::RetryBudget;
pub(crate) use spans::send as send_traced;

/// The longest delay that a server can request.
const RETRY_AFTER_LIMIT: Duration = Duration::from_secs(60);
/// How long to read a response whose content is not needed. A connection can be reused only after that.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// The characters that are not escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The largest response that is read, after decompression.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SizeLimit {
    pub(crate) bytes: usize,
    /// The variable that sets the limit, if there is one. Errors name it.
    pub(crate) variable: Option<&'static str>,
}

impl SizeLimit {
    /// The limit of responses that only report a status.
    pub(crate) const STATUS: Self = Self {
        bytes: 1 << 20,
        variable: None,
    };
}

impl fmt::Display for SizeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.bytes)?;
        match self.variable {
            Some(variable) => write!(f, " (raise {variable} if the container has enough memory)"),
            None => Ok(()),
        }
    }
}

/// The body of a 2xx response.
pub(crate) struct ResponseBody {
    pub(crate) body: Bytes,
}

impl ResponseBody {
    /// Parses the body as JSON. The error names the place, and contains nothing of the body.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, HttpError> {
        json(self.body.clone()).map_err(|place| HttpError::NoResponse {
            reason: format!("the response is not the expected JSON: {place}"),
            is_transient: false,
        })
    }
}

/// Parses JSON as JavaScript does. The error names the place, and contains nothing of the text.
pub(crate) fn json<T: DeserializeOwned>(text: Bytes) -> Result<T, String> {
    match Json::from_text(text) {
        Ok(json) => json
            .parse()
            .map_err(|e| format!("line {}, column {}", e.inner().line(), e.inner().column())),
        Err(EnvelopeError::NotJson { line, column }) => {
            Err(format!("line {line}, column {column}"))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Sends the request that `build_request` builds, with retries, until a 2xx response has been read.
pub(crate) async fn send_with_retry(
    policy: &RequestPolicy,
    limit: SizeLimit,
    build_request: impl Fn() -> RequestBuilder,
) -> Result<ResponseBody, HttpError> {
    retry(policy, || {
        let request = build_request().timeout(policy.timeout);
        async {
            let reading = async { read(send(request).await?, limit).await };
            reading
                .await
                .map_err(|error| error.with_limit(policy.timeout))
        }
    })
    .await
}

/// Sends the request that `build_request` builds, with retries, until the response has a 2xx status. The body of the
/// response is ignored.
pub(crate) async fn send_ignoring_body(
    policy: &RequestPolicy,
    build_request: impl Fn() -> RequestBuilder,
) -> Result<(), HttpError> {
    retry(policy, || {
        let request = build_request().timeout(policy.timeout);
        async {
            let sent = send(request).await;
            let response = sent.map_err(|error| error.with_limit(policy.timeout))?;
            let url = redacted_url(response.url());
            let rest = read(response, SizeLimit::STATUS);
            if timeout(DRAIN_TIMEOUT, rest).await.is_err() {
                tracing::info!(
                    seconds = DRAIN_TIMEOUT.as_secs(),
                    url,
                    "The rest of a response that is not needed did not come in time. Its connection is closed."
                );
            }
            Ok(())
        }
    })
    .await
}

/// Sends one request. Any status but 2xx is an error.
pub(crate) async fn send(request: RequestBuilder) -> Result<Response, HttpError> {
    let response = spans::send(request)
        .await
        .map_err(HttpError::from_reqwest)?;
    if response.status().is_success() {
        Ok(response)
    } else {
        Err(HttpError::from_response(response).await)
    }
}

/// Sends one request, and returns the server's time beside the response, if it tells it. Any status but 2xx is an error.
pub(crate) async fn send_dated(
    request: RequestBuilder,
) -> (Option<SystemTime>, Result<Response, HttpError>) {
    let response = match spans::send(request).await {
        Ok(response) => response,
        Err(error) => return (None, Err(HttpError::from_reqwest(error))),
    };
    let date = response.headers().get(DATE);
    let date = date.and_then(|date| parse_time(date.to_str().ok()?));
    let response = if response.status().is_success() {
        Ok(response)
    } else {
        Err(HttpError::from_response(response).await)
    };
    (date.map(SystemTime::from), response)
}

/// Sends one request with a client that does not follow redirects, and returns a redirect as a response.
pub(crate) async fn send_without_redirects(request: RequestBuilder) -> Result<Response, HttpError> {
    let response = spans::send(request)
        .await
        .map_err(HttpError::from_reqwest)?;
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        Ok(response)
    } else {
        Err(HttpError::from_response(response).await)
    }
}

/// Sends a request and reads its body within `limit`. The time of `between` does not count: it gets the response, and its
/// result is returned with the body.
pub(crate) async fn send_and_read<T>(
    request: RequestBuilder,
    limit: Duration,
    size: SizeLimit,
    between: impl AsyncFnOnce(&Response) -> T,
) -> Result<(ResponseBody, T), HttpError> {
    let started = Instant::now();
    let (client, request) = request.build_split();
    let request = request.map_err(HttpError::from_reqwest)?;
    let url = request.url().clone();
    let late = |_| HttpError::timed_out(limit, &url);
    let sending = send(RequestBuilder::from_parts(client, request));
    let response = timeout(limit, sending).await.map_err(late)??;
    let left = limit.saturating_sub(started.elapsed());
    let between = between(&response).await;
    let body = timeout(left, read(response, size)).await.map_err(late)??;
    Ok((body, between))
}

/// Reads the body of a response. Stops reading at the limit.
pub(crate) async fn read(response: Response, limit: SizeLimit) -> Result<ResponseBody, HttpError> {
    read_within(response, limit, |_| true).await
}

/// Reads the body of a response, and asks `admit` before it takes memory, with the size in bytes that the body has at least.
/// Stops reading at the limit, and when `admit` refuses.
pub(crate) async fn read_within(
    mut response: Response,
    limit: SizeLimit,
    admit: impl Fn(usize) -> bool,
) -> Result<ResponseBody, HttpError> {
    let announced = response
        .content_length()
        .map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > limit.bytes {
        return Err(HttpError::TooLarge(limit));
    }
    let admitted = |size: usize| {
        if admit(size) {
            Ok(size)
        } else {
            Err(HttpError::NoMemory(size))
        }
    };
    let mut body = Vec::with_capacity(admitted(announced)?);
    while let Some(chunk) = response.chunk().await.map_err(HttpError::from_reqwest)? {
        let size = body.len() + chunk.len();
        if size > limit.bytes {
            return Err(HttpError::TooLarge(limit));
        }
        if size > body.capacity() {
            let grown = size.max(2 * body.capacity()).min(limit.bytes);
            body.reserve_exact(admitted(grown)? - body.len());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(ResponseBody { body: body.into() })
}

/// Why the rest of a body is missing.
pub(crate) enum CutOff {
    /// The connection was lost.
    Ended,
    /// The time of the request is over.
    TimedOut,
    /// The body is longer than the limit.
    TooLong,
}

/// Reads a body into `body`, up to the first part that exceeds the limit. Even if the rest is missing, what arrived is there.
pub(crate) async fn read_into(
    body: &mut Vec<u8>,
    mut response: Response,
    limit: usize,
) -> Result<(), CutOff> {
    let cut_off = |error: reqwest::Error| {
        if error.is_timeout() {
            CutOff::TimedOut
        } else {
            CutOff::Ended
        }
    };
    while let Some(chunk) = response.chunk().await.map_err(cut_off)? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Err(CutOff::TooLong);
        }
    }
    Ok(())
}

/// Returns whether a server asks for fewer requests: with 429, or with a 403 and `Retry-After`.
pub(crate) fn asks_for_fewer_requests(status: u16, headers: &HeaderMap) -> bool {
    status == 429 || (status == 403 && headers.contains_key(RETRY_AFTER))
}

/// Returns the media type of a response, with its parameters.
pub(crate) fn content_type(response: &Response) -> Option<String> {
    let value = response.headers().get(CONTENT_TYPE)?;
    Some(value.to_str().ok()?.to_owned())
}

/// Escapes an id for use as a path segment.
pub(crate) fn segment(id: &str) -> String {
    utf8_percent_encode(id, SEGMENT).to_string()
}

/// Reads the delay that a server requests with `Retry-After`, in seconds or as a date. It is at most 60 seconds.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let delay = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        // A date of HTTP has a time of day.
        Err(_) => SystemTime::from(parse_time(text).filter(|_| text.contains(':'))?)
            .duration_since(SystemTime::now())
            .unwrap_or_default(),
    };
    Some(delay.min(RETRY_AFTER_LIMIT))
}
