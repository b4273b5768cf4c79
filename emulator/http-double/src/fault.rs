//! What goes wrong with one call, and how.

use crate::error::{ErrorFormat, json_response, response};
use axum::{
    body::{Body, to_bytes},
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use std::{future::pending, io, ops::ControlFlow, time::Duration};
use tokio::time::{Instant, sleep_until};

/// What happens to one call. A fault with `After` in its name carries the call out first; the others change nothing at
/// the service.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Nothing goes wrong: this keeps the place of a call in a sequence.
    Normal,
    /// Responds with this status, and an error body of the service's own that says it was injected.
    Status(u16),
    /// Responds with the service's error body of this status, code and message.
    Error(u16, &'static str, &'static str),
    /// Responds with 429, and `Retry-After` of this many seconds.
    Throttled(u32),
    /// Refuses the access token, even a valid one.
    Unauthorized,
    /// Responds with this status and JSON.
    Json(u16, Value),
    /// Responds with exactly this.
    Response {
        /// The status.
        status: u16,
        /// Headers such as `retry-after`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Responds with 307 and this address.
    Redirect(String),
    /// Never responds; the connection stays open until the server stops.
    Hang,
    /// Cuts the connection before anything is done.
    DropBefore,
    /// Carries the call out after this time.
    DelayBefore(Duration),
    /// Carries the call out, and cuts the connection instead of responding.
    DropAfter,
    /// Carries the call out, and cuts the connection in the middle of the response's body.
    DropMidBody,
    /// Carries the call out immediately, and responds after this time.
    DelayAfter(Duration),
    /// Carries the call out, but responds with this status and JSON.
    JsonAfter(u16, Value),
}

impl Fault {
    /// A status with a `Retry-After` header: seconds, or an HTTP date.
    #[must_use]
    pub fn retry_after(status: u16, when: &str) -> Self {
        Self::Response {
            status,
            headers: vec![("retry-after".to_owned(), when.to_owned())],
            body: "{}".into(),
        }
    }

    /// An OAuth2 error (RFC 6749 §5.2) with status 400.
    #[must_use]
    pub fn oauth_error(code: &str) -> Self {
        Self::Json(400, json!({"error": code}))
    }

    /// What happens before the call is carried out: `Break` ends the call with a response, or without one when the
    /// connection is to be cut. Delays count from `arrival`.
    pub async fn before<E: ErrorFormat>(&self, arrival: Instant) -> ControlFlow<Option<Response>> {
        let response = match self {
            Self::Hang => pending().await,
            Self::DropBefore => None,
            Self::Status(status) => {
                let text = format!("status {status} was injected for this call");
                Some(E::error(*status, "injected_fault", &text))
            }
            Self::Error(status, code, message) => Some(E::error(*status, code, message)),
            Self::Throttled(seconds) => Some(with_retry_after(E::throttled(), *seconds)),
            Self::Unauthorized => Some(E::unauthorized()),
            Self::Json(status, body) => Some(json_response(*status, body)),
            Self::Response {
                status,
                headers,
                body,
            } => Some(response(*status, headers, body.clone())),
            Self::Redirect(to) => {
                let location = ("location".to_owned(), to.clone());
                Some(response(307, &[location], String::new()))
            }
            Self::DelayBefore(time) => {
                sleep_until(arrival + *time).await;
                return ControlFlow::Continue(());
            }
            Self::Normal
            | Self::DropAfter
            | Self::DropMidBody
            | Self::DelayAfter(_)
            | Self::JsonAfter(..) => return ControlFlow::Continue(()),
        };
        ControlFlow::Break(response)
    }

    /// What happens after the call was carried out at `done`: the response, or none when the connection is to be cut.
    pub async fn after(self, done: Instant, response: Response) -> Option<Response> {
        match self {
            Self::DropAfter => None,
            Self::DropMidBody => Some(half_of(response).await),
            Self::JsonAfter(status, body) => Some(json_response(status, &body)),
            Self::DelayAfter(time) => {
                sleep_until(done + time).await;
                Some(response)
            }
            _ => Some(response),
        }
    }

    /// Carries out a call with this fault: the response, or none when the connection is to be cut.
    pub async fn apply<E: ErrorFormat>(
        self,
        carry_out: impl AsyncFnOnce() -> Response,
    ) -> Option<Response> {
        match self.before::<E>(Instant::now()).await {
            ControlFlow::Break(response) => response,
            ControlFlow::Continue(()) => {
                let response = carry_out().await;
                self.after(Instant::now(), response).await
            }
        }
    }
}

pub(crate) fn with_retry_after(mut response: Response, seconds: u32) -> Response {
    response
        .headers_mut()
        .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The response with half its body, after which the connection ends.
async fn half_of(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    let half: [io::Result<Bytes>; 2] = [
        Ok(body.slice(..body.len() / 2)),
        Err(io::ErrorKind::ConnectionReset.into()),
    ];
    Response::from_parts(parts, Body::from_stream(stream::iter(half)))
}
