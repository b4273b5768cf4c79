//! One credential: which token is current, and the one place that refreshes it.
//!
//! At most one refresh runs at a time, in a task of its own: a caller that goes away stops nothing, and everyone who
//! needs a token waits for the same one. A request carries the generation of the token it was sent with; who comes back
//! with a rejected one gets a later generation or an error, never the same again (token-failures: T15, T16, T44).

mod refresh;
mod save;
mod secret;
mod state;

pub(crate) use state::Token;

use super::{
    AuthorizedClient, CredentialStore, Error, Mode, OAuth2, RefreshLock, TokenRecord,
    endpoint::TokenEndpoint, resolve::ResolvedConfig, token::normalised_unless,
};
use crate::settings::descriptor::Descriptor;
use futures_util::FutureExt;
use save::Unsaved;
use serde_json::{Map, Value};
use state::{Refreshing, State};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, Once, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

/// A token rejected within this time of its coming was not expired (token-failures: T39).
const FRESH: Duration = Duration::from_secs(60);
/// How many fresh tokens in a row may be rejected before rejected ones are not refreshed for [`FRESH`]; with each one
/// after that twice as long.
const REJECTIONS: u32 = 3;
/// The longest of these pauses: a user who connects again meanwhile is seen after it.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

/// What is taken for a token that somebody repeats.
const SHORTEST_TOKEN: usize = 8;

/// The value of an environment variable, by its name.
pub type Environment = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What a session works with.
#[derive(Clone)]
pub struct SessionConfig {
    /// For the API and the token endpoint. It must follow no redirects: it would take tokens along.
    pub direct: reqwest::Client,
    /// Where `{{NAME}}` templates look.
    pub environment: Environment,
    /// `ELASTICIO_OAUTH_MODE`: instead of the component's mode.
    pub mode: Option<Mode>,
    /// Keeps replicas from refreshing at once, where there is one.
    pub lock: Option<Arc<dyn RefreshLock>>,
    /// Who shares the credential when the configuration names no account: the replicas of one step.
    pub owner: String,
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
pub struct Counts {
    /// Refreshes that brought a token.
    pub refreshes: u64,
    /// Refreshes that did not.
    pub failures: u64,
    /// Tokens that another replica, or the user, had brought in the meantime.
    pub adopted: u64,
    /// Rotated refresh tokens that could not be saved at once.
    pub unsaved: u64,
    /// Tokens with fewer scopes than before.
    pub narrowed: u64,
}

#[derive(Default)]
struct Counters {
    refreshes: AtomicU64,
    failures: AtomicU64,
    adopted: AtomicU64,
    unsaved: AtomicU64,
    narrowed: AtomicU64,
}

/// As long as it is held no other credentials of the session are saved.
pub(crate) type Turn<'a> = tokio::sync::MutexGuard<'a, ()>;

/// One credential and everything that keeps it alive. Clones are handles to the same one.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tools", &self.0.tools)
            .finish_non_exhaustive()
    }
}

struct Inner {
    definition: OAuth2,
    descriptor: Descriptor,
    tools: SessionConfig,
    /// And the configuration that it is of.
    setup: Mutex<Option<(Arc<Value>, Arc<Setup>)>>,
    state: Mutex<State>,
    unsaved: Mutex<Option<Unsaved>>,
    /// For the one warning of a type of tokens that the profile does not know.
    strange_type: Once,
    /// LockGuard from the look at what is stored to the end of a saving.
    saving: tokio::sync::Mutex<()>,
    /// Refreshes and savings, whoever waits for them.
    tasks: TaskTracker,
    stopping: CancellationToken,
    counters: Counters,
}

/// What follows from the configuration: known with the first request, and again when the credential's other fields
/// change.
pub(in crate::oauth2) struct Setup {
    pub(in crate::oauth2) resolved: ResolvedConfig,
    /// What it follows from.
    fields: Map<String, Value>,
    /// None where the platform refreshes.
    endpoint: Option<TokenEndpoint>,
}

/// Why a token is wanted that is not the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// None is known yet.
    First,
    /// Each access gets a new one.
    Access,
    /// The current one will expire soon, or has.
    Expiry,
    /// The API has rejected the current one.
    Rejected,
}

impl Session {
    /// A session for the credential that `definition` and component.json describe. Nothing is read or sent before the
    /// first request.
    #[must_use]
    pub fn new(definition: OAuth2, descriptor: Descriptor, tools: SessionConfig) -> Self {
        Self(Arc::new(Inner {
            definition,
            descriptor,
            tools,
            setup: Mutex::default(),
            state: Mutex::default(),
            unsaved: Mutex::default(),
            strange_type: Once::new(),
            saving: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
            counters: Counters::default(),
        }))
    }

