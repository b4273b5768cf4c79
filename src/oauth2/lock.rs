//! The lock between replicas: only one process at a time spends a refresh token that rotates (token-failures: T1, T2).
//!
//! This is the interface that a session uses; the broker adapter implements it.

use futures_util::future::BoxFuture;
use std::time::Duration;

/// Locks by name, shared by all processes of the platform that use them.
pub trait RefreshLock: Send + Sync + 'static {
    /// Waits for the lock `name`, for about `wait` at most, and for a shorter time if the broker does not respond. Waiting
    /// processes get the lock in no particular order.
    ///
    /// # Errors
    /// Returns a [`LockError`] if the lock was not obtained.
    ///
    /// # Cancel safety
    /// If the future is dropped, the lock is not acquired, or it is released soon after.
    fn acquire<'a>(
        &'a self,
        name: &'a str,
        wait: Duration,
    ) -> BoxFuture<'a, Result<Box<dyn LockGuard>, LockError>>;
}

/// A lock that is held. Dropping it releases it.
pub trait LockGuard: Send + Sync {
    /// Returns false once the lock is known to be lost without a release. Check it right before the step that the lock
    /// protects.
    fn is_held(&self) -> bool;
}

/// Why a lock was not obtained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Another process held it for the whole time.
    #[error("timed out waiting for the credential's lock, which another process holds")]
    TimedOut,
    /// The broker did not respond; a later attempt can succeed.
    #[error("the credential's lock is not available: {0}")]
    Unavailable(String),
    /// Locks are not available to this process, now or later. The text says why, and how to fix it. The lock has logged
    /// that once.
    #[error("locks are not supported here: {0}")]
    Unsupported(String),
}
