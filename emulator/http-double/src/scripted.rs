//! A double of no particular service, for tests of HTTP clients: it responds as the test says.

use crate::{
    call::{RecordedCall, read_call},
    calls::Calls,
    disconnect::Disconnect,
    error::{ErrorFormat, json_response},
    scripts::{PreparedResponse, Scripts},
    server::{Listener, Server},
    trouble::{Trouble, Troublemaker},
};
use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
};
use serde_json::json;
use std::{io, net::SocketAddr, sync::Arc};

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
    scripts: Scripts,
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
            scripts: Scripts::default(),
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
        self.shared.scripts.respond(pattern, responses);
    }

    /// Responds to calls that match `pattern` with what `handler` returns.
    ///
    /// # Panics
    /// When the pattern is not a regular expression.
    pub fn handle(
        &self,
        pattern: &str,
        handler: impl Fn(&RecordedCall) -> PreparedResponse + Send + Sync + 'static,
    ) {
        self.shared.scripts.handle(pattern, handler);
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
    fn response(&self, call: &RecordedCall) -> Response {
        let scripted = self.scripts.response(call);
        scripted.unwrap_or_else(|| {
            Self::error(404, "not_scripted", "the test has no response to this call")
        })
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
        let carry_out = || shared.response(&call);
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
    async fn a_handler_sees_the_call_and_may_add_responses() {
        let double = Arc::new(ScriptedDouble::start().await.unwrap());
        let own = Arc::downgrade(&double);
        double.handle("POST /jobs", move |call| {
            let id = call.json().unwrap()["id"].to_string();
            let done = PreparedResponse::ok("done");
            let double = own.upgrade().unwrap();
            double.respond(&format!("GET /jobs/{id}$"), [done]);
            PreparedResponse::status(201)
        });
        let post = reqwest::Client::new().post(double.url() + "/jobs");
        let posted = post.json(&json!({ "id": 7 })).send().await.unwrap();
        assert_eq!(posted.status().as_u16(), 201);
        assert_eq!(get(&double, "/jobs/7").await, (200, "done".to_owned()));
        assert_eq!(get(&double, "/jobs/8").await.0, 404);
    }

    #[tokio::test]
    async fn headers_and_bytes_arrive_unchanged() {
        let double = ScriptedDouble::start().await.unwrap();
        let prepared = PreparedResponse::ok(&b"\xff\x00"[..])
            .header("content-type", "image/png")
            .header("x-name", b"M\xfcller");
        double.respond("", [prepared]);
        let response = reqwest::get(double.url()).await.unwrap();
        assert_eq!(response.headers()["content-type"], "image/png");
        assert_eq!(response.headers()["x-name"].as_bytes(), b"M\xfcller");
        assert_eq!(response.bytes().await.unwrap()[..], b"\xff\x00"[..]);
    }
}
