//! The keys that a module saves: in the shape in which they are stored, and one save at a time.

use super::{
    super::{CredentialStore, TokenRecord, token_record},
    credential::{Credential, Shared, TokenEvent},
    life,
    machine::{Emit, Event, Keeper, WaiterId},
    turn::{PreparedKeys, Waiting},
};
use serde_json::{Map, Value};
use std::sync::Arc;
use tokio::sync::oneshot;

/// Returns the keys to store. Waits until no other process and no refresh can change the stored credential.
pub(super) async fn prepare(
    credential: &Arc<Credential>,
    keys: Map<String, Value>,
    store: Arc<dyn CredentialStore>,
) -> PreparedKeys {
    let Ok(setup) = credential.setup(&*store) else {
        // Without a definition of the credential, nothing is known about its keys.
        return PreparedKeys::without_turn(keys);
    };
    let resolved = &setup.resolved;
    let sent = token_record::emitted(&keys, &resolved.field);
    if setup.keeper() == Keeper::Platform {
        let fields = credential.resolver.credential_fields();
        let config = store.config();
        return PreparedKeys::without_turn(token_record::keys_to_store(
            keys,
            &config,
            &resolved.field,
            &fields,
            sent.as_ref(),
        ));
    }
    let now = credential.now();
    let (ready, prepared) = oneshot::channel();
    let waiter = {
        let mut shared = credential.shared();
        shared.observe(now, &*store, &setup);
        let waiter = shared.next_waiter();
        let waiting = Waiting {
            keys: keys.clone(),
            store: store.clone(),
            ready,
        };
        shared.keys.insert(waiter, waiting);
        waiter
    };
    let sent = sent.map(|record| {
        let life = life::stored(now, &record, &resolved.profile);
        (record, life)
    });
    credential.handle(Event::Emitted(Emit {
        waiter,
        sent,
        store,
    }));
    // The sender is dropped only with the session.
    prepared
        .await
        .unwrap_or_else(|_| PreparedKeys::without_turn(keys))
}

/// Gives a module its keys, with this record in them. Returns the machine's answer if the module does not wait any more.
pub(super) fn hand_over(
    credential: &Arc<Credential>,
    shared: &mut Shared,
    waiter: WaiterId,
    record: Option<TokenRecord>,
) -> Option<TokenEvent> {
    let Some(Waiting { keys, store, ready }) = shared.keys.remove(&waiter) else {
        return Some(Event::KeysSaved(false));
    };
    let local = store.config();
    let config = shared.read.as_ref().unwrap_or(&local);
    let keys = match shared.setups.latest() {
        Some(setup) => token_record::keys_to_store(
            keys,
            config,
            &setup.resolved.field,
            &credential.resolver.credential_fields(),
            record.as_ref(),
        ),
        None => keys,
    };
    let after = credential.clone();
    let prepared = PreparedKeys::new(keys, move |saved| after.handle(Event::KeysSaved(saved)));
    let unsent = ready.send(prepared).err()?;
    // The end of its turn is the event that is returned.
    unsent.forget();
    Some(Event::KeysSaved(false))
}
