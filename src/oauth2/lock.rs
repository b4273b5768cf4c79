//! The lock between replicas: a refresh token that rotates is spent by one process only (token-failures: T1, T2).
//!
//! What a session needs of it, and no more. The implementation is the adapter's to whatever the replicas share.

use futures_util::future::BoxFuture;
use std::time::Duration;

/// Locks by name, among all processes of the platform that ask for them.
pub trait RefreshLock: Send + Sync + 'static {
    /// Waits for the lock `name`, for at most about `wait`. Who waits is served in no particular order.
    ///
    /// # Errors
    /// [`LockError`]: the lock was not obtained.
    ///
    /// # Cancel safety
    /// When the future is dropped the lock is not held, or is released soon after.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>>;
}

/// A lock that is held. Dropping it releases it.
pub trait LockGuard: Send + Sync {
    /// False from when it is known that the lock is lost, though nobody has released it. Who has to be sure asks right
    /// before the step that the lock protects.
    fn is_held(&self) -> bool;
}

/// Why a lock was not obtained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another one held it all the time.
    #[error("another process has held the lock for the credential all the time")]
    TimedOut,
    /// Nobody could be asked; a later try may have more luck.
    #[error("the lock for the credential is out of reach: {0}")]
    Unavailable(String),
    /// There are no locks here, and waiting does not mend that. The text says what would.
    #[error("there is no lock for the credential: {0}")]
    Unsupported(String),
}
