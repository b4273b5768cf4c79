//! Faults that were ordered for calls to come.

use regex_lite::Regex;
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// What goes wrong with one call. The platform's state is not changed by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status, and a body that says it was ordered.
    Status(u16),
    /// The connection is cut instead of an answer.
    Drop,
    /// Never answered; the connection stays open until the platform stops.
    Hang,
}

/// Faults by pattern; each is used up by one call.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(Regex, VecDeque<Fault>)>>);

impl Faults {
    pub(super) fn order(&self, pattern: Regex, faults: VecDeque<Fault>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((pattern, faults));
    }

    /// The fault for a call, if one was ordered: of the patterns that match, the one ordered first.
    pub(super) fn take(&self, line: &str) -> Option<Fault> {
        let mut orders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = orders
            .iter_mut()
            .find(|(pattern, _)| pattern.is_match(line))
            .and_then(|(_, faults)| faults.pop_front());
        orders.retain(|(_, faults)| !faults.is_empty());
        fault
    }
}

/// The pattern of a test author, who wants to hear of a typing mistake at once.
pub(super) fn regex(pattern: &str) -> Regex {
    Regex::new(pattern)
        .unwrap_or_else(|error| panic!("{pattern:?} is no regular expression: {error}"))
}
