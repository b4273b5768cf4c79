//! A refresh: takes the lock, reads the stored credential, exchanges the refresh token, merges and saves. Only then may
//! requests use the new token.

use super::{
    super::{
        LockError, LockGuard, StoreError, TokenRecord, exchange_error::ExchangeError,
        profile::ErrorClass, token_record::keys_with_record, token_request::TIME_LIMIT,
        token_response::TokenResponse,
    },
    CredentialSetup, CredentialStore, Error, Inner, Mode, Token, Why,
    save::{self, Unsaved, is_gone},
    state::Times,
};
use crate::clients::retry::RetryPolicy;
use serde_json::{Map, Value};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::time::{Instant, sleep, timeout};

/// Attempts of one exchange, all with the same refresh token.
const TRIES: u32 = 3;
/// The delay before the second attempt; it doubles, with jitter.
const DELAY: Duration = Duration::from_millis(250);
/// A refresh does not wait longer than this, even if the provider asks for a longer delay.
const MAX_DELAY: Duration = Duration::from_secs(5);
const RETRY: RetryPolicy = RetryPolicy::doubling(DELAY, MAX_DELAY)
    .with_attempts(TRIES)
    .with_jitter();
/// Delays before checking whether another replica has saved the token that replaces ours, and before checking again
/// whether a credential is really gone.
pub(super) const LOOKS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];
/// The longest time for which another replica may hold the lock.
const LOCK_WAIT: Duration = Duration::from_secs(345);
/// The longest time for reading the store, with all checks.
const READ: Duration = Duration::from_secs(15);
/// The stored credential is read again before the refresh token is spent if the last read is older than this: the
/// process may have stalled and lost its lock without noticing.
const LATE: Duration = Duration::from_secs(5);
/// The operator is warned if the refresh token expires within this time.
const ENDS_SOON: Duration = Duration::from_secs(7 * 24 * 3600);

// The wait for the lock is longer than its holder needs for all attempts and saves (token-failures: T4, T6).
const _: () = {
    let tries = TRIES as u64 * (READ.as_secs() + TIME_LIMIT.as_secs())
        + (TRIES as u64 - 1) * MAX_DELAY.as_secs();
    let looks = LOOKS.len() as u64 * (READ.as_secs() + 2);
    assert!(LOCK_WAIT.as_secs() > tries + save::AT_MOST.as_secs());
    assert!(LOCK_WAIT.as_secs() > tries + looks);
};

/// Why an exchange did not return a token.
enum Failed {
    Refused(ExchangeError),
    /// Another process has spent the refresh token in the meantime, and this is its token.
    Superseded(Arc<Token>),
    /// The refresh token was not sent.
    Unsent(Error),
}

