//! The step's state in this process: configuration, snapshot, variables.

use crate::{
    clients::platform::{Platform, PlatformError, StepData},
    component::context::{BoxFuture, Clients, KeySaver, ServiceContextParts},
    oauth2::{
        AuthorizedClient, CredentialStore, CredentialWarning, Session, StoreError, StoreErrorKind,
    },
};
use anyhow::Context as _;
use reqwest::StatusCode;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicBool};
use tokio_util::task::TaskTracker;

/// What the platform said of the step, and what has changed since.
pub(crate) struct Step {
    config: RwLock<Arc<Value>>,
    /// Locked while a change is made and queued, so that the platform sees changes in the order they were made.
    pub(super) snapshot: Mutex<Value>,
    /// LockGuard while credentials are saved and merged, so that the account and this process end with the same ones.
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

    /// The account whose credentials the step uses.
    pub(crate) fn account(&self) -> Option<String> {
        self.config()
            .get("_account")
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())
            .map(str::to_owned)
    }

    /// New credentials replace the old ones in the configuration: the next message begins with them.
    pub(crate) fn merge_keys(&self, keys: &Map<String, Value>) {
        let mut config = self.config.write().unwrap_or_else(PoisonError::into_inner);
        if let Value::Object(members) = Arc::make_mut(&mut config) {
            members.extend(keys.clone());
        }
    }
}

/// The account of the step, over REST: where credentials are read again and saved.
#[derive(Clone)]
pub(crate) struct Account {
    pub(crate) platform: Platform,
    pub(crate) step: Arc<Step>,
}

/// The configuration names no account, and no other way to save credentials is configured.
#[derive(Debug, thiserror::Error)]
#[error("updateKeys has nowhere to save to: {0}")]
pub(crate) struct Nowhere(pub(crate) &'static str);

impl Account {
    /// The same for a session, which tries again by itself.
    pub(super) fn quickly(&self) -> Self {
        Self {
            platform: self.platform.clone().quickly(),
            step: self.step.clone(),
        }
    }

    /// Gives the account new credentials; the step's configuration stays as it is.
    pub(super) async fn put(
        &self,
        account: &str,
        keys: &Map<String, Value>,
    ) -> Result<(), PlatformError> {
        self.platform
            .update_account(account, &Value::Object(keys.clone()))
            .await
    }

    /// Saves credentials, and gives them to the step's configuration.
    async fn save(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        let account = self
            .step
            .account()
            .ok_or(Nowhere("the step's configuration has no `_account`"))?;
        let _saving = self.step.saving.lock().await;
        self.put(&account, keys).await.inspect_err(|error| {
            tracing::error!(
                "New credentials could not be saved: {}",
                error.without_contents()
            );
        })?;
        self.step.merge_keys(keys);
        Ok(())
    }

    /// The step's configuration as the platform has it now.
    pub(super) async fn reload(&self) -> Result<Option<Value>, StoreError> {
        match self.platform.step().await {
            Ok(step) => Ok(Some(step.config)),
            Err(error) => Err(store_error(&error.into())),
        }
    }

    /// The configuration with the account's keys as the platform has them now, for calls that belong to no step. Not
    /// every platform lets a component read accounts.
    async fn reload_keys(&self) -> Result<Option<Value>, StoreError> {
        let Some(id) = self.step.account() else {
            return Ok(None);
        };
        let account = match self.platform.account(&id).await {
            Ok(account) => account,
            Err(error)
                if error
                    .status()
                    .is_some_and(|status| status.is_client_error()) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(store_error(&error.into())),
        };
        let Some(Value::Object(keys)) = account.get("keys") else {
            return Ok(None);
        };
        let mut config = (*self.step.config()).clone();
        if let Value::Object(members) = &mut config {
            members.extend(keys.clone());
        }
        Ok(Some(config))
    }

    pub(super) async fn secret(&self, id: &str, refresh: bool) -> Result<Value, StoreError> {
        let answer = if refresh {
            self.platform.refresh_secret(id).await
        } else {
            self.platform.secret(id).await
        };
        answer.map_err(|error| store_error(&error.into()))
    }
}

/// Why credentials could not be saved or read, without the words of the platform: it may repeat what it was sent.
pub(super) fn store_error(error: &anyhow::Error) -> StoreError {
    let Some(error) = error.downcast_ref::<PlatformError>() else {
        let kind = if error.is::<Nowhere>() {
            StoreErrorKind::NoAccount
        } else {
            StoreErrorKind::Transient
        };
        return StoreError::new(kind, error.to_string());
    };
    let kind = match error.status() {
        Some(StatusCode::NOT_FOUND) => StoreErrorKind::NotFound,
        Some(StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS) | None => {
            StoreErrorKind::Transient
        }
        Some(status) if status.is_client_error() => StoreErrorKind::Refused,
        Some(_) => StoreErrorKind::Transient,
    };
    StoreError::new(kind, error.without_contents())
}

/// What hooks and one-time calls save credentials with. Saving goes on in tasks of its own, whether or not anybody waits.
#[derive(Clone)]
pub(crate) struct AccountStore {
    pub(crate) account: Account,
    pub(crate) session: Option<Session>,
    /// Whether the step can be asked for; a one-time call may have none.
    pub(crate) has_step: bool,
    pub(crate) tasks: TaskTracker,
}

impl AccountStore {
    /// For a hook: the step can be read again.
    pub(crate) fn new(account: Account, session: Option<Session>) -> Arc<Self> {
        Arc::new(Self {
            account,
            session,
            has_step: true,
            tasks: TaskTracker::new(),
        })
    }

    /// For a one-time call, which belongs to no step.
    pub(crate) fn outside_of_a_flow(account: Account, session: Option<Session>) -> Arc<Self> {
        Arc::new(Self {
            account,
            session,
            has_step: false,
            tasks: TaskTracker::new(),
        })
    }

    /// What a hook or a call of `function` may touch.
    pub(crate) fn service_run(
        self: &Arc<Self>,
        function: &str,
        clients: &Clients,
    ) -> ServiceContextParts {
        ServiceContextParts {
            function: function.to_owned(),
            config: self.account.step.config(),
            variables: self.account.step.variables.clone(),
            clients: clients.clone(),
            oauth: match &self.session {
                Some(session) => session.client(self.clone()),
                None => AuthorizedClient::unconfigured(),
            },
            keys: self.clone(),
        }
    }

    /// Waits until everything is saved that can be.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(session) = &self.session {
            session.close().await;
        }
    }
}

impl KeySaver for AccountStore {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let tasks = self.tasks.clone();
        let saved = tasks.spawn(async move {
            match &self.session {
                Some(session) => {
                    let (keys, _guard) = session.normalize_keys(keys, &*self).await;
                    self.account.save(&keys).await
                }
                None => self.account.save(&keys).await,
            }
        });
        Box::pin(async move { saved.await.context("saving credentials")? })
    }
}

impl CredentialStore for AccountStore {
    fn config(&self) -> Arc<Value> {
        self.account.step.config()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async {
            let account = self.account.quickly();
            if self.has_step {
                account.reload().await
            } else {
                account.reload_keys().await
            }
        })
    }

    /// There is no queue here.
    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        _: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.account
                .quickly()
                .save(&keys)
                .await
                .map_err(|error| store_error(&error))
        })
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.account.step.merge_keys(keys);
    }

    /// There is no message that an event could belong to; it stands in the log.
    fn warn(&self, _: CredentialWarning) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move { self.account.quickly().secret(id, refresh).await })
    }
}
