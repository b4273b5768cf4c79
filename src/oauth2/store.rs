//! The store of a credential: where a session reads and saves it.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

/// The store of a credential: the platform's account, as seen by one message or call.
///
/// The session calls it from its own tasks. An implementation does not keep tokens: the session decides which are
/// current.
pub trait CredentialStore: Send + Sync + 'static {
    /// Returns the step's configuration in this process: the same `Arc` until something changes.
    fn config(&self) -> Arc<Value>;

    /// Reads the configuration from the platform: another replica, or the user, may have changed it. Returns `None` if
    /// the platform cannot be asked.
    fn reload(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;

    /// Saves these members of the configuration over every configured way, and resolves when each has taken them. After
    /// that, [`config`](Self::config) contains them.
    ///
    /// `queued` belongs to one record. It becomes true as soon as the platform's queue has taken the record, even if the
    /// rest fails or this future is dropped. The queue is skipped if it is true already.
    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        queued: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Adds these members to [`config`](Self::config) without saving them.
    fn update_local(&self, keys: &Map<String, Value>);

    /// Reports a problem to the user. The current work continues.
    fn warn(&self, warning: CredentialWarning) -> BoxFuture<'_, ()>;

    /// Reads the platform's secret `id` (wire-contract: Secrets). With `refresh`, the platform refreshes it first.
    fn secret<'a>(&'a self, id: &'a str, refresh: bool)
    -> BoxFuture<'a, Result<Value, StoreError>>;
}

impl fmt::Debug for dyn CredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialStore")
    }
}

/// A problem that the user and the operator need to know about, although the work continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialWarning {
    /// The name of the problem, as in error events.
    pub name: &'static str,
    /// What happened, and how to fix it.
    pub message: String,
}

/// Why a store failed. It reveals nothing about the credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// Whether a retry can succeed, and if not, why.
    pub kind: StoreErrorKind,
    /// What happened.
    pub message: String,
}

/// Whether a retry can succeed, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StoreErrorKind {
    /// The platform says that the credential does not exist.
    NotFound,
    /// The configuration names no account, so there is nowhere to save to.
    NoAccount,
    /// The platform understood the request and refused it. It would refuse a retry too.
    Refused,
    /// A retry can succeed.
    Transient,
}

impl StoreError {
    /// Creates an error of this kind.
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// Creates an error after which a retry can succeed.
    pub fn transient(message: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Transient, message)
    }

    /// Returns whether the platform says that the credential does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }
}