/// The response of an exchange, and the time of its request.
struct Exchanged {
    response: TokenResponse,
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
                self.metrics.update(|metrics| metrics.failures += 1);
                state.bar(error);
                tracing::warn!("The access token could not be refreshed: {error}");
            }
        }
        result
    }

    async fn refresh_account(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
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
        setup: &CredentialSetup,
        why: Why,
        held: &mut Option<Box<dyn LockGuard>>,
    ) -> Result<Arc<Token>, Error> {
        let mut known = self.state().token.clone();
        let mut looked = Instant::now();
        let mut stored = self.stored(store, setup).await?;
        loop {
            let base = match stored {
                Some(found) if why != Why::Access && !is_spent(&found, known.as_deref()) => {
                    tracing::info!("Another process refreshed the access token; its token is used");
                    return Ok(found);
                }
                Some(found) => found,
                None => known.ok_or_else(|| Error::ReauthRequired("there are no tokens".into()))?,
            };
            if let Some(error) = self.state().is_dead(&base.record) {
                return Err(error);
            }
            // Another process may have saved other fields with its tokens.
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

    /// Returns the stored token if it is new to this process.
    async fn stored(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
    ) -> Result<Option<Arc<Token>>, Error> {
        match reload(store, &setup.resolved.field).await {
            Ok(Some(config)) => match TokenRecord::find(&config, &setup.resolved.field) {
                Some(record) if self.state().knows(&record) => Ok(None),
                Some(record) => Ok(Some(self.adopt(&**store, setup, record, &config))),
                // A user who has disconnected does not want new tokens.
                None => Err(Error::ReauthRequired(
                    "its tokens were removed from the account".into(),
                )),
            },
            Ok(None) => Ok(None),
            Err(error) if error.is_not_found() => {
                Err(Error::ReauthRequired(format!("it was removed ({error})")))
            }
            // If the store cannot be read, a save would fail too: do not spend what may be the last refresh token.
            Err(error) if self.state().rotates != Some(false) => {
                let reason = format!(
                    "the stored credential cannot be read, so another process may have refreshed it: {error}"
                );
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

    /// Makes another process's record the current one. The configuration of later messages gets it too, with the
    /// credential's other fields in `config`.
    pub(super) fn adopt(
        &self,
        store: &dyn CredentialStore,
        setup: &CredentialSetup,
        record: TokenRecord,
        config: &Value,
    ) -> Arc<Token> {
        self.metrics.update(|metrics| metrics.adopted += 1);
        let token = self.state().adopt(record, setup.resolved.profile.margin);
        store.update_local(&self.keys(config, setup, &token.record));
        token
    }

    /// Returns the keys to save: the record and the credential's other fields, because some stores replace the whole
    /// credential.
    pub(super) fn keys(
        &self,
        config: &Value,
        setup: &CredentialSetup,
        record: &TokenRecord,
    ) -> Map<String, Value> {
        keys_with_record(
            config,
            &self.credential_fields(),
            &setup.resolved.field,
            record,
        )
    }

    async fn lock(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
    ) -> Result<Option<Box<dyn LockGuard>>, Error> {
        // The lock is still held for an unsaved token.
        if let Some(held) = self.take_held().filter(|held| held.is_held()) {
            return Ok(Some(held));
        }
        let Some(lock) = &self.config.lock else {
            return Ok(None);
        };
        let config = store.config();
        let account = config
            .get("_account")
            .and_then(Value::as_str)
            .unwrap_or(&self.config.lock_scope);
        let name = format!("{account}:{}", setup.resolved.field.join("."));
        match lock.acquire(&name, LOCK_WAIT).await {
            Ok(held) => Ok(Some(held)),
            Err(LockError::Unsupported(reason)) => {
                tracing::warn!("Tokens are refreshed without a lock: {reason}");
                Ok(None)
            }
            Err(error) if self.state().rotates == Some(false) => {
                tracing::warn!(
                    "The lock is not available; the token is refreshed without it because it does not rotate: {error}"
                );
                Ok(None)
            }
            Err(error) => Err(Error::Unavailable {
                reason: error.to_string(),
                retry_after: None,
            }),
        }
    }

    /// Spends the refresh token, and sends it again after a transient failure: a provider with a grace period repeats a
    /// lost response (token-failures: T8). The store was last read at `looked`.
    async fn exchange(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
        record: &TokenRecord,
        held: Option<&dyn LockGuard>,
        mut looked: Instant,
    ) -> Result<Exchanged, Failed> {
        let Some(endpoint) = &setup.endpoint else {
            return Err(Failed::Unsent(Error::Config(
                "the platform refreshes the tokens".into(),
            )));
        };
        let Some(refresh_token) = record.refresh_token() else {
            let reason =
                "the access token has expired or was rejected, and there is no refresh token";
            return Err(Failed::Unsent(Error::ReauthRequired(reason.into())));
        };
        let mut lost = false;
        let mut delays = RETRY.delays();
        let mut is_retry = false;
        loop {
            if is_retry || looked.elapsed() > LATE {
                looked = Instant::now();
                if let Some(theirs) = self.stored(store, setup).await.map_err(Failed::Unsent)? {
                    return Err(Failed::Superseded(theirs));
                }
            }
            if held.is_some_and(|held| !held.is_held()) {
                let reason = "the lock was lost before the refresh".to_owned();
                return Err(Failed::Unsent(Error::Unavailable {
                    reason,
                    retry_after: None,
                }));
            }
            let (asked, asked_at) = (Instant::now(), SystemTime::now());
            let mut failure = match endpoint.refresh(refresh_token, record.scope()).await {
                Ok(response) => {
                    return Ok(Exchanged {
                        response,
                        asked,
                        asked_at,
                    });
                }
                Err(failure) => failure,
            };
            lost |= failure.outcome_unknown;
            failure.outcome_unknown = lost;
            let delay = delays
                .next()
                .filter(|_| failure.class == ErrorClass::Transient)
                .map(|own| failure.retry_after.unwrap_or(own))
                .filter(|delay| *delay <= MAX_DELAY);
            let Some(delay) = delay else {
                return Err(Failed::Refused(failure));
            };
            tracing::warn!("The request to the token endpoint is retried: {failure}");
            sleep(delay).await;
            is_retry = true;
        }
    }

    /// Handles a failed exchange. If the provider refuses the refresh token, another process may have spent it; then
    /// that process has saved its token, or will soon (token-failures: T1).
    async fn recover(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
        base: &Arc<Token>,
        failure: ExchangeError,
    ) -> Result<Arc<Token>, Error> {
        // A response that cannot be parsed does not prove that the refresh token is invalid, even if it repeats.
        if failure.class == ErrorClass::Reauth {
            for pause in LOOKS {
                sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64())).await;
                match self.stored(store, setup).await {
                    Ok(Some(found)) if !is_spent(&found, Some(base)) => return Ok(found),
                    // Without the stored credential it is unknown whether the refresh token is still valid.
                    Err(error) => return Err(error),
                    Ok(_) => {}
                }
            }
            let rotates = self.state().rotates != Some(false);
            let why = match failure.code.as_deref() {
                _ if failure.outcome_unknown => {
                    ": an earlier response was lost, and its token with it (outcome unknown)"
                }
                Some("invalid_grant") if rotates => {
                    ": it was revoked, it expired, or a process ended before it saved the replacement"
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

    /// Merges the response, saves the whole record, and then makes it the current one.
    async fn keep(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
        base: &Arc<Token>,
        exchanged: Exchanged,
        held: Option<Box<dyn LockGuard>>,
    ) -> Result<Arc<Token>, Error> {
        let Exchanged {
            response,
            asked,
            asked_at,
        } = exchanged;
        let record = base.record.merged(&response, asked_at);
        self.metrics.update(|metrics| metrics.refreshes += 1);
        self.warn_of_narrower_scope(base.record.scope(), response.scope.as_deref());
        if let Some(kind) = response.unknown_type(&setup.resolved.profile) {
            self.unknown_type.call_once(|| {
                tracing::warn!(
                    "The token type {kind} is not listed in the provider's profile; the token is sent as the profile says. \
                     `token_types` of a profile lists the expected types"
                );
            });
        }
        let rotated = record.refresh_token() != base.record.refresh_token();
        let times = Times::new(asked, response.lifetime, setup.resolved.profile.margin);
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
                "The refresh token expires within 7 days; without a refresh before then the user must connect again"
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
            self.metrics.update(|metrics| metrics.narrowed += 1);
            tracing::warn!(
                "The new access token lacks scopes of the previous one: {}",
                lost.join(" ")
            );
        }
    }
}

/// Reads the stored configuration. A credential counts as gone only if several reads agree.
async fn reload(
    store: &Arc<dyn CredentialStore>,
    field: &[String],
) -> Result<Option<Value>, StoreError> {
    let looks = async {
        let mut found = store.reload().await;
        for pause in LOOKS {
            if !is_gone(&found, field) {
                break;
            }
            sleep(pause).await;
            found = store.reload().await;
        }
        found
    };
    let late = |_| Err(StoreError::transient("the platform does not respond"));
    timeout(READ, looks).await.unwrap_or_else(late)
}

/// Returns whether a stored token is useless: it is missing, has expired, or is the same as `before`.
fn is_spent(found: &Token, before: Option<&Token>) -> bool {
    found.record.access_token().is_none()
        || found.is_expired()
        || before.is_some_and(|before| before.record.access_token() == found.record.access_token())
}
