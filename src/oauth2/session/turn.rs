//! A module's turn to save its keys: while it lasts, the session saves nothing else.

use super::super::CredentialStore;
use serde_json::{Map, Value};
use std::{fmt, sync::Arc};
use tokio::sync::oneshot;

/// Keys in the shape in which they are stored. While this exists, the session saves nothing else, so that neither replaces
/// the other's tokens. The turn ends after a while, even if this exists longer.
#[must_use = "the session saves nothing else until this is dropped"]
pub(crate) struct PreparedKeys {
    pub(crate) keys: Map<String, Value>,
    /// Is told that the keys are saved. Without that, they count as not saved.
    turn: Option<oneshot::Sender<()>>,
}

impl fmt::Debug for PreparedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreparedKeys")
            .field(&self.keys.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl PreparedKeys {
    /// Keys that need no turn.
    pub(super) fn without_turn(keys: Map<String, Value>) -> Self {
        Self { keys, turn: None }
    }

    /// Keys with a turn.
    pub(super) fn new(keys: Map<String, Value>, turn: oneshot::Sender<()>) -> Self {
        let turn = Some(turn);
        Self { keys, turn }
    }

    /// Notes that the keys are saved.
    pub(crate) fn saved(self) {
        if let Some(turn) = self.turn {
            // A turn that took too long has ended.
            let _ = turn.send(());
        }
    }
}

/// A module that waits for its turn.
pub(super) struct Waiting {
    pub(super) keys: Map<String, Value>,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) ready: oneshot::Sender<PreparedKeys>,
}
