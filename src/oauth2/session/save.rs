//! Saving a refreshed record: before anyone uses it, with several tries, and, where that does not help, in the
//! background until it is saved or superseded. A rotated refresh token that is not saved exists in this process only.

use super::{
    super::{CredentialWarning, LockGuard, StoreError, TokenRecord},
    CredentialStore, Error, Inner, Setup, Token,
};
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

/// Tries before the work goes on without.
const TRIES: u32 = 3;
/// For one try, and for its turn to come.
const TRY: Duration = Duration::from_secs(20);
/// For the look at what is stored that each try begins with.
pub(super) const LOOK: Duration = Duration::from_secs(10);
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause between tries in the background.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Pauses before the looks that have to agree that a credential is gone, before its new tokens are revoked: what answers
/// in the platform's place while that is away may well say 404.
const UNTIL_GONE: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(15),
];
/// How long these looks may take.
const GONE_AT_MOST: Duration = Duration::from_secs(40);

/// How long saving may take before the work goes on without.
pub(super) const AT_MOST: Duration = Duration::from_secs(242);

/// A record that the store does not have yet.
pub(super) struct Unsaved {
    pub(super) record: TokenRecord,
    /// Its refresh token is another one than that which is stored.
    pub(super) rotated: bool,
    /// As long as it is unsaved no other replica may spend what is stored.
    pub(super) held: Option<Box<dyn LockGuard>>,
}

/// What has become of a record.
enum Saved {
    Yes,
    /// There is nowhere to save to.
    Nowhere(String),
    Not(String),
    /// The platform says that the credential is not there; whether it stays with that is another question.
    Gone(String),
    /// It says so over REST, but its queue has taken the record.
    Queued(String),
    /// The store has one from elsewhere.
    Superseded(TokenRecord, Value),
    /// Another one of this process has taken its place.
    Obsolete,
}

/// A record that is to be saved.
#[derive(Clone, Copy)]
struct Saving<'a> {
    store: &'a Arc<dyn CredentialStore>,
    setup: &'a Setup,
    record: &'a TokenRecord,
    /// Whether the platform's queue has it already.
    taken: &'a AtomicBool,
}

impl Inner {
    pub(super) fn unsaved(&self) -> MutexGuard<'_, Option<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock that came with an unsaved record, for the refresh that supersedes it.
    pub(super) fn take_held(&self) -> Option<Box<dyn LockGuard>> {
        self.unsaved().as_mut()?.held.take()
    }

    /// Lets other replicas refresh, unless a record is unsaved still.
    pub(super) fn unlock(&self, held: Option<Box<dyn LockGuard>>) {
        if let Some(unsaved) = &mut *self.unsaved()
            && unsaved.held.is_none()
        {
            unsaved.held = held;
        }
    }

    /// Saves a record. When that fails, it goes on in the background, and the user is told. Where the store has got a
    /// token from elsewhere in the meantime, that one counts, and is given back.
    ///
    /// # Errors
    /// When the credential was removed meanwhile: the new tokens are revoked then.
    pub(super) async fn save(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        setup: &Setup,
        mut unsaved: Unsaved,
    ) -> Result<Option<Arc<Token>>, Error> {
        let began = Instant::now();
        let mut pause = PAUSE;
        let mut tries = 0;
        let taken = AtomicBool::new(false);
        let (reason, goes_on) = loop {
            match self
                .save_or_revoke(
                    Saving {
                        store,
                        setup,
                        record: &unsaved.record,
                        taken: &taken,
                    },
                    |_| false,
                )
                .await?
            {
                Saved::Yes | Saved::Obsolete => return Ok(None),
                Saved::Superseded(theirs, config) => {
                    // The user has connected again, or another replica was as fast: what is stored counts (token-failures: T12).
                    tracing::warn!(
                        "The stored credential has changed during the refresh; the stored one is used"
                    );
                    return Ok(Some(self.adopt(&**store, setup, theirs, &config)));
                }
                Saved::Nowhere(reason) => break (reason, false),
                Saved::Queued(reason) => {
                    tries += 1;
                    if tries == TRIES {
                        self.leave_to_the_queue(&unsaved.record, &reason);
                        return Ok(None);
                    }
                }
                Saved::Not(reason) => {
                    tries += 1;
                    if tries == TRIES {
                        break (reason, true);
                    }
                }
                Saved::Gone(reason) => {
                    tries += 1;
                    if tries == TRIES || began.elapsed() > GONE_AT_MOST {
                        break (reason, true);
                    }
                }
            }
            sleep(pause).await;
            pause *= 2;
        };
        let record = unsaved.record.clone();
        store.remember(&self.keys(&store.config(), setup, &record));
        let rotated = {
            let mut before = self.unsaved();
            // One that came with a token that is unsaved itself is as little in the store.
            unsaved.rotated |= before.as_ref().is_some_and(|before| {
                before.rotated && before.record.refresh_token() == record.refresh_token()
            });
            if !unsaved.rotated {
                // The stored one is still good, for the other replicas too.
                unsaved.held = None;
            }
            before.insert(unsaved).rotated
        };
        if goes_on {
            let (inner, store) = (self.clone(), store.clone());
            self.tasks.spawn(
                async move { inner.save_later(&store, record, taken).await }.in_current_span(),
            );
        }
        self.report(store, rotated, &reason);
        Ok(None)
    }

    /// Saves as [`try_to_save`](Self::try_to_save) does. One answer that the credential is not there is no verdict: only
    /// where the platform stays with it, the new tokens are revoked, which nothing undoes.
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

