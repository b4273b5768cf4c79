//! What a stand-in was asked, and the faults that were ordered for calls to come.

use regex_lite::Regex;
use serde_json::Value;
use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// One call.
#[derive(Clone, PartialEq)]
pub struct Call {
    /// `GET`, `POST`, …
    pub method: String,
    /// The path as it came, so that its encoding can be seen.
    pub path: String,
    /// The query, decoded: `$top=10&$filter=…`.
    pub query: String,
    /// The bearer token.
    pub token: Option<String>,
    /// The body: JSON where it was JSON, otherwise text.
    pub body: Value,
    /// What was answered. None: nothing.
    pub status: Option<u16>,
}

impl fmt::Debug for Call {
    /// Neither token nor contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} → {status}", self.line()),
            None => write!(f, "{} → no answer", self.line()),
        }
    }
}

impl Call {
    /// What patterns are matched with: `METHOD /path?query`.
    #[must_use]
    pub fn line(&self) -> String {
        match self.query.as_str() {
            "" => format!("{} {}", self.method, self.path),
            query => format!("{} {}?{query}", self.method, self.path),
        }
    }
}

/// What goes wrong with one call. Nothing is changed by it, unless it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 429 with `Retry-After` of so many seconds.
    Throttled(u32),
    /// The service's error body with this status, code and message.
    Refused(u16, &'static str, &'static str),
    /// The token is not good, whatever it is.
    Unauthorized,
    /// The connection is cut instead of an answer.
    Drop,
    /// The call is carried out, and the connection cut before its answer.
    DropAnswer,
}

/// What happens at the service while somebody reads from it.
type Meanwhile = Box<dyn FnOnce() + Send>;

/// The record of all calls, and the faults by pattern.
#[derive(Default)]
pub(super) struct Calls {
    calls: Mutex<Vec<Call>>,
    orders: Mutex<Vec<(Regex, VecDeque<Fault>)>>,
    meanwhile: Mutex<Vec<(Regex, Meanwhile)>>,
}

impl Calls {
    /// Writes a call down; gives its place and the fault that was ordered for it: of the patterns that match, by the one
    /// that was given first.
    pub(super) fn arrived(&self, call: Call) -> (usize, Option<Fault>) {
        let line = call.line();
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let first = orders
            .iter_mut()
            .find(|(pattern, _)| pattern.is_match(&line));
        let fault = first.and_then(|(_, faults)| faults.pop_front());
        orders.retain(|(_, faults)| !faults.is_empty());
        let mut calls = self.lock();
        calls.push(call);
        (calls.len() - 1, fault)
    }

    pub(super) fn answered(&self, place: usize, status: u16) {
        self.lock()[place].status = Some(status);
    }

    pub(super) fn all(&self) -> Vec<Call> {
        self.lock().clone()
    }

    pub(super) fn like(&self, pattern: &str) -> Vec<Call> {
        let pattern = regex(pattern);
        self.lock()
            .iter()
            .filter(|call| pattern.is_match(&call.line()))
            .cloned()
            .collect()
    }

    pub(super) fn order(&self, pattern: &str, faults: impl IntoIterator<Item = Fault>) {
        let order = (regex(pattern), faults.into_iter().collect());
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(order);
    }

    /// Takes back what was ordered and has not happened.
    pub(super) fn forget(&self) {
        self.orders
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    pub(super) fn meanwhile(&self, pattern: &str, work: Meanwhile) {
        self.meanwhile
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((regex(pattern), work));
    }

    /// What was to happen before this call is answered.
    pub(super) fn due(&self, line: &str) -> Option<Meanwhile> {
        let mut meanwhile = self
            .meanwhile
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let at = meanwhile
            .iter()
            .position(|(pattern, _)| pattern.is_match(line))?;
        Some(meanwhile.remove(at).1)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pattern of a test author, who wants to hear of a typing mistake at once.
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern)
        .unwrap_or_else(|error| panic!("{pattern:?} is no regular expression: {error}"))
}
