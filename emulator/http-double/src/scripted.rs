//! A double of no particular service, for tests of HTTP clients: it responds as the test says.

use crate::{
    call::read_call,
    calls::Calls,
    disconnect::Disconnect,
    error::{ErrorFormat, json_response, response},
    rules::pattern,
    server::{Listener, Server},
    trouble::{Trouble, Troublemaker},
};
use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use bytes::Bytes;
use regex_lite::Regex;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A response that a test has prepared.
#[derive(Clone, Debug)]
pub struct PreparedResponse {
    status: u16,
    headers: Vec<(String, String)>,
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

    /// The same with one more header. Without `content-type` it is `application/json`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with this body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self { body, ..self }
    }
}

/// A running double that responds as the test says, and with 404 to everything else. It stops when this is dropped.
///
/// ```
/// use http_double::{PreparedResponse, ScriptedDouble};
///
/// # async fn example() -> std::io::Result<()> {
/// let double = ScriptedDouble::start().await?;
/// double.respond("GET /items", [PreparedResponse::status(503), PreparedResponse::ok("[]")]);
/// // … the client that is tested calls `double.url()` …
/// assert_eq!(double.calls().all().len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ScriptedDouble {
    shared: Arc<Shared>,
    _server: Server,
}

#[derive(Debug)]
struct Shared {
    addr: SocketAddr,
    calls: Calls,
    trouble: Troublemaker,
    scripts: Mutex<Vec<Script>>,
}

/// The responses to calls that match. The last one is never used up.
#[derive(Debug)]
struct Script {
    pattern: Regex,
    responses: VecDeque<PreparedResponse>,
}

impl ScriptedDouble {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> io::Result<Self> {
        let listener = Listener::bind(0).await?;
        let shared = Arc::new(Shared {
            addr: listener.addr(),
            calls: Calls::new(listener.calls()),
            trouble: Troublemaker::default(),
            scripts: Mutex::default(),
        });
        let router = Router::new().fallback(respond).with_state(shared.clone());
        let server = listener.serve("ScriptedDouble", router);
        Ok(Self {
            shared,
            _server: server,
        })
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.shared.addr)
    }

    /// Responds to calls that match `pattern`, a regular expression on [`line`](crate::RecordedCall::line): with one response for each
    /// call, and with the last one to all further calls. Of several patterns that match, the first one counts.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn respond(&self, pattern: &str, responses: impl IntoIterator<Item = PreparedResponse>) {
        let script = Script {
            pattern: self::pattern(pattern),
            responses: responses.into_iter().collect(),
        };
        self.shared.scripts().push(script);
    }

    /// What goes wrong with its responses from now on. A fault of [`calls`](Self::calls) comes before it.
    ///
    /// # Panics
    /// When a pattern is not a regular expression.
    pub fn set_trouble(&self, trouble: Trouble) {
        self.shared.trouble.set(trouble);
    }

    /// Its calls so far, and the faults for those to come.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.shared.calls
    }
}

impl Shared {
    fn scripts(&self) -> MutexGuard<'_, Vec<Script>> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn response(&self, line: &str) -> Response {
        let mut scripts = self.scripts();
        let script = scripts
            .iter_mut()
            .find(|script| script.pattern.is_match(line));
        match script.and_then(Script::next) {
            Some(prepared) => response(prepared.status, &prepared.headers, prepared.body),
            None => Self::error(404, "not_scripted", "the test has no response to this call"),
        }
    }
}

impl Script {
    fn next(&mut self) -> Option<PreparedResponse> {
        if self.responses.len() > 1 {
            self.responses.pop_front()
        } else {
            self.responses.front().cloned()
        }
    }
}

impl ErrorFormat for Shared {
    fn error(status: u16, code: &str, message: &str) -> Response {
        json_response(status, &json!({ "error": code, "message": message }))
    }
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(disconnect): ConnectInfo<Disconnect>,
    request: Request,
) -> Response {
    let call = match read_call::<Shared>(request, "Bearer").await {
        Ok(call) => call,
        Err(response) => return response,
    };
    let carry_out = async || {
        let carry_out = || shared.response(&call.line());
        shared.trouble.respond::<Shared>(&call, carry_out)
    };
    let responding = shared.calls.respond::<Shared>(call.clone(), carry_out);
    let response = responding.await;
    disconnect.unless(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(double: &ScriptedDouble, path: &str) -> (u16, String) {
        let response = reqwest::get(double.url() + path).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    #[tokio::test]
    async fn the_last_response_is_sent_again() {
        let double = ScriptedDouble::start().await.unwrap();
        double.respond(
            "GET /a",
            [PreparedResponse::status(503), PreparedResponse::ok("a")],
        );
        for expected in [503, 200, 200] {
            assert_eq!(get(&double, "/a").await.0, expected);
        }
        assert_eq!(get(&double, "/b").await.0, 404);
        let statuses = double.calls().all().into_iter().map(|call| call.status);
        assert_eq!(statuses.flatten().collect::<Vec<_>>(), [503, 200, 200, 404]);
    }

    #[tokio::test]
    async fn the_first_pattern_that_matches_counts() {
        let double = ScriptedDouble::start().await.unwrap();
        double.respond("/a", [PreparedResponse::ok("first")]);
        double.respond("GET", [PreparedResponse::ok("second")]);
        assert_eq!(get(&double, "/a").await.1, "first");
        assert_eq!(get(&double, "/b").await.1, "second");
    }

    #[tokio::test]
    async fn headers_and_bytes_arrive_unchanged() {
        let double = ScriptedDouble::start().await.unwrap();
        let prepared = PreparedResponse::ok(&b"\xff\x00"[..]).header("content-type", "image/png");
        double.respond("", [prepared]);
        let response = reqwest::get(double.url()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "image/png");
        assert_eq!(response.bytes().await.unwrap()[..], b"\xff\x00"[..]);
    }
}
