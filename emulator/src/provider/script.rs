//! What goes wrong with calls to come, and calls that are held until a test lets go.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What happens to one call. "Done" is what the endpoint is for: tokens are issued and spent, an API request is
/// carried out. Without "after" in its name, nothing is done.
#[derive(Clone, Debug, PartialEq)]
pub enum Scripted {
    /// As usual.
    Normal,
    /// Answered with this status and JSON.
    Status(u16, Value),
    /// Answered with exactly this.
    Answer {
        /// The status.
        status: u16,
        /// Headers such as `retry-after`.
        headers: Vec<(String, String)>,
        /// The body.
        body: String,
    },
    /// Done, but answered with this status and JSON.
    StatusAfterCommit(u16, Value),
    /// As usual, after this time.
    DelayBefore(Duration),
    /// Done at once, answered after this time.
    DelayAfterCommit(Duration),
    /// The connection is cut before anything is done.
    DropBefore,
    /// Done, and the connection is cut instead of an answer.
    DropAfterCommit,
    /// Done, and the connection is cut in the middle of the answer's body.
    DropMidAnswer,
    /// Answered with 307 and this address.
    Redirect(String),
}

impl Scripted {
    /// A status with a `Retry-After` header: seconds or an HTTP date.
    #[must_use]
    pub fn retry_after(status: u16, when: &str) -> Self {
        let headers = vec![("retry-after".to_owned(), when.to_owned())];
        Self::Answer {
            status,
            headers,
            body: "{}".into(),
        }
    }

    /// An error as RFC 6749 §5.2 words it, with status 400.
    #[must_use]
    pub fn error(code: &str) -> Self {
        Self::Status(400, serde_json::json!({"error": code}))
    }

    /// The answer, where it does not depend on what the endpoint does.
    pub(super) fn instead(&self) -> Option<Response> {
        match self {
            Self::Status(status, body) => Some(answer(*status, &[], body.to_string())),
            Self::Answer {
                status,
                headers,
                body,
            } => Some(answer(*status, headers, body.clone())),
            Self::Redirect(to) => Some(answer(
                307,
                &[("location".to_owned(), to.clone())],
                String::new(),
            )),
            _ => None,
        }
    }
}

/// A status that is none, or headers that cannot be, are the test author's mistake: told as 500.
fn answer(status: u16, headers: &[(String, String)], body: String) -> Response {
    let Ok(status) = StatusCode::from_u16(status) else {
        return (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("{status} is no HTTP status"),
        )
            .into_response();
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    for (name, value) in headers {
        match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            // The content type replaces the one from above; others may come more than once.
            (Ok(header::CONTENT_TYPE), Ok(value)) => {
                drop(response.headers_mut().insert(header::CONTENT_TYPE, value));
            }
            (Ok(name), Ok(value)) => drop(response.headers_mut().append(name, value)),
            _ => {
                return (
                    StatusCode::INTERNAL_SERVER_ERROR,
                    format!("{name:?} is no header"),
                )
                    .into_response();
            }
        }
    }
    response
}

pub(super) fn status_answer(status: u16, body: &Value) -> Response {
    answer(status, &[], body.to_string())
}

/// The answer with its body cut in half, after which the connection ends.
pub(super) async fn cut_in_the_middle(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    let half: [Result<Bytes, std::io::Error>; 2] = [
        Ok(body.slice(..body.len() / 2)),
        Err(std::io::ErrorKind::ConnectionReset.into()),
    ];
    Response::from_parts(parts, Body::from_stream(futures_util::stream::iter(half)))
}

/// What a script or a hold is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Token,
    Revoke,
    Api,
}

/// Where a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Before,
    After,
}

/// Orders for calls to come.
#[derive(Default)]
pub(super) struct Orders {
    scripts: Mutex<Vec<(Target, VecDeque<Scripted>)>>,
    holds: Mutex<Vec<Arc<Held>>>,
}

struct Held {
    target: Target,
    stage: Stage,
    count: watch::Sender<usize>,
    released: CancellationToken,
}

/// Calls wait while this lives, each at the same point.
#[derive(Debug)]
pub struct Hold {
    count: watch::Receiver<usize>,
    released: CancellationToken,
}

impl Hold {
    /// Waits until `count` calls are held. Cancel safe.
    pub async fn held(&self, count: usize) {
        // The sender lives until the hold is released, which `self` prevents.
        let _ = self.count.clone().wait_for(|&held| held >= count).await;
    }

    /// Lets all calls go, as dropping does.
    pub fn release(self) {}
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.released.cancel();
    }
}

impl Orders {
    pub(super) fn script(&self, target: Target, answers: impl IntoIterator<Item = Scripted>) {
        let mut scripts = lock(&self.scripts);
        scripts.push((target, answers.into_iter().collect()));
    }

    /// The order for a call that has just arrived.
    pub(super) fn take(&self, target: Target) -> Scripted {
        let mut scripts = lock(&self.scripts);
        let script = scripts
            .iter_mut()
            .filter(|(of, _)| *of == target)
            .find_map(|(_, script)| script.pop_front());
        scripts.retain(|(_, script)| !script.is_empty());
        script.unwrap_or(Scripted::Normal)
    }

    pub(super) fn hold(&self, target: Target, stage: Stage) -> Hold {
        let (count, released) = (watch::Sender::new(0), CancellationToken::new());
        let hold = Hold {
            count: count.subscribe(),
            released: released.clone(),
        };
        lock(&self.holds).push(
            Held {
                target,
                stage,
                count,
                released,
            }
            .into(),
        );
        hold
    }

    /// Waits as long as the call is held at this point.
    pub(super) async fn pass(&self, target: Target, stage: Stage) {
        let holds = {
            let mut holds = lock(&self.holds);
            holds.retain(|held| !held.released.is_cancelled());
            holds.clone()
        };
        for held in holds
            .iter()
            .filter(|held| held.target == target && held.stage == stage)
        {
            held.count.send_modify(|count| *count += 1);
            held.released.cancelled().await;
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