    /// A client for requests of one message or call, whose `store` is where refreshed tokens are saved.
    #[must_use]
    pub fn client(&self, store: Arc<dyn CredentialStore>) -> AuthorizedClient {
        AuthorizedClient::new(self.clone(), store)
    }

    /// What the session has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Counters {
            refreshes,
            failures,
            adopted,
            unsaved,
            narrowed,
        } = &self.0.counters;
        Counts {
            refreshes: of(refreshes),
            failures: of(failures),
            adopted: of(adopted),
            unsaved: of(unsaved),
            narrowed: of(narrowed),
        }
    }

    /// True while a rotated refresh token is in this process only.
    #[must_use]
    pub fn has_unsaved_rotation(&self) -> bool {
        self.0
            .unsaved()
            .as_ref()
            .is_some_and(|unsaved| unsaved.rotated)
    }

    /// Waits for refreshes that are under way; what could not be saved is tried once more. Sessions that are closed
    /// refresh nothing any more.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the tasks running; call it again to go on waiting.
    pub async fn close(&self) {
        self.0.stopping.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Puts credentials that a module emits into the shape in which they are stored, whatever shape of those that
    /// components use they have (token-failures: Tokens on the platform), and holds up other savings until the guard is dropped. Tokens among them that
    /// are known do not count: since the module has read them a refresh, here or elsewhere, may have replaced them.
    pub(crate) async fn normalised(
        &self,
        keys: Map<String, Value>,
        store: &dyn CredentialStore,
    ) -> (Map<String, Value>, Turn<'_>) {
        let inner = &self.0;
        let turn = inner.saving.lock().await;
        let Ok(setup) = inner.setup(store) else {
            return (keys, turn);
        };
        let config = inner.latest(store, &setup).await;
        let old = |sent: &TokenRecord| inner.state().knows(sent);
        let keys = normalised_unless(
            old,
            keys,
            &config,
            &setup.resolved.field,
            &inner.credential_fields(),
        );
        (keys, turn)
    }

    pub(super) fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<Setup>, Error> {
        self.0.setup(store)
    }

    pub(super) fn tools(&self) -> &SessionConfig {
        &self.0.tools
    }

    /// The token that is current as far as is known without asking anyone.
    pub(super) fn known(
        &self,
        store: &Arc<dyn CredentialStore>,
    ) -> Result<Option<Arc<Token>>, Error> {
        self.0.current(&**store)
    }

    /// A text of the API's without the tokens that it may repeat: the current ones, and those it was `sent`.
    pub(super) fn redacted(&self, mut text: String, sent: &Token) -> String {
        let current = self.0.state().token.clone();
        for record in current
            .iter()
            .map(|token| &token.record)
            .chain([&sent.record])
        {
            for secret in [record.access_token(), record.refresh_token()]
                .into_iter()
                .flatten()
            {
                text = without(text, secret);
                // As some write JSON.
                text = without(text, &secret.replace('/', "\\/"));
            }
        }
        text
    }

    /// The token to send a request with.
    pub(crate) async fn token(
        &self,
        store: &Arc<dyn CredentialStore>,
    ) -> Result<Arc<Token>, Error> {
        let inner = &self.0;
        let mode = inner.setup(&**store)?.resolved.mode;
        let Some(current) = inner.current(&**store)? else {
            return inner.begin(store, Why::First, 0)?.finish().await;
        };
        let known = current.generation;
        match mode {
            Mode::EveryAccess => inner.begin(store, Why::Access, u64::MAX)?.finish().await,
            _ if current.record.access_token().is_none() => {
                inner.begin(store, Why::Expiry, known)?.finish().await
            }
            Mode::Expiry if current.is_expired() => {
                inner.begin(store, Why::Expiry, known)?.finish().await
            }
            Mode::Expiry if current.is_due() => {
                // In the background: this token is still good, and the next request will find the new one.
                let _ = inner.begin(store, Why::Expiry, known);
                Ok(current)
            }
            _ => Ok(current),
        }
    }

    /// A token later than `rejected`, which the API has refused.
    pub(crate) async fn renew(
        &self,
        store: &Arc<dyn CredentialStore>,
        rejected: &Token,
    ) -> Result<Arc<Token>, Error> {
        let inner = &self.0;
        // Another one may be in the configuration by now.
        inner.current(&**store)?;
        let begun = inner
            .begin(store, Why::Rejected, rejected.generation)?
            .finish()
            .await?;
        if begun.generation <= rejected.generation {
            return Err(Error::TokenRejected(
                "there is no other one than that which it has just refused".into(),
            ));
        }
        Ok(begun)
    }

    /// The API has taken this token; with `at_last`, for a request that it had refused before.
    pub(crate) fn accepted(&self, token: &Token, at_last: bool) {
        let mut state = self.0.state();
        state.accepted = state.accepted.max(token.generation);
        if at_last {
            state.trust();
        }
    }
}

