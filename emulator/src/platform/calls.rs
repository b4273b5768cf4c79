//! What the platform was asked, in order, and waiting for it.

use regex_lite::Regex;
use serde_json::Value;
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{broadcast, watch};

/// One call of the platform.
#[derive(Clone, PartialEq)]
pub struct Call {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The path and the query as they came.
    pub path: String,
    /// `user:key` of HTTP Basic, or the `Authorization` header as it came (`Bearer …`).
    pub auth: Option<String>,
    /// The body, where it was JSON.
    pub body: Option<Value>,
    /// What was answered. None: nothing yet, or nothing at all (cut off, left hanging).
    pub status: Option<u16>,
}

impl fmt::Debug for Call {
    /// Neither credentials nor contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} {} → {status}", self.method, self.path),
            None => write!(f, "{} {} → no answer", self.method, self.path),
        }
    }
}

impl Call {
    /// What patterns are matched with: `METHOD /path?query`.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// The record of all calls.
pub(super) struct Calls {
    calls: Mutex<Vec<Recorded>>,
    changed: watch::Sender<()>,
    answered: broadcast::Sender<Call>,
}

struct Recorded {
    call: Call,
    over: bool,
}

/// Where a call stands in the record.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

impl Calls {
    pub(super) fn new() -> Self {
        Self {
            calls: Mutex::default(),
            changed: watch::Sender::new(()),
            answered: broadcast::Sender::new(1024),
        }
    }

    pub(super) fn arrived(&self, call: Call) -> Place {
        let mut calls = self.lock();
        calls.push(Recorded { call, over: false });
        Place(calls.len() - 1)
    }

    /// Nothing more will happen to this call.
    pub(super) fn over(&self, Place(at): Place, status: Option<u16>) {
        let mut calls = self.lock();
        calls[at].call.status = status;
        calls[at].over = true;
        // It does not matter whether anybody watches.
        let _ = self.answered.send(calls[at].call.clone());
        drop(calls);
        self.changed.send_replace(());
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.lock()
            .iter()
            .map(|recorded| recorded.call.clone())
            .collect()
    }

    pub(super) fn watch(&self) -> broadcast::Receiver<Call> {
        self.answered.subscribe()
    }

    pub(super) async fn wait(&self, pattern: &Regex, count: usize) -> Vec<Call> {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            let matching: Vec<Call> = (self.lock().iter())
                .filter(|recorded| recorded.over && pattern.is_match(&recorded.call.line()))
                .map(|recorded| recorded.call.clone())
                .collect();
            if matching.len() >= count {
                return matching;
            }
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
