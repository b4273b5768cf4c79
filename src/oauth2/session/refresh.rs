//! A refresh, from the look into the store to the token that everyone may use: lock, read again, exchange, merge, save.

use super::{
    super::{
        ErrorClass, ExchangeError, LockError, LockGuard, StoreError, TokenRecord, TokenResponse,
        endpoint::TIME_LIMIT, token::keys_for,
    },
    CredentialStore, Error, Inner, Mode, Setup, Token, Why,
    save::{self, Unsaved, is_gone},
    state::Times,
};
use serde_json::{Map, Value};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep, timeout};

/// Tries of one exchange, all with the same refresh token.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles, with jitter.
const PAUSE: Duration = Duration::from_millis(250);
/// A provider that asks for a longer pause is not waited for within a refresh.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pauses before looking whether another replica has saved the token that ours was superseded by, and before looking
/// again for a credential that is not there.
pub(super) const LOOKS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];
/// How long another replica may take with the lock.
const LOCK_WAIT: Duration = Duration::from_secs(345);
/// How long the store may take to be read, with all looks.
const READ: Duration = Duration::from_secs(15);
/// What was read this long ago is read again before a refresh token is spent: the process may have stood still, and its
/// lock have gone without its knowing.
const LATE: Duration = Duration::from_secs(5);
/// A refresh token that ends within this time is worth a word to the operator.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

// Who waits for the lock waits longer than its holder needs for all its tries and savings (token-failures: T4, T6).
const _: () = {
    let tries = TRIES as u64 * (READ.as_secs() + TIME_LIMIT.as_secs())
        + (TRIES as u64 - 1) * LONGEST_PAUSE.as_secs();
    let looks = LOOKS.len() as u64 * (READ.as_secs() + 2);
    assert!(LOCK_WAIT.as_secs() > tries + save::AT_MOST.as_secs());
    assert!(LOCK_WAIT.as_secs() > tries + looks);
};
/// Why an exchange brought nothing.
enum Failed {
    Refused(ExchangeError),
    /// Another process has spent it meanwhile, and this is what it got.
    Superseded(Arc<Token>),
    /// It was not sent, for this reason.
    Unsent(Error),
}

/// What a provider gave, and when it was asked.
struct Exchanged {
    answer: TokenResponse,
    asked: Instant,
    asked_at: SystemTime,
}

impl Inner {
    pub(super) async fn refresh(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        why: Why,
    ) -> Result<Arc<Token>, Error> {
        let setup = self.setup(&**store)?;
        let result = match setup.resolved.mode {
            Mode::PlatformSecret => self.refresh_secret(store, why).await,
            _ => self.refresh_account(store, &setup, why).await,
        };
        let mut state = self.state();
        match &result {
            Ok(_) => state.unbar(),
            Err(error) => {
                self.counters.failures.fetch_add(1, Ordering::Relaxed);
                state.bar(error);
                tracing::warn!("The access token could not be refreshed: {error}");
            }
        }
        result
    }

    async fn refresh_account(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        why: Why,
    ) -> Result<Arc<Token>, Error> {
        let mut held = self.lock(store, setup).await?;
        let result = self.refresh_locked(store, setup, why, &mut held).await;
        self.unlock(held);
        result
    }

    async fn refresh_locked(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        why: Why,
        held: &mut Option<Box<dyn LockGuard>>,
    ) -> Result<Arc<Token>, Error> {
        let mut known = self.state().token.clone();
        let mut looked = Instant::now();
        let mut stored = self.stored(store, setup).await?;
        loop {
            let base = match stored {
                Some(found) if why != Why::Access && !is_spent(&found, known.as_deref()) => {
                    tracing::info!(
                        "Another process has refreshed the access token; its token is used"
                    );
                    return Ok(found);
                }
                Some(found) => found,
                None => known.ok_or_else(|| Error::ReauthRequired("there are no tokens".into()))?,
            };
            if let Some(error) = self.state().is_dead(&base.record) {
                return Err(error);
            }
            // With the tokens from elsewhere other fields may have come.
            let setup = self.setup(&**store)?;
            match self
                .exchange(store, &setup, &base.record, held.as_deref(), looked)
                .await
            {
                Ok(exchanged) => {
                    return self
                        .keep(store, &setup, &base, exchanged, held.take())
                        .await;
                }
                Err(Failed::Refused(failure)) => {
                    return self.recover(store, &setup, &base, failure).await;
                }
                Err(Failed::Superseded(theirs)) => {
                    (known, stored, looked) = (Some(base), Some(theirs), Instant::now());
                }
                Err(Failed::Unsent(error)) => return Err(error),
            }
        }
    }

