//! A module's turn to save its keys: while it lasts, the session saves nothing else.

use super::super::CredentialStore;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use tokio::sync::oneshot;

/// Keys in the shape in which they are stored. While this exists, the session saves nothing else, so that neither replaces
/// the other's tokens.
#[must_use = "the session saves nothing else until this is dropped"]
#[derive(Debug)]
pub(crate) struct PreparedKeys {
    pub(crate) keys: Map<String, Value>,
    turn: Turn,
}

impl PreparedKeys {
    /// Keys that need no turn.
    pub(super) fn without_turn(keys: Map<String, Value>) -> Self {
        let turn = Turn {
            end: None,
            is_saved: false,
        };
        Self { keys, turn }
    }

    /// Keys with a turn. `end` is told whether they were saved.
    pub(super) fn new(keys: Map<String, Value>, end: impl FnOnce(bool) + Send + 'static) -> Self {
        let turn = Turn {
            end: Some(Box::new(end)),
            is_saved: false,
        };
        Self { keys, turn }
    }

    /// Notes that the keys are saved.
    pub(crate) fn saved(mut self) {
        self.turn.is_saved = true;
    }

    /// Drops the keys without the end of a turn.
    pub(super) fn forget(mut self) {
        self.turn.end = None;
    }
}

struct Turn {
    end: Option<Box<dyn FnOnce(bool) + Send>>,
    is_saved: bool,
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.is_saved);
        }
    }
}

/// A module that waits for its turn.
pub(super) struct Waiting {
    pub(super) keys: Map<String, Value>,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) ready: oneshot::Sender<PreparedKeys>,
}
