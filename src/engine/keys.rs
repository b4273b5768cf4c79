//! Saves keys for messages, hooks, one-time calls and the test harness. The keys that a module emits and the tokens
//! that a session has refreshed are saved in the same way.
//!
//! [`update_keys`] saves a module's keys. Both it and a session's own saves call [`AccountClient::save_keys`](super::AccountClient::save_keys).

use crate::oauth2::{CredentialStore, Session};
use serde_json::{Map, Value};
use std::sync::Arc;

/// Where a module's keys are saved.
pub(crate) trait KeyStore: CredentialStore {
    /// The session whose tokens may be among the keys.
    fn session(&self) -> Option<&Session>;

    /// Saves keys over every configured way.
    fn save_keys(
        &self,
        keys: &Map<String, Value>,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// Saves a module's keys, in the shape in which they are stored.
pub(crate) async fn update_keys<K: KeyStore>(
    store: Arc<K>,
    keys: Map<String, Value>,
) -> anyhow::Result<()> {
    let Some(session) = store.session() else {
        return store.save_keys(&keys).await;
    };
    let prepared = session.prepare_keys(keys, store.clone()).await;
    store.save_keys(&prepared.keys).await?;
    prepared.saved();
    Ok(())
}