    /// The token that the store has now, if it is one that this process has never had.
    async fn stored(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
    ) -> Result<Option<Arc<Token>>, Error> {
        match reread(store, &setup.resolved.field).await {
            Ok(Some(config)) => match TokenRecord::find(&config, &setup.resolved.field) {
                Some(record) if self.state().knows(&record) => Ok(None),
                Some(record) => Ok(Some(self.adopt(&**store, setup, record, &config))),
                // Who has disconnected does not want new tokens.
                None => Err(Error::ReauthRequired("its tokens were taken away".into())),
            },
            Ok(None) => Ok(None),
            Err(error) if error.gone => {
                Err(Error::ReauthRequired(format!("it was removed ({error})")))
            }
            // Where nothing can be read nothing can be saved: no time to spend a refresh token that may be the last.
            Err(error) if self.state().rotates != Some(false) => {
                let reason =
                    format!("whether another process has refreshed it cannot be seen: {error}");
                Err(Error::Unavailable {
                    reason,
                    retry_after: None,
                })
            }
            Err(error) => {
                tracing::warn!("The stored credential cannot be read before the refresh: {error}");
                Ok(None)
            }
        }
    }

    /// Makes a record from elsewhere the current one, for the configuration of the next messages too, with the
    /// credential's other fields in `config`.
    pub(super) fn adopt(
        &self,
        store: &dyn CredentialStore,
        setup: &Setup,
        record: TokenRecord,
        config: &Value,
    ) -> Arc<Token> {
        self.counters.adopted.fetch_add(1, Ordering::Relaxed);
        let token = self.state().adopt(record, setup.resolved.profile.margin);
        store.remember(&self.keys(config, setup, &token.record));
        token
    }

    /// The record as it is saved: with the credential's other fields, which some stores would drop otherwise.
    pub(super) fn keys(
        &self,
        config: &Value,
        setup: &Setup,
        record: &TokenRecord,
    ) -> Map<String, Value> {
        keys_for(
            config,
            &self.credential_fields(),
            &setup.resolved.field,
            record,
        )
    }

    async fn lock(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
    ) -> Result<Option<Box<dyn LockGuard>>, Error> {
        // LockGuard since a token that is not saved yet.
        if let Some(held) = self.take_held().filter(|held| held.is_held()) {
            return Ok(Some(held));
        }
        let Some(lock) = &self.tools.lock else {
            return Ok(None);
        };
        let config = store.config();
        let account = config
            .get("_account")
            .and_then(Value::as_str)
            .unwrap_or(&self.tools.owner);
        let name = format!("{account}:{}", setup.resolved.field.join("."));
        match lock.acquire(&name, LOCK_WAIT).await {
            Ok(held) => Ok(Some(held)),
            Err(LockError::Unsupported(reason)) => {
                tracing::warn!("Tokens are refreshed without a lock: {reason}");
                Ok(None)
            }
            Err(error) if self.state().rotates == Some(false) => {
                tracing::warn!(
                    "A token that does not rotate is refreshed without the lock: {error}"
                );
                Ok(None)
            }
            Err(error) => Err(Error::Unavailable {
                reason: error.to_string(),
                retry_after: None,
            }),
        }
    }

    /// Spends the refresh token. What passes is tried again with the same one: an answer that was lost may come again
    /// from a provider with a grace period (token-failures: T8). What is stored was `looked` at before.
    async fn exchange(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        record: &TokenRecord,
        held: Option<&dyn LockGuard>,
        mut looked: Instant,
    ) -> Result<Exchanged, Failed> {
        let Some(endpoint) = &setup.endpoint else {
            return Err(Failed::Unsent(Error::Config(
                "tokens are refreshed by the platform here".into(),
            )));
        };
        let Some(refresh_token) = record.refresh_token() else {
            let reason =
                "the access token has expired or was rejected, and there is no refresh token";
            return Err(Failed::Unsent(Error::ReauthRequired(reason.into())));
        };
        let mut lost = false;
        let mut pause = PAUSE;
        let mut tries = 0;
        loop {
            if tries > 0 || looked.elapsed() > LATE {
                looked = Instant::now();
                if let Some(theirs) = self.stored(store, setup).await.map_err(Failed::Unsent)? {
                    return Err(Failed::Superseded(theirs));
                }
            }
            if held.is_some_and(|held| !held.is_held()) {
                let reason = "the lock was lost before the refresh token was sent".to_owned();
                return Err(Failed::Unsent(Error::Unavailable {
                    reason,
                    retry_after: None,
                }));
            }
            let (asked, asked_at) = (Instant::now(), SystemTime::now());
            let mut failure = match endpoint.refresh(refresh_token, record.scope()).await {
                Ok(answer) => {
                    return Ok(Exchanged {
                        answer,
                        asked,
                        asked_at,
                    });
                }
                Err(failure) => failure,
            };
            tries += 1;
            lost |= failure.outcome_unknown;
            failure.outcome_unknown = lost;
            let wait = failure
                .retry_after
                .unwrap_or_else(|| pause.mul_f64(0.5 + fastrand::f64()));
            if failure.class != ErrorClass::Transient || tries == TRIES || wait > LONGEST_PAUSE {
                return Err(Failed::Refused(failure));
            }
            tracing::warn!("The token endpoint will be asked again: {failure}");
            sleep(wait).await;
            pause *= 2;
        }
    }

