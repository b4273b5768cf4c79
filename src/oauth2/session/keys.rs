//! The keys that a module saves: in the shape in which they are stored, and one save at a time.

use super::{
    super::{CredentialStore, TokenRecord, token_record},
    Session,
    driver::{Driver, Shared, Store, TokenEvent},
    life,
    machine::{Emit, Event, Keeper, WaiterId},
};
use serde_json::{Map, Value};
use std::{mem, sync::Arc};
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
    /// Notes that the keys are saved.
    pub(crate) fn saved(mut self) {
        self.turn.is_saved = true;
    }
}

/// The turn of one save. Its end is the machine's next event.
#[derive(Default)]
struct Turn {
    driver: Option<Arc<Driver>>,
    is_saved: bool,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Turn").finish_non_exhaustive()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.handle(Event::KeysSaved(self.is_saved));
        }
    }
}

/// A module that waits for its turn.
pub(super) struct Waiting {
    keys: Map<String, Value>,
    store: Store,
    ready: oneshot::Sender<PreparedKeys>,
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
        let driver = &self.0;
        let Ok(setup) = driver.setup(&*store) else {
            // Without a definition of the credential, nothing is known about its keys.
            return PreparedKeys {
                keys,
                turn: Turn::default(),
            };
        };
        let sent = token_record::emitted(&keys, &setup.resolved.field);
        if setup.keeper() == Keeper::Platform {
            let fields = driver.credential_fields();
            let config = store.config();
            let keys = token_record::keys_to_store(
                keys,
                &config,
                &setup.resolved.field,
                &fields,
                sent.as_ref(),
            );
            return PreparedKeys {
                keys,
                turn: Turn::default(),
            };
        }
        let life = |record: TokenRecord| {
            let life = life::stored(driver.now(), &record, &setup.resolved.profile);
            (record, life)
        };
        let (ready, prepared) = oneshot::channel();
        let waiter = {
            let mut shared = driver.shared();
            shared.observe(driver.now(), &*store, &setup);
            let waiter = shared.next_waiter();
            let waiting = Waiting {
                keys: keys.clone(),
                store: store.clone(),
                ready,
            };
            shared.keys.insert(waiter, waiting);
            waiter
        };
        driver.handle(Event::Emitted(Emit {
            waiter,
            sent: sent.map(life),
            store,
        }));
        prepared.await.unwrap_or_else(|_| PreparedKeys {
            keys,
            turn: Turn::default(),
        })
    }
}

impl Driver {
    /// Gives a module its keys, with this record in them. Returns the answer if the module does not wait any more.
    pub(super) fn hand_over_keys(
        self: &Arc<Self>,
        shared: &mut Shared,
        waiter: WaiterId,
        record: Option<TokenRecord>,
    ) -> Option<TokenEvent> {
        let Some(Waiting { keys, store, ready }) = shared.keys.remove(&waiter) else {
            return Some(Event::KeysSaved(false));
        };
        let local = store.config();
        let config = shared.read.as_ref().unwrap_or(&local);
        let keys = match shared.setups.current() {
            Some(setup) => token_record::keys_to_store(
                keys,
                config,
                &setup.resolved.field,
                &self.credential_fields(),
                record.as_ref(),
            ),
            None => keys,
        };
        let turn = Turn {
            driver: Some(self.clone()),
            is_saved: false,
        };
        let refused = ready.send(PreparedKeys { keys, turn }).err()?;
        // Not dropped here: its end would be another event.
        let mut turn = refused.turn;
        mem::take(&mut turn.driver);
        Some(Event::KeysSaved(false))
    }
}
