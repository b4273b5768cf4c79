//! The account on the platform that replicas share, and the store of one replica.

use futures_util::future::BoxFuture;
use sailor::oauth2::internals::{CredentialStore, CredentialWarning, StoreError, StoreErrorKind};
use serde_json::{Map, Value, json};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, Semaphore};

/// What the next save of an account does.
#[derive(Debug)]
pub enum Fault {
    /// Fails, as with an unavailable platform.
    Fail,
    /// Waits for a permit of [`Account::gate`] first.
    Wait,
    /// Panics before anything is stored.
    Panic,
    /// Stores the keys, and panics then.
    PanicAfter,
    /// Never ends.
    Hang,
    /// Reports that the configuration names no account.
    NoAccount,
    /// Waits for a permit of `gate`, but updates the process's configuration immediately.
    WaitMerged,
    /// Reports that the account does not exist, although it does.
    Missing,
    /// The same over REST, while the platform's queue takes the keys.
    Queued,
    /// The queue takes the keys, REST never responds, and the account is gone from then on.
    QueuedOnly,
}

/// The account on the platform: what all replicas read and save.
#[derive(Default)]
pub struct Account {
    /// `_account` of the step's configuration, which a save does not change.
    pub id: Option<String>,
    keys: Mutex<Option<Value>>,
    faults: Mutex<VecDeque<Fault>>,
    /// Every save fails while this is true.
    pub down: Mutex<bool>,
    /// Reading fails while this is true.
    pub unreadable: Mutex<bool>,
    /// How many of the next reads wait for a permit of `gate` before they return their result.
    pub slow_reads: Mutex<usize>,
    /// Reads that have begun to wait.
    pub stalled: Mutex<usize>,
    /// The maximum duration of reads and saves.
    pub latency: Mutex<Duration>,
    /// Warnings are never delivered while this is true.
    pub nobody_listens: Mutex<bool>,
    /// Permits for reads and saves that wait.
    pub gate: GateSemaphore,
    /// Everything saved so far, in order.
    pub saved: Mutex<Vec<Map<String, Value>>>,
    /// Saves that were started.
    pub begun: Mutex<usize>,
    /// Reads that found no credential.
    not_found: Mutex<usize>,
    secrets: Mutex<VecDeque<Value>>,
    /// What the platform says about a secret in the state `error`.
    pub secret_error: Mutex<Value>,
    /// `state` of the secrets.
    pub secret_state: Mutex<&'static str>,
    /// Reads and refreshes of secrets.
    pub secret_calls: Mutex<Vec<&'static str>>,
    changed: Notify,
}

/// A semaphore without permits.
pub struct GateSemaphore(pub Semaphore);

impl Default for GateSemaphore {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

impl Account {
    /// An account with this configuration, such as `{"oauth": {…}}`.
    pub fn new(config: Value) -> Arc<Self> {
        let id = config["_account"].as_str().map(str::to_owned);
        Arc::new(Self {
            id,
            keys: Mutex::new(Some(config)),
            ..Self::default()
        })
    }

    /// The stored configuration.
    pub fn stored(&self) -> Value {
        self.keys
            .lock()
            .unwrap()
            .clone()
            .expect("the account exists")
    }

    /// The stored field `oauth`.
    pub fn oauth(&self) -> Value {
        self.stored()["oauth"].clone()
    }

    /// Replaces the stored configuration, as when the user connects again.
    pub fn set(&self, config: Value) {
        *self.keys.lock().unwrap() = Some(config);
    }

    /// Whether the account exists.
    pub fn exists(&self) -> bool {
        self.keys.lock().unwrap().is_some()
    }

    /// Removes it.
    pub fn delete(&self) {
        *self.keys.lock().unwrap() = None;
    }

    /// Sets faults for the next saves.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// Sets the credentials of the platform's secret, and those that each refresh of it brings.
    pub fn set_secrets(&self, secrets: impl IntoIterator<Item = Value>) {
        *self.secrets.lock().unwrap() = secrets.into_iter().collect();
    }

    /// The credentials of the platform's secret.
    pub fn secrets(&self) -> Value {
        self.secrets.lock().unwrap()[0].clone()
    }

    /// The number of successful saves.
    pub fn savings(&self) -> usize {
        self.saved.lock().unwrap().len()
    }

    /// Waits until `count` saves have started.
    pub async fn saving_begun(&self, count: usize) {
        self.until(|account| *account.begun.lock().unwrap() >= count)
            .await;
    }

    /// Waits until `count` reads have found no credential.
    pub async fn not_found_by(&self, count: usize) {
        self.until(|account| *account.not_found.lock().unwrap() >= count)
            .await;
    }

    /// Waits as `slow_reads` says.
    async fn stall(&self) {
        {
            let mut slow = self.slow_reads.lock().unwrap();
            if *slow == 0 {
                return;
            }
            *slow -= 1;
            *self.stalled.lock().unwrap() += 1;
        }
        self.changed.notify_waiters();
        self.gate.0.acquire().await.unwrap().forget();
    }

