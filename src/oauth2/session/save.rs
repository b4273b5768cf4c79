//! Saves a refreshed record before any request uses it. If several attempts fail, saving continues in the background
//! until the record is saved or superseded. Until then only this process has a rotated refresh token.

use super::{
    super::{CredentialWarning, LockGuard, StoreError, StoreErrorKind, TokenRecord},
    CredentialSetup, CredentialStore, Error, Inner, Token,
};
use crate::clients::retry::RetryPolicy;
use serde_json::Value;
use std::{
    sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};
use tracing::Instrument;

/// Attempts of a save before the token is used without it.
const ATTEMPTS: u32 = 3;
/// For one attempt, and for waiting until another save has ended.
const TRY: Duration = Duration::from_secs(20);
/// The time limit of reading the stored credential at the start of each attempt.
pub(super) const LOOK: Duration = Duration::from_secs(10);
/// The delay before the second attempt; it doubles.
const DELAY: Duration = Duration::from_millis(500);
/// The longest delay between attempts in the background.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The delays between the attempts of a save.
const RETRY: RetryPolicy = RetryPolicy::doubling(DELAY, MAX_DELAY);

/// Delays between the checks that a credential is gone. All must agree before its new tokens are revoked, because a
/// proxy may return 404 while the platform is unavailable.
const UNTIL_GONE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];
/// The time limit of these checks.
const GONE_AT_MOST: Duration = Duration::from_secs(40);

/// The time limit of a save before the refresh continues with an unsaved record.
pub(super) const AT_MOST: Duration = Duration::from_secs(242);

/// A record that is not in the store yet.
pub(super) struct Unsaved {
    pub(super) record: TokenRecord,
    /// Its refresh token differs from the stored one.
    pub(super) rotated: bool,
    /// The lock: while the record is unsaved, no other replica may spend the stored refresh token.
    pub(super) held: Option<Box<dyn LockGuard>>,
}

/// The result of saving a record.
enum Saved {
    Yes,
    /// There is no place to save it.
    Nowhere(String),
    Not(String),
    /// The platform has said once that the credential does not exist.
    Gone(String),
    /// The REST API says that the credential does not exist, but the platform's queue has taken the record.
    Queued(String),
    /// The store contains a record of another process.
    Superseded(TokenRecord, Value),
    /// This process has a newer record.
    Obsolete,
}

/// A record that is to be saved.
#[derive(Clone, Copy)]
struct Saving<'a> {
    store: &'a Arc<dyn CredentialStore>,
    setup: &'a CredentialSetup,
    record: &'a TokenRecord,
    /// Whether the platform's queue has taken it already.
    queued: &'a AtomicBool,
}

impl Inner {
    pub(super) fn unsaved(&self) -> MutexGuard<'_, Option<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the lock of an unsaved record, for the refresh that supersedes the record.
    pub(super) fn take_held(&self) -> Option<Box<dyn LockGuard>> {
        self.unsaved().as_mut()?.held.take()
    }

    /// Releases the lock, unless a record is still unsaved.
    pub(super) fn unlock(&self, held: Option<Box<dyn LockGuard>>) {
        if let Some(unsaved) = &mut *self.unsaved()
            && unsaved.held.is_none()
        {
            unsaved.held = held;
        }
    }

    /// Saves a record. If that fails, saving continues in the background, and the user gets an error event. If another
    /// process has saved a token in the meantime, returns that token.
    /// # Errors
    /// Returns an error if the credential was removed in the meantime. In that case the new tokens are revoked.
    pub(super) async fn save(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
        unsaved: Unsaved,
    ) -> Result<Option<Arc<Token>>, Error> {
        let began = Instant::now();
        let mut delays = RETRY.with_attempts(ATTEMPTS).delays();
        let queued = AtomicBool::new(false);
        let (reason, goes_on) = loop {
            let saving = Saving {
                store,
                setup,
                record: &unsaved.record,
                queued: &queued,
            };
            let saved = self.save_or_revoke(saving, |_| false).await?;
            let delay = delays.next();
            match saved {
                Saved::Yes | Saved::Obsolete => return Ok(None),
                Saved::Superseded(theirs, config) => {
                    // The user has connected again, or another replica has refreshed: use what is stored
                    // (token-failures: T12).
                    tracing::warn!(
                        "The stored credential changed during the refresh; the stored one is used"
                    );
                    return Ok(Some(self.adopt(&**store, setup, theirs, &config)));
                }
                Saved::Nowhere(reason) => break (reason, false),
                Saved::Queued(reason) if delay.is_none() => {
                    self.leave_to_the_queue(&unsaved.record, &reason);
                    return Ok(None);
                }
                Saved::Not(reason) if delay.is_none() => break (reason, true),
                Saved::Gone(reason) if delay.is_none() || began.elapsed() > GONE_AT_MOST => {
                    break (reason, true);
                }
                Saved::Queued(_) | Saved::Not(_) | Saved::Gone(_) => {}
            }
            sleep(delay.unwrap_or_default()).await;
        };
        let record = unsaved.record.clone();
        let rotated = self.keep_unsaved(store, setup, unsaved);
        if goes_on {
            let (inner, store) = (self.clone(), store.clone());
            self.tasks.spawn(
                async move { inner.save_later(&store, record, queued).await }.in_current_span(),
            );
        }
        self.report(store, rotated, &reason);
        Ok(None)
    }