    /// The provider did not give a token. A refresh token that is refused may have been spent by another process, whose
    /// token is in the store then, or soon will be (token-failures: T1).
    async fn recover(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        base: &Arc<Token>,
        failure: ExchangeError,
    ) -> Result<Arc<Token>, Error> {
        // An answer that nobody understands says nothing of the refresh token, however often it comes.
        if failure.class == ErrorClass::Reauth {
            for pause in LOOKS {
                sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
                match self.stored(store, setup).await {
                    Ok(Some(found)) if !is_spent(&found, Some(base)) => return Ok(found),
                    // Whether it is dead is not known then.
                    Err(error) => return Err(error),
                    Ok(_) => {}
                }
            }
            let rotates = self.state().rotates != Some(false);
            let why = match failure.code.as_deref() {
                _ if failure.outcome_unknown => {
                    ": an earlier answer was lost on its way, and the token in it with that (outcome unknown)"
                }
                Some("invalid_grant") if rotates => {
                    ": it was revoked or has expired, or a process ended before it could save what it was replaced by"
                }
                _ => "",
            };
            let error = Error::ReauthRequired(format!("{failure}{why}"));
            self.state().bury(&base.record, &error);
            return Err(error);
        }
        Err(match failure.class {
            ErrorClass::Config => Error::Config(failure.to_string()),
            _ => Error::Unavailable {
                reason: failure.to_string(),
                retry_after: failure.retry_after,
            },
        })
    }

    /// Merges the answer, saves the whole record, and only then makes it the current one.
    async fn keep(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        base: &Arc<Token>,
        exchanged: Exchanged,
        held: Option<Box<dyn LockGuard>>,
    ) -> Result<Arc<Token>, Error> {
        let Exchanged {
            answer,
            asked,
            asked_at,
        } = exchanged;
        let record = base.record.merged(&answer, asked_at);
        self.counters.refreshes.fetch_add(1, Ordering::Relaxed);
        self.warn_of_narrower_scope(base.record.scope(), answer.scope.as_deref());
        if let Some(kind) = answer.unknown_type(&setup.resolved.profile) {
            self.strange_type.call_once(|| {
                tracing::warn!(
                    "The provider calls its access token {kind}, of a kind that its profile does not know; it is sent as \
                     the profile says. `token_types` of a profile names those that are expected"
                );
            });
        }
        let rotated = record.refresh_token() != base.record.refresh_token();
        let times = Times::new(asked, answer.lifetime, setup.resolved.profile.margin);
        {
            let mut state = self.state();
            state.rotates = Some(rotated);
            state.expect(&record);
        }
        if let Some(theirs) = self
            .save(
                store,
                setup,
                Unsaved {
                    record: record.clone(),
                    rotated,
                    held,
                },
            )
            .await?
        {
            return Ok(theirs);
        }
        if let Some(end) = record.refresh_expires_at()
            && end
                .duration_since(SystemTime::now())
                .is_ok_and(|left| left < ENDS_SOON)
        {
            tracing::warn!(
                "The refresh token ends within days; if no refresh comes before, the user has to connect again"
            );
        }
        tracing::info!(rotated, "The access token was refreshed");
        Ok(self.state().put(record, times))
    }

    fn warn_of_narrower_scope(&self, before: Option<&str>, now: Option<&str>) {
        let (Some(before), Some(now)) = (before, now) else {
            return;
        };
        let scopes = |text: &str| {
            text.split([' ', ','])
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let now = scopes(now);
        let lost = scopes(before)
            .into_iter()
            .filter(|scope| !now.contains(scope))
            .collect::<Vec<_>>();
        if !lost.is_empty() {
            self.counters.narrowed.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "The new access token lacks scopes that the one before had: {}",
                lost.join(" ")
            );
        }
    }
}

/// What is stored. That a credential is not there any more is believed when several looks agree.
async fn reread(
    store: &Arc<dyn CredentialStore>,
    field: &[String],
) -> Result<Option<Value>, StoreError> {
    let looks = async {
        let mut found = store.reread().await;
        for pause in LOOKS {
            if !is_gone(&found, field) {
                break;
            }
            sleep(pause).await;
            found = store.reread().await;
        }
        found
    };
    let late = |_| Err(StoreError::passing("the platform does not answer"));
    timeout(READ, looks).await.unwrap_or_else(late)
}

/// Whether a token is of no use to someone who could not use `before`.
fn is_spent(found: &Token, before: Option<&Token>) -> bool {
    found.record.access_token().is_none()
        || found.is_expired()
        || before.is_some_and(|before| before.record.access_token() == found.record.access_token())
}
