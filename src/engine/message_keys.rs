//! The credential store and the key store of a message: keys go to its account, and to the platform's queue if the step has
//! one for them.

use super::{AccountClient, account::store_error, emit::InFlightMessage, keys::KeyStore, now_ms};
use crate::{
    broker::transport::{Route, Transport},
    codes,
    component::context::BoxFuture,
    oauth2::{CredentialStore, CredentialWarning, Session, StoreError},
    protocol::{Encoding, ErrorReport},
};
use serde_json::{Map, Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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
        // The only warning that there is.
        let report = report.with_code(codes::REFRESH_TOKEN_NOT_SAVED);
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
