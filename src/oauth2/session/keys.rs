//! The keys that a module saves: in the shape in which they are stored, and one save at a time.

use super::{
    super::{CredentialStore, TokenRecord, token_record},
    credential::{Credential, Shared, TokenEvent},
    life,
    machine::{Emit, Event, Keeper, WaiterId},
    setup::CredentialSetup,
    turn::{PreparedKeys, Waiting},
};
use serde_json::{Map, Value};
use std::{sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// The longest turn of a module. A save through a queue that does not accept anything can take longer.
pub(super) const TURN: Duration = Duration::from_secs(20);

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
        keeper: setup.keeper(),
        store,
    }));
    // The sender is dropped only with the session.
    prepared
        .await
        .unwrap_or_else(|_| PreparedKeys::without_turn(keys))
}

/// Gives a module its keys, with this record in them, and waits for the end of its turn.
pub(super) fn hand_over(
    credential: &Credential,
    shared: &mut Shared,
    waiter: WaiterId,
    record: Option<TokenRecord>,
) -> impl Future<Output = TokenEvent> + Send + use<> {
    let turn = shared.keys.remove(&waiter).map(|waiting| {
        let Waiting { keys, store, ready } = waiting;
        let local = store.config();
        let config = shared.read.as_ref().unwrap_or(&local);
        let keys = match shared.setups.latest() {
            Some(setup) => stored_keys(credential, setup, keys, config, record),
            None => keys,
        };
        let (turn, ended) = oneshot::channel();
        // A module that does not wait any more drops its turn.
        let _ = ready.send(PreparedKeys::new(keys, turn));
        ended
    });
    async move {
        let is_saved = match turn {
            Some(turn) => matches!(timeout(TURN, turn).await, Ok(Ok(()))),
            None => false,
        };
        Event::KeysSaved(is_saved)
    }
}

fn stored_keys(
    credential: &Credential,
    setup: &CredentialSetup,
    keys: Map<String, Value>,
    config: &Value,
    record: Option<TokenRecord>,
) -> Map<String, Value> {
    let field = &setup.resolved.field;
    let record = match setup.keeper() {
        Keeper::Process => record,
        // The machine does not know the tokens beside a secret.
        Keeper::Platform => match (TokenRecord::find(config, field), record) {
            (Some(stored), Some(sent)) => Some(stored.with_emitted(&sent)),
            (stored, sent) => sent.or(stored),
        },
    };
    let fields = credential.resolver.credential_fields();
    token_record::keys_to_store(keys, config, field, &fields, record.as_ref())
}