    /// Continues with an unsaved record. Returns whether the stored refresh token is outdated.
    fn keep_unsaved(
        &self,
        store: &Arc<dyn CredentialStore>,
        setup: &CredentialSetup,
        mut unsaved: Unsaved,
    ) -> bool {
        store.update_local(&self.keys(&store.config(), setup, &unsaved.record));
        let mut before = self.unsaved();
        // If the previous unsaved record has the same rotated refresh token, the store does not have it either.
        unsaved.rotated |= before.as_ref().is_some_and(|before| {
            before.rotated && before.record.refresh_token() == unsaved.record.refresh_token()
        });
        if !unsaved.rotated {
            // The stored refresh token is still valid, so other replicas may use it.
            unsaved.held = None;
        }
        before.insert(unsaved).rotated
    }

    /// Saves like [`try_to_save`](Self::try_to_save). Revoking the new tokens cannot be undone, so it requires that the
    /// platform repeatedly says that the credential does not exist.
    async fn save_or_revoke(
        &self,
        saving: Saving<'_>,
        is_obsolete: impl Fn(&Self) -> bool,
    ) -> Result<Saved, Error> {
        let saved = self.try_to_save(saving, &is_obsolete).await;
        let Saved::Gone(_) = saved else {
            return Ok(saved);
        };
        let Saving {
            store,
            setup,
            record,
            ..
        } = saving;
        let stays_gone = self.stays_gone(store, setup).await;
        match self.try_to_save(saving, is_obsolete).await {
            Saved::Gone(reason) if stays_gone => {
                self.revoke(setup, record).await;
                let error = Error::ReauthRequired(format!("it was removed ({reason})"));
                self.state().bury(record, &error);
                Err(error)
            }
            saved => Ok(saved),
        }
    }

    /// Returns whether all checks agree that the credential is gone. A stopping process skips them, for lack of time.
    async fn stays_gone(&self, store: &Arc<dyn CredentialStore>, setup: &CredentialSetup) -> bool {
        let looks = async {
            for pause in [Duration::ZERO].into_iter().chain(UNTIL_GONE) {
                let is_stopping = timeout(pause, self.stopping.cancelled()).await.is_ok();
                if is_stopping || !is_gone(&store.reload().await, &setup.resolved.field) {
                    return false;
                }
            }
            true
        };
        timeout(GONE_AT_MOST, looks).await.unwrap_or(false)
    }

    async fn revoke(&self, setup: &CredentialSetup, record: &TokenRecord) {
        tracing::warn!("The credential was removed during the refresh; the new tokens are revoked");
        if let Some(endpoint) = &setup.endpoint
            && let Some(token) = record.refresh_token()
            && let Err(error) = endpoint.revoke(token, "refresh_token").await
        {
            tracing::warn!("The new tokens could not be revoked: {error}");
        }
    }

    /// Logs that the platform's queue has taken a record that its REST API refuses.
    fn leave_to_the_queue(&self, record: &TokenRecord, reason: &str) {
        self.forget(record);
        tracing::warn!(
            "The refreshed credential was saved through the platform's queue only: {reason}"
        );
    }

    /// Reads the store and saves. No other save of this process may run: an older record must not replace a newer one.
    async fn try_to_save(&self, saving: Saving<'_>, is_obsolete: impl Fn(&Self) -> bool) -> Saved {
        let Saving {
            store,
            setup,
            record,
            queued,
        } = saving;
        let Ok(_turn) = timeout(TRY, self.saving.lock()).await else {
            return Saved::Not(format!(
                "another save has been running for more than {} s",
                TRY.as_secs()
            ));
        };
        if is_obsolete(self) {
            return Saved::Obsolete;
        }
        let latest = look(&**store).await;
        let latest = latest.unwrap_or_else(|| (*store.config()).clone());
        let stored = TokenRecord::find(&latest, &setup.resolved.field);
        if let Some(theirs) =
            stored.filter(|stored| !stored.same_tokens(record) && !self.state().knows(stored))
        {
            return Saved::Superseded(theirs, latest);
        }
        let keys = self.keys(&latest, setup, record);
        match timeout(TRY, store.save(keys, queued)).await {
            Ok(Ok(())) => {
                *self.unsaved() = None;
                Saved::Yes
            }
            Ok(Err(error)) if error.is_not_found() && queued.load(Ordering::SeqCst) => {
                Saved::Queued(error.message)
            }
            Ok(Err(error)) if error.is_not_found() => Saved::Gone(error.message),
            Ok(Err(error)) if error.kind == StoreErrorKind::NoAccount => {
                Saved::Nowhere(error.message)
            }
            Ok(Err(error)) => Saved::Not(error.message),
            Err(_) => Saved::Not(format!(
                "the platform did not confirm the save within {} s",
                TRY.as_secs()
            )),
        }
    }

