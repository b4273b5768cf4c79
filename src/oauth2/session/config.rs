//! What a session needs from the process, and what it has done.

use super::super::{Mode, RefreshLock};
use std::{fmt, sync::Arc};

/// Returns the value of an environment variable.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a session needs from the process.
#[derive(Clone)]
pub struct SessionConfig {
    /// Sends requests to the API and the token endpoint. It must not follow redirects, because it would send tokens
    /// along.
    pub http: reqwest::Client,
    /// The variables of `{{NAME}}` templates.
    pub environment: Environment,
    /// Overrides the component's mode (`ELASTICIO_OAUTH_MODE`).
    pub mode: Option<Mode>,
    /// Keeps replicas from refreshing at the same time.
    pub lock: Option<Arc<dyn RefreshLock>>,
    /// The scope of the lock if the configuration names no account: the replicas of one step.
    pub lock_scope: String,
}

impl fmt::Debug for SessionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConfig")
            .field("mode", &self.mode)
            .field("lock", &self.lock.is_some())
            .finish_non_exhaustive()
    }
}

/// What a session has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionMetrics {
    /// Refreshes that got a token.
    pub refreshes: u64,
    /// Refreshes that failed.
    pub failures: u64,
    /// Tokens that another replica or the user saved in the meantime.
    pub adopted: u64,
    /// Rotated refresh tokens whose first save failed.
    pub unsaved: u64,
    /// Tokens with fewer scopes than the previous one.
    pub narrowed: u64,
}
