//! What a session has done so far, in numbers.

use std::sync::{Mutex, PoisonError};

/// What a session has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionMetrics {
    /// Refreshes that got a token.
    pub refreshes: u64,
    /// Refreshes that failed.
    pub failures: u64,
    /// Tokens that another replica or the user saved in the meantime.
    pub adopted: u64,
    /// Rotated refresh tokens whose first save failed.
    pub unsaved: u64,
    /// Tokens with fewer scopes than the previous one.
    pub narrowed: u64,
}

/// The metrics while they still change.
#[derive(Default)]
pub(super) struct Recorded(Mutex<SessionMetrics>);

impl Recorded {
    pub(super) fn update(&self, change: impl FnOnce(&mut SessionMetrics)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn get(&self) -> SessionMetrics {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
