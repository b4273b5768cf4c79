//! A session: one OAuth2 credential in this process, with its current token and its refreshes.
//!
//! At most one refresh runs at a time, in a task of its own. A caller that is dropped does not stop it, and all callers
//! that need a token wait for the same refresh. A request knows the generation of its token. After a rejection it gets
//! a token of a later generation or an error, never the rejected token (token-failures: T15, T16, T44).

mod metrics;
mod redact;
mod refresh;
mod save;
mod secret;
mod setup;
mod state;

pub use metrics::SessionMetrics;
pub(super) use setup::CredentialSetup;
pub(super) use state::Token;

use super::{
    AuthorizedClient, CredentialStore, Error, Mode, OAuth2, RefreshLock, TokenRecord,
    access::Access, token_record::normalize_keys,
};
use crate::{clients::retry::RetryPolicy, settings::descriptor::Descriptor};
use futures_util::FutureExt;
use metrics::Recorded;
use redact::without_tokens;
use save::Unsaved;
use serde_json::{Map, Value};
use state::{Refreshing, State};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, Once, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// A token that is rejected within this time of its arrival was not expired (token-failures: T39).
const FRESH: Duration = Duration::from_secs(60);
/// After this many rejected fresh tokens in a row, rejected tokens are not refreshed for [`FRESH`]. Each further
/// rejection doubles this delay.
const REJECTIONS: u32 = 3;
/// The longest of these delays. It limits how long a user who connects again has to wait.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

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

/// While it is held, no other keys of the session are saved.
pub(crate) type SaveGuard<'a> = tokio::sync::MutexGuard<'a, ()>;

/// One credential in this process, with its current token and its refreshes. Clones are handles to the same session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

struct Inner {
    definition: OAuth2,
    descriptor: Descriptor,
    config: SessionConfig,
    /// The setup, and the configuration that it was resolved from.
    setup: Mutex<Option<(Arc<Value>, Arc<CredentialSetup>)>>,
    state: Mutex<State>,
    unsaved: Mutex<Option<Unsaved>>,
    /// Limits the warning about a token type that the profile does not list to one.
    unknown_type: Once,
    /// Held from reading the stored credential to the end of a save.
    saving: tokio::sync::Mutex<()>,
    /// The tasks that refresh and save. They do not depend on their callers.
    tasks: TaskTracker,
    stopping: CancellationToken,
    metrics: Recorded,
}

/// Why a request needs another token than the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// No token is known yet.
    First,
    /// Every request gets a new token.
    Access,
    /// The current token expires soon, or has expired.
    Expiry,
    /// The API rejected the current token.
    Rejected,
}

impl Session {
    /// Creates a session for the credential that `definition` and component.json describe. It reads and sends nothing
    /// before the first request.
    #[must_use]
    pub fn new(definition: OAuth2, descriptor: Descriptor, config: SessionConfig) -> Self {
        Self(Arc::new(Inner {
            definition,
            descriptor,
            config,
            setup: Mutex::default(),
            state: Mutex::default(),
            unsaved: Mutex::default(),
            unknown_type: Once::new(),
            saving: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            metrics: Recorded::default(),
        }))
    }

    /// Returns a client for the requests of one message or call. Refreshed tokens are saved in `store`.
    #[must_use]
    pub fn client(&self, store: Arc<dyn CredentialStore>) -> AuthorizedClient {
        AuthorizedClient::new(self.clone(), store)
    }

    /// Returns what the session has done so far.
    #[must_use]
    pub fn metrics(&self) -> SessionMetrics {
        self.0.metrics.get()
    }

    /// Returns true while a rotated refresh token is not saved yet, so that only this process has it.
    #[must_use]
    pub fn has_unsaved_rotation(&self) -> bool {
        self.0
            .unsaved()
            .as_ref()
            .is_some_and(|unsaved| unsaved.rotated)
    }

