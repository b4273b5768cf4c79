//! Sends a request that may take as long as its bodies move: it ends when nothing has moved for a minute.
//!
//! reqwest's own limit (`read_timeout`) counts from the start until the response begins. It would end each upload that takes
//! longer.

use super::{pace::paced_within, reason, spans};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use reqwest::{Body, Client, Request, Response};
use std::{
    error::Error,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How long a request may stand still: no part of its body is sent, and no part of its response arrives.
const STILL: Duration = Duration::from_secs(60);
/// A body in memory is sent in parts of this size, because only the end of a part shows that it moves.
const PART: usize = 64 * 1024;

/// Why a request has no response.
#[derive(Debug)]
pub(crate) struct NoResponse {
    pub(crate) reason: String,
    /// The server has received nothing of it.
    pub(crate) is_unsent: bool,
    /// The request cannot be built.
    pub(crate) is_invalid: bool,
}

impl From<&reqwest::Error> for NoResponse {
    fn from(error: &reqwest::Error) -> Self {
        Self {
            reason: reason(error),
            is_unsent: error.is_connect(),
            is_invalid: error.is_builder(),
        }
    }
}

impl NoResponse {
    /// Why a request with a time limit of its own has no response.
    fn within(limit: Duration, error: &reqwest::Error) -> Self {
        let mut failed = Self::from(error);
        if error.is_timeout() && !error.is_connect() {
            let seconds = limit.as_secs_f32();
            failed.reason = format!("timed out after {seconds} s, the `timeout` of the request");
        }
        failed
    }

    fn stood_still(limit: Duration) -> Self {
        Self {
            reason: format!(
                "timed out: for {} s, no part of the request was sent and no response began; `timeout` sets another limit",
                limit.as_secs_f32()
            ),
            is_unsent: false,
            is_invalid: false,
        }
    }
}

/// Sends a request, which was sent `resends` times before. If it has a time limit of its own, that is the only one. Otherwise it
/// may stand still for a minute at most, and its response is [paced](super::pace).
///
/// # Cancel safety
/// Dropping the future ends the request; the server may have received it.
pub(crate) async fn execute(
    client: &Client,
    request: Request,
    resends: u32,
) -> Result<Response, NoResponse> {
    execute_within(client, request, resends, STILL).await
}

async fn execute_within(
    client: &Client,
    mut request: Request,
    resends: u32,
    limit: Duration,
) -> Result<Response, NoResponse> {
    if let Some(own) = request.timeout().copied() {
        let sent = spans::execute(client, request, resends).await;
        return sent.map_err(|error| NoResponse::within(own, &error));
    }
    let moves = Moves::default();
    moves.watch(&mut request);
    tokio::select! {
        biased;
        response = spans::execute(client, request, resends) => match response {
            Ok(response) => Ok(paced_within(response, limit)),
            Err(error) => Err(NoResponse::from(&error)),
        },
        () = moves.stood_still(limit) => Err(NoResponse::stood_still(limit)),
    }
}

/// When a request moved last.
#[derive(Clone)]
struct Moves(Arc<Mutex<Instant>>);

impl Default for Moves {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl Moves {
    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn stood_still(&self, limit: Duration) {
        loop {
            let end = self.last() + limit;
            sleep_until(end).await;
            if self.last() + limit <= end {
                return;
            }
        }
    }

    /// Notes each part of the request's body. One that is sent at once stays as it is: reqwest can send it again.
    fn watch(&self, request: &mut Request) {
        let is_long = |body: &Body| body.as_bytes().is_none_or(|bytes| bytes.len() > PART);
        if let Some(body) = request.body_mut()
            && is_long(body)
        {
            let watched = Watched {
                body: std::mem::take(body),
                rest: Bytes::new(),
                moves: self.clone(),
            };
            *body = Body::wrap(watched);
        }
    }
}

/// A body that notes each part that the connection takes.
struct Watched {
    body: Body,
    /// What is left of the part that the body gave last.
    rest: Bytes,
    moves: Moves,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                ended => {
                    self.moves.note();
                    return Poll::Ready(ended.map(|frame| frame.map_err(Into::into)));
                }
            }
        }
        self.moves.note();
        let part = PART.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(part)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole.set_lower(hint.lower() + rest);
        whole
    }
}

#[cfg(test)]
mod tests;