    /// Returns the stored configuration with the tokens to use: those that another process has saved, or else the
    /// current tokens of this process, which may be unsaved.
    pub(super) async fn latest(
        &self,
        store: &dyn CredentialStore,
        setup: &CredentialSetup,
    ) -> Value {
        // This call makes the configured tokens known to the session.
        let current = self.current(store, setup).ok().flatten();
        if setup.endpoint.is_none() {
            return (*store.config()).clone();
        }
        let mut config = look(store)
            .await
            .unwrap_or_else(|| (*store.config()).clone());
        let stored = TokenRecord::find(&config, &setup.resolved.field);
        if stored.is_none_or(|stored| self.state().knows(&stored))
            && let Some(current) = self.state().token.clone().or(current)
        {
            let keys = self.keys(&config, setup, &current.record);
            if let Value::Object(members) = &mut config {
                members.extend(keys);
            }
        }
        config
    }

    /// Reports that a refreshed record is only in memory (token-failures: T9). Callers do not wait for the report.
    fn report(&self, store: &Arc<dyn CredentialStore>, rotated: bool, reason: &str) {
        if !rotated {
            tracing::warn!(
                "The new access token could not be saved; the stored refresh token is still valid: {reason}"
            );
            return;
        }
        self.metrics.update(|metrics| metrics.unsaved += 1);
        tracing::error!(
            "The new refresh token could not be saved; only this process has it: {reason}"
        );
        let message = format!(
            "The provider has replaced the refresh token, and the new one could not be saved: {reason}. This process \
             continues with it. If the process ends before it is saved, the account must be connected again."
        );
        let store = store.clone();
        let warning = CredentialWarning {
            name: "UnsavedCredentials",
            message,
        };
        let stopping = self.stopping.clone();
        let report = async move {
            tokio::select! {
                // Polled first, so that the publish at least begins.
                biased;
                () = store.warn(warning) => {}
                // A queue can block forever, so a stop ends the wait. The log has the warning too.
                () = stopping.cancelled() => {}
            }
        };
        self.tasks.spawn(report.in_current_span());
    }

    async fn save_later(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        record: TokenRecord,
        queued: AtomicBool,
    ) {
        let in_background = RetryPolicy::doubling(DELAY * 4, MAX_DELAY);
        for delay in in_background.delays() {
            let stopping = timeout(delay, self.stopping.cancelled()).await.is_ok();
            let Ok(setup) = self.setup(&**store) else {
                return;
            };
            let saving = Saving {
                store,
                setup: &setup,
                record: &record,
                queued: &queued,
            };
            match self
                .save_or_revoke(saving, |inner| !inner.is_unsaved(&record))
                .await
            {
                Ok(Saved::Yes) => {
                    tracing::info!("The credential is saved now, after an earlier save failed");
                    return;
                }
                Ok(Saved::Superseded(theirs, config)) => {
                    tracing::info!(
                        "The unsaved credential is discarded: the platform has a newer one"
                    );
                    self.adopt(&**store, &setup, theirs, &config);
                    return self.forget(&record);
                }
                Ok(Saved::Queued(reason)) => return self.leave_to_the_queue(&record, &reason),
                Ok(Saved::Obsolete) | Err(_) => return self.forget(&record),
                Ok(Saved::Nowhere(reason) | Saved::Not(reason) | Saved::Gone(reason))
                    if stopping =>
                {
                    tracing::error!(
                        "A credential is lost because this process ends before it could be saved: {reason}"
                    );
                    return;
                }
                Ok(_) => {}
            }
        }
    }

    fn is_unsaved(&self, record: &TokenRecord) -> bool {
        self.unsaved()
            .as_ref()
            .is_some_and(|unsaved| unsaved.record.same_tokens(record))
            && !self.state().is_past(record)
    }

    /// Drops an unsaved record that is saved or no longer needed.
    fn forget(&self, record: &TokenRecord) {
        let mut unsaved = self.unsaved();
        if unsaved
            .as_ref()
            .is_some_and(|unsaved| unsaved.record.same_tokens(record))
        {
            *unsaved = None;
        }
    }
}

/// Whether this says that the credential is gone.
pub(super) fn is_gone(found: &Result<Option<Value>, StoreError>, field: &[String]) -> bool {
    match found {
        Ok(found) => found
            .as_ref()
            .is_some_and(|config| TokenRecord::find(config, field).is_none()),
        Err(error) => error.is_not_found(),
    }
}

/// Returns the stored configuration, if it can be read.
pub(super) async fn look(store: &dyn CredentialStore) -> Option<Value> {
    timeout(LOOK, store.reload()).await.ok()?.ok()?
}