    /// Whether all looks agree that the credential is gone. In a process that is stopping there is no time for that.
    async fn stays_gone(&self, store: &Arc<dyn CredentialStore>, setup: &Setup) -> bool {
        let looks = async {
            for pause in [Duration::ZERO].into_iter().chain(UNTIL_GONE) {
                let is_stopping = timeout(pause, self.stopping.cancelled()).await.is_ok();
                if is_stopping || !is_gone(&store.reread().await, &setup.resolved.field) {
                    return false;
                }
            }
            true
        };
        timeout(GONE_AT_MOST, looks).await.unwrap_or(false)
    }

    async fn revoke(&self, setup: &Setup, record: &TokenRecord) {
        tracing::warn!("The credential was removed during its refresh: the new tokens are revoked");
        if let Some(endpoint) = &setup.endpoint
            && let Some(token) = record.refresh_token()
            && let Err(error) = endpoint.revoke(token, "refresh_token").await
        {
            tracing::warn!("The new tokens could not be revoked: {error}");
        }
    }

    /// The platform's queue has taken a record that its REST API does not take.
    fn leave_to_the_queue(&self, record: &TokenRecord, reason: &str) {
        self.forget(record);
        tracing::warn!(
            "The refreshed credential was saved over the platform's queue only: {reason}"
        );
    }

    /// One look and one try, with nothing else of this process's saved in between: neither of the two may lay an older
    /// record over a newer one.
    async fn try_to_save(&self, saving: Saving<'_>, is_obsolete: impl Fn(&Self) -> bool) -> Saved {
        let Saving {
            store,
            setup,
            record,
            taken,
        } = saving;
        let Ok(_turn) = timeout(TRY, self.saving.lock()).await else {
            return Saved::Not(format!(
                "other credentials are being saved for more than {} s",
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
        match timeout(TRY, store.save(keys, taken)).await {
            Ok(Ok(())) => {
                *self.unsaved() = None;
                Saved::Yes
            }
            Ok(Err(error)) if error.gone && taken.load(Ordering::SeqCst) => {
                Saved::Queued(error.message)
            }
            Ok(Err(error)) if error.gone => Saved::Gone(error.message),
            Ok(Err(error)) if error.nowhere => Saved::Nowhere(error.message),
            Ok(Err(error)) => Saved::Not(error.message),
            Err(_) => Saved::Not(format!(
                "the platform has not taken it within {} s",
                TRY.as_secs()
            )),
        }
    }

    /// The configuration as it is stored now, with the tokens that count: those that another process has saved, or else
    /// the current ones of this process, which may not be saved yet.
    pub(super) async fn latest(&self, store: &dyn CredentialStore, setup: &Setup) -> Value {
        // What is configured is known from here on. Where that is nothing, nothing of it can be old.
        let current = self.current(store).ok().flatten();
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

    /// A refreshed record that is only in memory must not stay unnoticed (token-failures: T9). Nobody waits until it is.
    fn report(&self, store: &Arc<dyn CredentialStore>, rotated: bool, reason: &str) {
        if !rotated {
            tracing::warn!(
                "A new access token could not be saved; the refresh token is still the stored one: {reason}"
            );
            return;
        }
        self.counters.unsaved.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            "A rotated refresh token could not be saved and is in the memory of this process only: {reason}"
        );
        let message = format!(
            "The provider has replaced the refresh token, and the new one could not be saved: {reason}. This process \
             goes on with it; if the process ends before it is saved, the credential has to be connected again."
        );
        let store = store.clone();
        let trouble = CredentialWarning {
            name: "UnsavedCredentials",
            message,
        };
        let stopping = self.stopping.clone();
        let report = async move {
            tokio::select! {
                // First, so that the event is on its way at least.
                biased;
                () = store.report(trouble) => {}
                // A queue may be waited for without end; it stands in the log.
                () = stopping.cancelled() => {}
            }
        };
        self.tasks.spawn(report.in_current_span());
    }

    async fn save_later(
        self: &Arc<Self>,
        store: &Arc<dyn CredentialStore>,
        record: TokenRecord,
        taken: AtomicBool,
    ) {
        let mut pause = PAUSE * 4;
        loop {
            let stopping = timeout(pause, self.stopping.cancelled()).await.is_ok();
            pause = (pause * 2).min(LONGEST_PAUSE);
            let Ok(setup) = self.setup(&**store) else {
                return;
            };
            let saving = Saving {
                store,
                setup: &setup,
                record: &record,
                taken: &taken,
            };
            match self
                .save_or_revoke(saving, |inner| !inner.is_unsaved(&record))
                .await
            {
                Ok(Saved::Yes) => {
                    tracing::info!("The credential that could not be saved before is saved now");
                    return;
                }
                Ok(Saved::Superseded(theirs, config)) => {
                    tracing::info!(
                        "The unsaved credential is superseded: the platform has another one"
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
                        "A credential is lost with this process, it could not be saved: {reason}"
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

    /// An unsaved record is saved, or of no use any more.
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

/// Whether this says that the credential is not there any more.
pub(super) fn is_gone(found: &Result<Option<Value>, StoreError>, field: &[String]) -> bool {
    match found {
        Ok(found) => found
            .as_ref()
            .is_some_and(|config| TokenRecord::find(config, field).is_none()),
        Err(error) => error.gone,
    }
}

/// What is stored now, where that can be known.
pub(super) async fn look(store: &dyn CredentialStore) -> Option<Value> {
    timeout(LOOK, store.reread()).await.ok()?.ok()?
}