    /// Waits for running refreshes, and tries once more to save an unsaved token. A closed session does not refresh.
    ///
    /// # Cancel safety
    /// Cancel safe: the tasks continue, and another call waits for them.
    pub async fn close(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Turns the keys that a module emits into the keys to store. Accepts each of the usual shapes (token-failures:
    /// Tokens on the platform). Other saves wait until the guard is dropped.
    ///
    /// If the session knows the emitted tokens, they are outdated: a refresh may have replaced them since the module
    /// read them.
    pub(crate) async fn normalize_keys(
        &self,
        keys: Map<String, Value>,
        store: &dyn CredentialStore,
    ) -> (Map<String, Value>, SaveGuard<'_>) {
        let inner = &self.0;
        let guard = inner.saving.lock().await;
        let Ok(setup) = inner.setup(store) else {
            return (keys, guard);
        };
        let config = inner.latest(store, &setup).await;
        let is_outdated = |sent: &TokenRecord| inner.state().knows(sent);
        let keys = normalize_keys(
            is_outdated,
            keys,
            &config,
            &setup.resolved.field,
            &inner.credential_fields(),
        );
        (keys, guard)
    }

    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<CredentialSetup>, Error> {
        self.0.setup(store)
    }

    pub(super) fn config(&self) -> &SessionConfig {
        &self.0.config
    }

    /// Returns the current token if it is known without waiting. `None` if the platform keeps the token and this
    /// process has not read it yet.
    pub(super) fn current_token(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
    ) -> Result<Option<Arc<Token>>, Error> {
        self.0.current(&**store, setup)
    }

    /// Removes tokens from a text of the API, which may repeat them: the current tokens and those of the request.
    pub(super) fn redacted(&self, text: String, sent: &Token) -> String {
        let current = self.0.state().token.clone();
        let current = current.iter().map(|token| &token.record);
        without_tokens(text, current.chain([&sent.record]))
    }

    /// Returns the token to send a request with: the current token, or a new one if it has expired.
    pub(super) async fn usable_token(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: Arc<CredentialSetup>,
        current: Option<Arc<Token>>,
    ) -> Result<Access, Error> {
        let inner = &self.0;
        let (why, known) = match (setup.resolved.mode, current) {
            (_, None) => (Why::First, 0),
            (Mode::EveryAccess, Some(_)) => (Why::Access, u64::MAX),
            (mode, Some(current)) => {
                let known = current.generation;
                let is_expired = mode == Mode::Expiry && current.is_expired();
                if current.record.access_token().is_some() && !is_expired {
                    if mode == Mode::Expiry && current.is_due() {
                        // Refresh in the background: this token is still valid, and the next request uses the new one.
                        let _ = inner.begin(store, Why::Expiry, known);
                    }
                    let token = current;
                    return Ok(Access { setup, token });
                }
                (Why::Expiry, known)
            }
        };
        let token = inner.begin(store, why, known)?.finish().await?;
        self.access(store, token)
    }

    /// Returns a token later than `rejected`, which the API has rejected.
    pub(super) async fn refresh_rejected(
        &self,
        store: &Arc<dyn CredentialStore>,
        rejected: &Token,
    ) -> Result<Access, Error> {
        let inner = &self.0;
        // The configuration may contain another token by now.
        inner.current(&**store, &*inner.setup(&**store)?)?;
        let token = inner
            .begin(store, Why::Rejected, rejected.generation)?
            .finish()
            .await?;
        if token.generation <= rejected.generation {
            return Err(Error::TokenRejected(
                "no newer token is available than the one it rejected".into(),
            ));
        }
        self.access(store, token)
    }

    /// Reads the setup again: other fields, such as the API's address, can have changed together with the token.
    fn access(&self, store: &Arc<dyn CredentialStore>, token: Arc<Token>) -> Result<Access, Error> {
        let setup = self.setup(&**store)?;
        Ok(Access { setup, token })
    }

    /// Notes that the API accepted this token. `after_refresh` says that it had rejected the request's first token.
    pub(super) fn token_accepted(&self, token: &Token, after_refresh: bool) {
        let mut state = self.0.state();
        state.accepted = state.accepted.max(token.generation);
        if after_refresh {
            state.trust();
        }
    }
}

/// A token, or the refresh that will return it.
enum Begun {
    Newer(Arc<Token>),
    Running(Refreshing),
}

impl Begun {
    async fn finish(self) -> Result<Arc<Token>, Error> {
        match self {
            Self::Newer(token) => Ok(token),
            Self::Running(refreshing) => refreshing.await,
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current token. `None` if the platform keeps the token and this process has not read it yet.
    fn current(
        &self,
        store: &dyn CredentialStore,
        setup: &CredentialSetup,
    ) -> Result<Option<Arc<Token>>, Error> {
        let resolved = &setup.resolved;
        let mut state = self.state();
        if resolved.mode == Mode::PlatformSecret {
            return Ok(state.token.clone());
        }
        let config = store.config();
        if !state
            .seen
            .as_ref()
            .is_some_and(|seen| Arc::ptr_eq(seen, &config))
        {
            // A module may have emitted new keys.
            if let Some(record) = TokenRecord::find(&config, &resolved.field)
                && !state.knows(&record)
            {
                state.adopt(record, resolved.profile.margin);
            }
            state.seen = Some(config);
        }
        if state.token.is_none() {
            return Err(Error::ReauthRequired(format!(
                "the configuration field `{}` contains no tokens",
                resolved.field.join(".")
            )));
        }
        Ok(state.token.clone())
    }

    /// Returns a token that is later than `known`. If there is none, joins the running refresh or starts one.
    fn begin(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        why: Why,
        known: u64,
    ) -> Result<Begun, Error> {
        let mut state = self.state();
        if let Some(token) = &state.token
            && token.generation > known
        {
            return Ok(Begun::Newer(token.clone()));
        }
        if let Some(refreshing) = &state.refreshing {
            return Ok(Begun::Running(refreshing.clone()));
        }
        if let Some(error) = state.barred() {
            return Err(error);
        }
        if why == Why::Rejected {
            Self::count_rejection(&mut state)?;
        }
        if self.stopping.is_cancelled() {
            let reason = "the process is stopping".to_owned();
            return Err(Error::Unavailable {
                reason,
                retry_after: None,
            });
        }
        let (inner, store) = (self.clone(), store.clone());
        let task = self.tasks.spawn(
            async move {
                let _done = Done(inner.clone());
                inner.refresh(&store, why).await
            }
            .in_current_span(),
        );
        let refreshing = async move {
            task.await.unwrap_or_else(|_| {
                let reason = "the refresh panicked; the log names the location".to_owned();
                Err(Error::Unavailable {
                    reason,
                    retry_after: None,
                })
            })
        };
        let refreshing = refreshing.boxed().shared();
        state.refreshing = Some(refreshing.clone());
        Ok(Begun::Running(refreshing))
    }

    /// Counts a rejected token. If the API rejects new tokens soon after they arrive, a refresh does not help. If it
    /// accepted a token for a while, a refresh is always worthwhile.
    fn count_rejection(state: &mut State) -> Result<(), Error> {
        let now = Instant::now();
        let has_proved_good = state.token.as_ref().is_none_or(|token| {
            let age = now.saturating_duration_since(token.times.received);
            token.generation <= 1 || (token.generation == state.accepted && age >= FRESH)
        });
        if has_proved_good || state.refused_until.take_if(|until| *until <= now).is_some() {
            return Ok(());
        }
        let reason = "it rejected several new tokens; check the API's address, the user's permissions and the scopes";
        let error = Error::TokenRejected(reason.into());
        if state.refused_until.is_some() {
            return Err(error);
        }
        state.rejections = state.rejections.saturating_add(1);
        let Some(over) = state.rejections.checked_sub(REJECTIONS + 1) else {
            return Ok(());
        };
        let pause = RetryPolicy::doubling(FRESH, LONGEST_REFUSAL).delay_after(over + 1);
        state.refused_until = Some(now + pause);
        tracing::error!(pause_s = pause.as_secs(), "{error}");
        Err(error)
    }
}

/// Removes a refresh from the session when it ends, also after a panic.
struct Done(Arc<Inner>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.state().refreshing = None;
    }
}
