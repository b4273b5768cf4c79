//! What a double responds, as the test says.

use crate::{call::RecordedCall, error::response, rules::pattern};
use axum::response::Response;
use bytes::Bytes;
use regex_lite::Regex;
use serde_json::Value;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A response that a test has prepared.
#[derive(Clone, Debug)]
pub struct PreparedResponse {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Bytes,
}

impl PreparedResponse {
    /// This status without a body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// Status 200 with this body.
    #[must_use]
    pub fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200).body(body)
    }

    /// This status with this JSON.
    #[must_use]
    pub fn json(status: u16, body: &Value) -> Self {
        Self::status(status).body(body.to_string())
    }

    /// This status with this address in `Location`.
    #[must_use]
    pub fn redirect(status: u16, to: &str) -> Self {
        Self::status(status).header("location", to)
    }

    /// The same with one more header, whose value may have any bytes. Without `content-type` it is `application/json`.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref().to_owned();
        self.headers.push((name.to_owned(), value));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }
}

/// The responses to calls, by patterns: regular expressions on [`RecordedCall::line`]. Of several that match, the first one
/// counts.
#[derive(Debug, Default)]
pub struct Scripts(Mutex<Vec<Script>>);

#[derive(Debug)]
struct Script {
    pattern: Regex,
    responder: Responder,
}

type Handler = Arc<dyn Fn(&RecordedCall) -> PreparedResponse + Send + Sync>;

enum Responder {
    /// One for each call. The last one is never used up.
    Prepared(VecDeque<PreparedResponse>),
    Handler(Handler),
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepared(responses) => responses.fmt(f),
            Self::Handler(_) => f.write_str("Handler"),
        }
    }
}

impl Scripts {
    /// Responds to calls that match with one response for each, and with the last one to all further calls.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn respond(&self, pattern: &str, responses: impl IntoIterator<Item = PreparedResponse>) {
        self.add(
            pattern,
            Responder::Prepared(responses.into_iter().collect()),
        );
    }

    /// Responds to calls that match with what `handler` returns.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn handle(
        &self,
        pattern: &str,
        handler: impl Fn(&RecordedCall) -> PreparedResponse + Send + Sync + 'static,
    ) {
        self.add(pattern, Responder::Handler(Arc::new(handler)));
    }

    /// The response to a call; none when no pattern matches.
    pub fn response(&self, call: &RecordedCall) -> Option<Response> {
        let line = call.line();
        let handler = {
            let mut scripts = self.lock();
            let script = scripts.iter_mut().find(|s| s.pattern.is_match(&line))?;
            match &mut script.responder {
                Responder::Prepared(responses) => return next(responses).map(into_response),
                Responder::Handler(handler) => handler.clone(),
            }
        };
        // Without the lock: a handler may add scripts.
        Some(into_response(handler(call)))
    }

    fn add(&self, pattern: &str, responder: Responder) {
        let pattern = self::pattern(pattern);
        self.lock().push(Script { pattern, responder });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Script>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next(responses: &mut VecDeque<PreparedResponse>) -> Option<PreparedResponse> {
    if responses.len() > 1 {
        responses.pop_front()
    } else {
        responses.front().cloned()
    }
}

fn into_response(prepared: PreparedResponse) -> Response {
    response(prepared.status, &prepared.headers, prepared.body)
}
