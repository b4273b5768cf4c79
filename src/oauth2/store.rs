//! Where a credential is kept: what a session needs of its surroundings.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::{Arc, atomic::AtomicBool};

/// The place that a credential comes from and goes back to: the platform's account, as one message or call sees it.
///
/// The session calls it from tasks of its own. An implementation keeps no tokens: the session decides which are current.
pub trait CredentialStore: Send + Sync + 'static {
    /// The step's configuration as this process has it now; the same `Arc` as long as nothing has changed.
    fn config(&self) -> Arc<Value>;

    /// The configuration as the platform has it now: another replica, or the user, may have changed it. None where the
    /// platform cannot be asked.
    fn reread(&self) -> BoxFuture<'_, Result<Option<Value>, StoreError>>;

    /// Saves these members of the configuration over every configured way; resolves when each has taken them. From
    /// then on [`config`](Self::config) has them.
    ///
    /// `taken` belongs to one record: it becomes true as soon as the platform's queue has taken it, whatever becomes of
    /// the rest and of this future. The queue is not asked where it is true already.
    fn save<'a>(
        &'a self,
        keys: Map<String, Value>,
        taken: &'a AtomicBool,
    ) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Gives [`config`](Self::config) these members though nothing has saved them yet.
    fn remember(&self, keys: &Map<String, Value>);

    /// Tells the user of trouble that does not fail what they asked for.
    fn report(&self, trouble: CredentialWarning) -> BoxFuture<'_, ()>;

    /// The secret `id` of the platform (wire-contract: Secrets); with `refresh`, refreshed by the platform first.
    fn secret<'a>(&'a self, id: &'a str, refresh: bool)
    -> BoxFuture<'a, Result<Value, StoreError>>;
}

/// Something that the user and the operator have to know of, while the work goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialWarning {
    /// The kind of trouble, as error events name it.
    pub name: &'static str,
    /// What happened, and what can be done.
    pub message: String,
}

/// Why a store could not do what it was asked for. It tells nothing of the credential.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What happened.
    pub message: String,
    /// The credential is no longer there, so there is nothing to try again.
    pub gone: bool,
    /// There is nowhere to save to: waiting does not mend that either.
    pub nowhere: bool,
    /// It was understood and refused: the same would be refused again.
    pub refused: bool,
}

impl StoreError {
    /// An error that another try may mend.
    pub fn passing(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            gone: false,
            nowhere: false,
            refused: false,
        }
    }
}
