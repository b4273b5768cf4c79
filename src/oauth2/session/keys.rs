//! The keys that a module saves: in the shape in which they are stored, and one save at a time.

use super::{
    super::{CredentialStore, TokenRecord, token_record},
    Session,
    credential::TokenEvent,
    machine::{Emit, Event, WaiterId},
    record::stored_life,
};
use crate::codes;
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// The longest turn of a module. A save through a queue that does not accept anything can take longer.
pub(super) const TURN: Duration = Duration::from_secs(20);

/// Keys in the shape in which they are stored. While this exists, the session saves nothing else, so that neither replaces
/// the other's tokens. The turn ends after a while, even if this exists longer.
#[must_use = "the session saves nothing else until this is dropped"]
pub(crate) struct PreparedKeys {
    pub(crate) keys: Map<String, Value>,
    /// Is told that the keys are saved. Without that, they count as not saved. `None` for keys that need no turn.
    turn: Option<oneshot::Sender<()>>,
}

impl PreparedKeys {
    /// Notes that the keys are saved.
    pub(crate) fn saved(self) {
        // A turn that took too long has ended.
        let _ = self.turn.map(|turn| turn.send(()));
    }
}

impl Session {
    /// Turns the keys that a module emits into the keys to store. Accepts each of the usual shapes (token-failures:
    /// Tokens on the platform). Waits until no other process and no refresh can change the stored credential.
    ///
    /// # Cancel safety
    /// Cancel safe: if the future is dropped, nothing is saved.
    pub(crate) async fn prepare_keys(
        &self,
        keys: Map<String, Value>,
        store: Arc<dyn CredentialStore>,
    ) -> PreparedKeys {
        let (ready, waiting) = oneshot::channel();
        let resolved = {
            let mut shared = self.0.shared();
            // Without a definition of the credential, nothing is known about its keys.
            let Ok(resolved) = self.0.observe(&mut shared, &*store) else {
                return PreparedKeys { keys, turn: None };
            };
            let sent = token_record::emitted(&keys, &resolved.field).map(|record| {
                let life = stored_life(self.0.now(), &record, &resolved.profile);
                (record, life)
            });
            let waiter = shared.next_waiter();
            shared.turns.insert(waiter, ready);
            let emit = Emit {
                waiter,
                sent,
                of_platform: resolved.is_of_platform(),
                store: store.clone(),
            };
            self.handle_in(&mut shared, Event::Emitted(emit));
            resolved
        };
        // The sender is dropped only with the session.
        let Ok((record, read, turn)) = waiting.await else {
            return PreparedKeys { keys, turn: None };
        };
        let (field, local) = (&resolved.field, store.config());
        let config = read.as_ref().unwrap_or(&local);
        // The machine does not know the tokens beside a secret.
        let stored = TokenRecord::find(config, field).filter(|_| resolved.is_of_platform());
        let record = match (stored, record) {
            (Some(stored), Some(sent)) => Some(stored.with_emitted(&sent)),
            (stored, sent) => sent.or(stored),
        };
        let fields = self.credential_fields();
        PreparedKeys {
            keys: token_record::keys_to_store(keys, config, field, &fields, record.as_ref()),
            turn: Some(turn),
        }
    }

    /// Gives a module its turn, with this record for its keys, and waits for the end of the turn.
    pub(super) async fn save_keys(
        self,
        waiter: WaiterId,
        record: Option<TokenRecord>,
    ) -> TokenEvent {
        let (turn, ended) = oneshot::channel();
        {
            let mut shared = self.0.shared();
            let ready = shared.turns.remove(&waiter);
            // A module that does not wait any more drops its turn.
            let _ = ready.map(|ready| ready.send((record, shared.read.clone(), turn)));
        }
        let ended = timeout(TURN, ended).await;
        if ended.is_err() {
            tracing::warn!(
                code = %codes::KEYS_TURN_TIMEOUT,
                seconds = TURN.as_secs(),
                "A module has not saved its keys in time; the refreshes that wait for it go on"
            );
        }
        Event::KeysSaved(matches!(ended, Ok(Ok(()))))
    }
}
