//! Saves keys for messages, hooks, one-time calls and the test harness. There is one way for the keys that a module
//! emits and the tokens that a session has refreshed.
//!
//! [`update_keys`] saves a module's keys. Both it and a session's own saves call [`AccountClient::save_keys`].

use super::{
    AccountClient,
    account::{NoAccount, store_error},
    emit::InFlightMessage,
    now_ms,
};
use crate::{
    broker::transport::{Route, Transport},
    component::context::BoxFuture,
    oauth2::{CredentialStore, CredentialWarning, Session, StoreError},
    protocol::{Encoding, ErrorReport},
};
use futures_util::future::OptionFuture;
use serde_json::{Map, Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
pub(crate) async fn update_keys(
    store: &impl KeyStore,
    keys: Map<String, Value>,
) -> anyhow::Result<()> {
    let Some(session) = store.session() else {
        return store.save_keys(&keys).await;
    };
    // The guard keeps the session from saving an older token over these keys.
    let (keys, _guard) = session.normalize_keys(keys, store).await;
    store.save_keys(&keys).await
}

impl AccountClient {
    /// Saves keys in the account and, from a message, also over the platform's queue, both at the same time. If one
    /// succeeds, the keys are merged into this process's configuration, so that the next message finds them.
    ///
    /// `queue` publishes the keys. It is polled only while no other keys are being saved.
    pub(super) async fn save_keys(
        &self,
        keys: &Map<String, Value>,
        queue: Option<BoxFuture<'_, anyhow::Result<()>>>,
    ) -> anyhow::Result<()> {
        let _saving = self.step.saving.lock().await;
        let account = self.step.account_id();
        if account.is_none() && queue.is_none() {
            return Err(NoAccount.into());
        }
        let rest = async {
            if let Some(id) = &account {
                let members = Value::Object(keys.clone());
                self.platform.update_account(id, &members).await?;
                self.step.merge_keys(keys);
            }
            anyhow::Ok(())
        };
        let (queue, rest) = tokio::join!(OptionFuture::from(queue), rest);
        rest.and(queue.unwrap_or(Ok(())))
    }
}

impl<T: Transport> InFlightMessage<T> {
    /// `queued` becomes true once the queue has the keys. After that they are not queued again.
    async fn save_over(
        &self,
        account: &AccountClient,
        keys: &Map<String, Value>,
        queued: &AtomicBool,
    ) -> anyhow::Result<()> {
        let has_queue = self.engine.settings.amqp.update_keys_key.is_some();
        let queue = has_queue.then(|| Box::pin(self.publish_keys(keys, queued)) as BoxFuture<_>);
        account.save_keys(keys, queue).await
    }

    async fn publish_keys(
        &self,
        keys: &Map<String, Value>,
        queued: &AtomicBool,
    ) -> anyhow::Result<()> {
        if queued.load(Ordering::SeqCst) {
            return Ok(());
        }
        let engine = &self.engine;
        let version = engine.settings.protocol_version;
        let account = engine.step.account_id();
        let plain = serde_json::to_vec(&json!({ "accountId": account, "keys": keys }))?;
        let body = engine.cipher.encrypt(plain, Encoding::of(version));
        let mut headers = self.new_headers();
        headers.insert("end".into(), now_ms().into());
        headers.insert("protocolVersion".into(), version.into());
        self.publish(Route::UpdateKeys, headers, body).await?;
        queued.store(true, Ordering::SeqCst);
        engine.step.merge_keys(keys);
        Ok(())
    }
}

impl<T: Transport> KeyStore for InFlightMessage<T> {
    fn session(&self) -> Option<&Session> {
        self.engine.session.as_ref()
    }

    async fn save_keys(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        let queued = AtomicBool::new(false);
        self.save_over(&self.engine.account, keys, &queued).await
    }
}

/// The credential store of a session while it serves this message.
impl<T: Transport> CredentialStore for InFlightMessage<T> {
    fn config(&self) -> Arc<Value> {
        self.engine.step.config()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async { self.engine.account.with_few_retries().reload_config().await })
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let account = self.engine.account.with_few_retries();
            let saved = self.save_over(&account, &keys, queued).await;
            saved.map_err(|error| store_error(&error))
        })
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.engine.step.merge_keys(keys);
    }

    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()> {
        let report = ErrorReport {
            name: warning.name.to_owned(),
            ..ErrorReport::new(warning.message)
        };
        Box::pin(async move { self.report_warning(&report).await })
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move {
            self.engine
                .account
                .with_few_retries()
                .secret(id, refresh)
                .await
        })
    }
}