/// A text without a token, nor the beginning of one that the text ends in.
fn without(text: String, secret: &str) -> String {
    // What is shorter is no token, and stands in any text.
    if secret.len() < SHORTEST_TOKEN {
        return text;
    }
    let mut text = text.replace(secret, "[token]");
    let beginnings = (SHORTEST_TOKEN..secret.len())
        .rev()
        .filter_map(|end| secret.get(..end));
    if let Some(cut) = beginnings.into_iter().find(|cut| text.ends_with(cut)) {
        text.truncate(text.len() - cut.len());
        text.push_str("[token]");
    }
    text
}

/// A token, now or later.
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

    fn setup(&self, store: &dyn CredentialStore) -> Result<Arc<Setup>, Error> {
        let config = store.config();
        let mut known = self.setup.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, setup)) = &mut *known {
            if !Arc::ptr_eq(seen, &config)
                && self
                    .fields(&setup.resolved.field, &config)
                    .eq(&setup.fields)
            {
                *seen = config.clone();
            }
            if Arc::ptr_eq(seen, &config) {
                return Ok(setup.clone());
            }
        }
        let environment = &*self.tools.environment;
        let resolved = self
            .definition
            .resolve(&self.descriptor, &config, self.tools.mode, &|name| {
                environment(name)
            })
            .map_err(|error| Error::Config(error.to_string()))?;
        let endpoint = TokenEndpoint::new(self.tools.direct.clone(), &resolved);
        let fields = self.fields(&resolved.field, &config);
        let setup = Arc::new(Setup {
            fields: fields.map(|(k, v)| (k.clone(), v.clone())).collect(),
            resolved,
            endpoint,
        });
        *known = Some((config, setup.clone()));
        Ok(setup)
    }

    /// What a setup follows from, of a configuration: the credential's fields without the tokens, and who keeps these.
    fn fields<'a>(
        &'a self,
        tokens: &'a [String],
        config: &'a Value,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        let declared = self.credential_fields();
        let members = config.as_object().into_iter().flatten();
        members.filter(move |(name, _)| {
            tokens.first() != Some(name)
                && (declared.contains(&name.as_str()) || *name == "secretId")
        })
    }

    /// The names of the credential's fields in component.json.
    fn credential_fields(&self) -> Vec<&str> {
        self.descriptor
            .credentials
            .iter()
            .flat_map(|c| c.fields.keys())
            .map(String::as_str)
            .collect()
    }

    /// The current token; none where the platform keeps it and has not been asked yet.
    fn current(&self, store: &dyn CredentialStore) -> Result<Option<Arc<Token>>, Error> {
        let setup = self.setup(store)?;
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
            // A module may have emitted new keys itself.
            if let Some(record) = TokenRecord::find(&config, &resolved.field)
                && !state.knows(&record)
            {
                state.adopt(record, resolved.profile.margin);
            }
            state.seen = Some(config);
        }
        if state.token.is_none() {
            return Err(Error::ReauthRequired(format!(
                "the configuration has no tokens in its field `{}`",
                resolved.field.join(".")
            )));
        }
        Ok(state.token.clone())
    }

    /// Joins the refresh that is under way, or begins one, unless there is a token later than `known` already.
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
                let reason =
                    "refreshing it was broken off by a panic; the log has the place".to_owned();
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

    /// Tokens that are rejected as soon as they come are not mended by still another one, whether the API rejects all of
    /// them or only some requests. A token that the API has taken for a while is always worth a refresh.
    fn count_rejection(state: &mut State) -> Result<(), Error> {
        let now = Instant::now();
        let has_proved_good = state.token.as_ref().is_none_or(|token| {
            let age = now.saturating_duration_since(token.times.received);
            token.generation <= 1 || (token.generation == state.accepted && age >= FRESH)
        });
        if has_proved_good || state.refused_until.take_if(|until| *until <= now).is_some() {
            return Ok(());
        }
        let reason = "several that the provider has just given; check the API's address, the user's rights and the scopes";
        let error = Error::TokenRejected(reason.into());
        if state.refused_until.is_some() {
            return Err(error);
        }
        state.rejections = state.rejections.saturating_add(1);
        let Some(over) = state.rejections.checked_sub(REJECTIONS + 1) else {
            return Ok(());
        };
        let pause = FRESH.saturating_mul(1 << over.min(8)).min(LONGEST_REFUSAL);
        state.refused_until = Some(now + pause);
        tracing::error!(pause_s = pause.as_secs(), "{error}");
        Err(error)
    }
}

/// Takes a refresh off the session when it ends, by a panic too.
struct Done(Arc<Inner>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.state().refreshing = None;
    }
}
