//! The step's account on the platform, over REST.

use super::{
    Step,
    keys::{self, KeyStore},
};
use crate::{
    clients::platform::{Platform, PlatformError},
    codes,
    component::context::{BoxFuture, Clients, KeySaver, ServiceContextParts},
    oauth2::{
        AuthorizedClient, CredentialStore, CredentialWarning, Session, StoreError, StoreErrorKind,
    },
};
use anyhow::Context as _;
use futures_util::future::OptionFuture;
use reqwest::StatusCode;
use serde_json::{Map, Value};
use std::sync::{Arc, atomic::AtomicBool};
use tokio_util::task::TaskTracker;

/// Reads and writes the step's account.
#[derive(Clone)]
pub(crate) struct AccountClient {
    pub(super) platform: Platform,
    pub(crate) step: Arc<Step>,
}

impl AccountClient {
    pub(crate) fn new(platform: Platform, step: Step) -> Self {
        Self {
            platform,
            step: Arc::new(step),
        }
    }

    /// Asks the platform for the step.
    pub(super) async fn of_step(platform: Platform) -> anyhow::Result<Self> {
        let step = platform
            .step()
            .await
            .context("asking the platform for the step")?;
        Ok(Self::new(platform, Step::new(step)))
    }

    /// Returns this client with fewer retries, for a session, which retries itself.
    pub(super) fn with_few_retries(&self) -> Self {
        Self {
            platform: self.platform.clone().with_few_retries(),
            step: self.step.clone(),
        }
    }

    /// Returns the step's current configuration on the platform.
    pub(super) async fn reload_config(&self) -> Result<Option<Value>, StoreError> {
        match self.platform.step().await {
            Ok(step) => Ok(Some(step.config)),
            Err(error) => Err(store_error(&error.into())),
        }
    }

    /// Returns the configuration with the account's current keys on the platform, for calls that belong to no step.
    /// Returns `None` if the platform does not let components read accounts.
    ///
    /// A credential field that the account does not have is not in the result: a user who has disconnected stays
    /// disconnected.
    async fn reload_account(
        &self,
        credential_fields: &[&str],
    ) -> Result<Option<Value>, StoreError> {
        let Some(id) = self.step.account_id() else {
            return Ok(None);
        };
        let account = match self.platform.account(&id).await {
            Ok(account) => account,
            Err(error) if error.status().is_some_and(|s| s.is_client_error()) => return Ok(None),
            Err(error) => return Err(store_error(&error.into())),
        };
        let Some(Value::Object(keys)) = account.get("keys") else {
            return Ok(None);
        };
        let mut config = (*self.step.config()).clone();
        if let Value::Object(members) = &mut config {
            members.retain(|name, _| !credential_fields.contains(&name.as_str()));
            members.extend(keys.clone());
        }
        Ok(Some(config))
    }

    pub(super) async fn secret(&self, id: &str, refresh: bool) -> Result<Value, StoreError> {
        let secret = if refresh {
            self.platform.refresh_secret(id).await
        } else {
            self.platform.secret(id).await
        };
        secret.map_err(|error| store_error(&error.into()))
    }
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

/// The error of a configuration without an account, if there is no other way to save keys.
#[derive(Debug, thiserror::Error)]
#[error(
    "the keys cannot be saved: the step's configuration has no `_account`, and they can go to a queue only from a \
     message, and only if ELASTICIO_UPDATE_KEYS_ROUTING_KEY is set"
)]
pub(super) struct NoAccount;

/// Describes why credentials could not be saved or read, without the platform's own text: it may repeat what was sent
/// to it.
pub(super) fn store_error(error: &anyhow::Error) -> StoreError {
    let Some(error) = error.downcast_ref::<PlatformError>() else {
        let kind = if error.is::<NoAccount>() {
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

/// The credentials of hooks and one-time calls, which run without a message. Saves run in their own tasks, even if no
/// caller waits for them.
pub(crate) struct AccountCredentials {
    account: AccountClient,
    session: Option<Session>,
    /// Whether the platform can be asked for the step. A one-time call may belong to no step.
    has_step: bool,
    tasks: TaskTracker,
}

impl AccountCredentials {
    /// Creates the credentials of a hook.
    pub(crate) fn new(account: AccountClient, session: Option<Session>) -> Arc<Self> {
        Arc::new(Self {
            account,
            session,
            has_step: true,
            tasks: TaskTracker::new(),
        })
    }

    /// Creates the credentials of a one-time call, which belongs to no step.
    pub(crate) fn for_one_time_call(account: AccountClient, session: Option<Session>) -> Arc<Self> {
        Arc::new(Self {
            account,
            session,
            has_step: false,
            tasks: TaskTracker::new(),
        })
    }

    /// Returns the context of a hook or call of `function`.
    pub(crate) fn service_context(
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

    /// Waits until the running saves have ended, and saves what the session has not saved yet.
    pub(crate) async fn close(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(session) = &self.session {
            session.close().await;
        }
    }
}

impl KeyStore for AccountCredentials {
    fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    async fn save_keys(&self, keys: &Map<String, Value>) -> anyhow::Result<()> {
        let saved = self.account.save_keys(keys, None).await;
        // There is no error event without a message.
        saved.inspect_err(|error| {
            if let Some(error) = error.downcast_ref::<PlatformError>() {
                let error = error.without_contents();
                tracing::error!(code = %codes::KEYS_NOT_SAVED, "New credentials could not be saved: {error}");
            }
        })
    }
}

impl KeySaver for AccountCredentials {
    fn update_keys(
        self: Arc<Self>,
        keys: Map<String, Value>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        let tasks = self.tasks.clone();
        let saved = tasks.spawn(async move { keys::update_keys(self, keys).await });
        Box::pin(async move { saved.await.context("saving credentials")? })
    }
}

impl CredentialStore for AccountCredentials {
    fn config(&self) -> Arc<Value> {
        self.account.step.config()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async {
            let account = self.account.with_few_retries();
            if self.has_step {
                account.reload_config().await
            } else {
                let fields = self.session.as_ref().map(Session::credential_fields);
                account.reload_account(&fields.unwrap_or_default()).await
            }
        })
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        _queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let account = self.account.with_few_retries();
            let saved = account.save_keys(&keys, None).await;
            saved.map_err(|error| store_error(&error))
        })
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.account.step.merge_keys(keys);
    }

    /// Without a message there is no error event. The session has logged the warning.
    fn warn(&self, _: CredentialWarning) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move { self.account.with_few_retries().secret(id, refresh).await })
    }
}