    async fn take_time(&self) {
        let latency = *self.latency.lock().unwrap();
        if !latency.is_zero() {
            tokio::time::sleep(latency.mul_f64(fastrand::f64())).await;
        }
    }

    /// Waits until `holds` is true.
    pub async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }
}

/// The store of one process.
pub struct ReplicaStore {
    account: Arc<Account>,
    config: Mutex<Arc<Value>>,
    /// The warnings for the user.
    pub warnings: Mutex<Vec<CredentialWarning>>,
}

impl ReplicaStore {
    /// The store of a process that starts now.
    pub fn new(account: Arc<Account>) -> Self {
        let mut config = account.stored();
        if let Some(id) = &account.id {
            config["_account"] = id.as_str().into();
        }
        Self {
            config: Mutex::new(Arc::new(config)),
            account,
            warnings: Mutex::default(),
        }
    }

    fn merge(&self, keys: &Map<String, Value>) {
        let mut config = self.config.lock().unwrap();
        Arc::make_mut(&mut config)
            .as_object_mut()
            .unwrap()
            .extend(keys.clone());
    }
}

impl CredentialStore for ReplicaStore {
    fn config(&self) -> Arc<Value> {
        self.config.lock().unwrap().clone()
    }

    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async {
            if *self.account.unreadable.lock().unwrap() {
                return Err(StoreError::transient("the platform is away"));
            }
            self.account.take_time().await;
            let read = self.account.keys.lock().unwrap().clone();
            self.account.stall().await;
            if read
                .as_ref()
                .is_none_or(|config| config["oauth"]["refresh_token"].is_null())
            {
                *self.account.not_found.lock().unwrap() += 1;
                self.account.changed.notify_waiters();
            }
            read.map(Some).ok_or_else(gone)
        })
    }

    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let account = &self.account;
            *account.begun.lock().unwrap() += 1;
            account.changed.notify_waiters();
            let fault = account.faults.lock().unwrap().pop_front();
            match fault {
                Some(Fault::Fail) => return Err(StoreError::transient("the platform refuses")),
                Some(Fault::Wait) => account.gate.0.acquire().await.unwrap().forget(),
                Some(Fault::WaitMerged) => {
                    self.merge(&keys);
                    account.gate.0.acquire().await.unwrap().forget();
                }
                Some(Fault::Missing) => return Err(gone()),
                Some(Fault::Queued) => {
                    *account.keys.lock().unwrap() = Some(keys.clone().into());
                    self.merge(&keys);
                    queued.store(true, Ordering::SeqCst);
                    return Err(gone());
                }
                Some(Fault::QueuedOnly) => {
                    queued.store(true, Ordering::SeqCst);
                    account.delete();
                    std::future::pending::<()>().await;
                }
                Some(Fault::Panic) => panic!("a save panics"),
                Some(Fault::PanicAfter) => {
                    *account.keys.lock().unwrap() = Some(keys.into());
                    panic!("a save panics after the platform took the keys");
                }
                Some(Fault::Hang) => std::future::pending().await,
                Some(Fault::NoAccount) => {
                    let message = "the step's configuration has no `_account`";
                    return Err(StoreError::new(StoreErrorKind::NoAccount, message));
                }
                None => {}
            }
            if *account.down.lock().unwrap() {
                return Err(StoreError::transient("the platform is away"));
            }
            account.take_time().await;
            match &mut *account.keys.lock().unwrap() {
                // Not merged: this store replaces everything (token-failures: Tokens on the platform).
                Some(stored) => *stored = keys.clone().into(),
                None => return Err(gone()),
            }
            account.saved.lock().unwrap().push(keys.clone());
            self.merge(&keys);
            account.changed.notify_waiters();
            Ok(())
        })
    }

    fn update_local(&self, keys: &Map<String, Value>) {
        self.merge(keys);
        self.account.changed.notify_waiters();
    }

    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()> {
        self.warnings.lock().unwrap().push(warning);
        self.account.changed.notify_waiters();
        if *self.account.nobody_listens.lock().unwrap() {
            return Box::pin(std::future::pending());
        }
        Box::pin(std::future::ready(()))
    }

    fn secret<'a>(
        &'a self,
        id: &'a str,
        refresh: bool,
    ) -> BoxFuture<'a, Result<Value, StoreError>> {
        Box::pin(async move {
            let mut secrets = self.account.secrets.lock().unwrap();
            let state = *self.account.secret_state.lock().unwrap();
            self.account.secret_calls.lock().unwrap().push(if refresh {
                "refresh"
            } else {
                "read"
            });
            if refresh && secrets.len() > 1 {
                secrets.pop_front();
            }
            let credentials = secrets
                .front()
                .cloned()
                .ok_or_else(|| StoreError::transient("no such secret"))?;
            let error = self.account.secret_error.lock().unwrap().clone();
            Ok(
                json!({ "id": id, "attributes": { "state": state, "error": error, "credentials": credentials } }),
            )
        })
    }
}

fn gone() -> StoreError {
    StoreError::new(StoreErrorKind::NotFound, "404 Not Found")
}
