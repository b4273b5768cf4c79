//! The step's state in this process: configuration, snapshot, variables.

use crate::clients::platform::StepData;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What the platform has stored for the step, and its changes since then.
pub(crate) struct Step {
    config: RwLock<Arc<Value>>,
    /// Locked while a change is made and queued, so that the platform sees changes in the order in which they are made.
    pub(super) snapshot: Mutex<Value>,
    /// Locked while keys are saved and merged, so that the account and this process end up with the same keys.
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
        self.config
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn snapshot(&self) -> Value {
        self.snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The id of the account whose credentials the step uses.
    pub(crate) fn account_id(&self) -> Option<String> {
        self.config()
            .get("_account")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
    }

    /// Replaces these members of the configuration. Later messages see them.
    pub(crate) fn merge_keys(&self, keys: &Map<String, Value>) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        if let Value::Object(members) = Arc::make_mut(&mut config) {
            members.extend(keys.clone());
        }
    }
}
