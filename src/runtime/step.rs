//! The step's state in this process: configuration, snapshot, variables.

use crate::{
    context::{BoxFuture, KeySink},
    platform::{Platform, PlatformError, StepData},
};
use anyhow::Context as _;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What the platform said of the step, and what has changed since.
pub(crate) struct Step {
    config: RwLock<Arc<Value>>,
    /// Locked while a change is made and queued, so that the platform sees changes in the order they were made.
    pub(super) snapshot: Mutex<Value>,
    /// Held while credentials are saved and merged, so that the account and this process end with the same ones.
    pub(super) saving: tokio::sync::Mutex<()>,
    pub(crate) variables: Arc<Map<String, Value>>,
    pub(crate) is_passthrough: bool,
}

impl Step {
    pub(crate) fn new(data: StepData) -> Self {
        Self {
            config: RwLock::new(Arc::new(data.config)),
            snapshot: Mutex::new(data.snapshot),
            saving: tokio::sync::Mutex::default(),
            variables: Arc::new(data.variables),
            is_passthrough: data.is_passthrough,
        }
    }

    pub(crate) fn config(&self) -> Arc<Value> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn snapshot(&self) -> Value {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The account whose credentials the step uses.
    pub(crate) fn account(&self) -> Option<String> {
        self.config().get("_account").and_then(Value::as_str).filter(|id| !id.is_empty()).map(str::to_owned)
    }

    /// New credentials replace the old ones in the configuration: the next message begins with them.
    pub(crate) fn merge_keys(&self, keys: &Map<String, Value>) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        if let Value::Object(members) = Arc::make_mut(&mut config) {
            members.extend(keys.clone());
        }
    }
}

/// Saves credentials over REST, for hooks and one-time calls.
pub(crate) struct AccountKeys {
    pub(crate) platform: Platform,
    pub(crate) step: Arc<Step>,
}

impl AccountKeys {
    /// Gives the account new credentials; the step's configuration stays as it is.
    pub(super) async fn put(&self, account: &str, keys: &Map<String, Value>) -> Result<(), PlatformError> {
        self.platform.update_account(account, &Value::Object(keys.clone())).await
    }

    async fn save(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        let account = self
            .step
            .account()
            .context("updateKeys needs the account to save to: the step's configuration has no `_account`")?;
        let _saving = self.step.saving.lock().await;
        self.put(&account, keys).await.inspect_err(|error| {
            tracing::error!("New credentials could not be saved: {}", error.without_contents());
        })?;
        self.step.merge_keys(keys);
        Ok(())
    }
}

impl KeySink for AccountKeys {
    fn update_keys(self: Arc<Self>, keys: Map<String, Value>) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move { self.save(&keys).await })
    }
}
