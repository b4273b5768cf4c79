//! Saves a refreshed record before any request uses it. If several attempts fail, the process continues with the record
//! and saves it later. Until then only this process has a rotated refresh token.

use super::{
    Machine,
    event::{Effect, Look, Report},
    record::Record,
    state::{Save, State, Unsaved},
};
use crate::{
    clients::retry::RetryPolicy,
    codes,
    oauth2::{Error, StoreError, StoreErrorKind},
};
use std::time::Duration;
use tracing::Level;

/// Attempts of a save before the token is used without it.
pub(in crate::oauth2::session) const ATTEMPTS: u32 = 3;
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The delays between the attempts of a save.
const RETRY: RetryPolicy = RetryPolicy::doubling(Duration::from_millis(500), MAX_DELAY);
/// The delays between later attempts.
const LATER: RetryPolicy = RetryPolicy::doubling(Duration::from_secs(2), MAX_DELAY);
/// After this time a save whose account seems to be gone continues later.
const GONE_AT_MOST: Duration = Duration::from_secs(40);

impl<R: Record, S: Clone> Machine<R, S> {
    // --- An attempt --------------------------------------------------------------------------------------------------

    pub(super) fn look_before_save(&mut self, mut save: Save<R, S>) {
        save.attempts += 1;
        let look = Effect::Look(save.store.clone(), &[]);
        self.wait(look, State::SaveLooking(save));
    }

    pub(super) fn looked_before_save(&mut self, mut save: Save<R, S>, look: Look<R>) {
        let id = save.record.id();
        match look {
            // An earlier attempt has saved it, and only the answer was lost. A further save could replace a newer record.
            Look::Found(theirs, _) if theirs.id() == id && id != save.base => {
                save.record = theirs;
                self.ask(Effect::Share(save.store.clone(), save.record.clone()));
                self.stored(save, None);
            }
            // The user has connected again, or another replica has refreshed: use what is stored (token-failures: T12).
            Look::Found(theirs, life)
                if theirs.id() != id
                    && !self.tokens.is_older_than_refresh_of(save.base, &theirs) =>
            {
                self.unsaved = None;
                let token = self.adopt_found(&save.store, theirs, life);
                if save.is_again {
                    let what = "The unsaved credential is discarded: the platform has a newer one";
                    return self.ask(Effect::Inform(what));
                }
                let what =
                    "The stored credential changed during the refresh; the stored one is used";
                self.warn(codes::CREDENTIAL_CHANGED, what);
                self.succeed(&token);
            }
            // The user has disconnected.
            Look::NoTokens if !save.is_gone => self.confirm_gone(save),
            Look::NoTokens => self.revoke(&save, "its tokens were removed"),
            Look::Found(..) | Look::NotAsked | Look::Failed(_) | Look::NotConfigured(_) => {
                let (store, record) = (save.store.clone(), save.record.clone());
                let effect = Effect::Save(store, record, save.queued);
                self.wait(effect, State::Saving(save));
            }
        }
    }

    pub(super) fn not_saved(&mut self, mut save: Save<R, S>, error: StoreError, queued: bool) {
        save.queued |= queued;
        let StoreError { kind, message } = error;
        match (kind, save.queued) {
            (StoreErrorKind::NoAccount, _) => self.keep_unsaved(save, message, false),
            (StoreErrorKind::NotFound, false) if !save.is_gone => self.confirm_gone(save),
            (StoreErrorKind::NotFound, false) => self.revoke(&save, &message),
            (StoreErrorKind::NotFound, true) if !may_try_again(&save) => {
                self.stored(save, Some(message));
            }
            (StoreErrorKind::NotFound, true)
            | (StoreErrorKind::Refused | StoreErrorKind::Transient, _) => {
                self.try_again(save, message);
            }
        }
    }

    // --- What follows ------------------------------------------------------------------------------------------------

    fn try_again(&mut self, save: Save<R, S>, reason: String) {
        if may_try_again(&save) {
            let pause = Effect::Pause(RETRY.delay_after(save.attempts));
            self.wait(pause, State::SavePausing(save));
        } else {
            self.keep_unsaved(save, reason, true);
        }
    }

    /// Makes a record that is stored the current one. `queued_only` says that only the platform's queue has taken it.
    pub(super) fn stored(&mut self, save: Save<R, S>, queued_only: Option<String>) {
        self.unsaved = None;
        if let Some(reason) = queued_only {
            let what = "The refreshed credential was saved through the platform's queue only";
            self.warn(codes::CREDENTIAL_ONLY_QUEUED, format!("{what}: {reason}"));
        } else if save.is_again {
            let what = "The credential is saved now, after an earlier save failed";
            self.ask(Effect::Inform(what));
        }
        self.use_record(save);
    }

    /// Makes the record the current one, unless it is already.
    fn use_record(&mut self, save: Save<R, S>) {
        if save.is_again {
            return;
        }
        self.report(Report::Refreshed(save.record.clone(), save.rotated));
        let token = self.tokens.put(save.record, save.life, false);
        self.succeed(&token);
    }

    // --- A record that is not saved ----------------------------------------------------------------------------------

    fn keep_unsaved(&mut self, save: Save<R, S>, reason: String, retries: bool) {
        let before = self.unsaved.take();
        let failures = before.as_ref().map_or(0, |before| before.failures) + 1;
        // If the previous unsaved record has the same rotated refresh token, the store does not have it either.
        let was_rotated = before.is_some_and(|before| {
            let token = before.save.record.refresh_token();
            before.save.rotated && token == save.record.refresh_token()
        });
        let rotated = save.rotated || was_rotated;
        if !save.is_again {
            self.ask(Effect::Share(save.store.clone(), save.record.clone()));
        }
        self.report_unsaved(&save, rotated, reason);
        let retries = retries && !(save.is_again && self.stopping);
        if retries {
            self.ask(Effect::Alarm(LATER.delay_after(failures), failures));
        }
        self.unsaved = Some(Unsaved {
            save: Save {
                rotated,
                is_again: true,
                attempts: 0,
                is_gone: false,
                ..save.clone()
            },
            retries,
            failures,
            is_due: false,
        });
        self.use_record(save);
    }

    /// Reports the first failure, and the last one before the process ends.
    fn report_unsaved(&mut self, save: &Save<R, S>, rotated: bool, reason: String) {
        let (level, code, what) = match (save.is_again, rotated) {
            (false, true) => return self.report(Report::Unsaved(save.store.clone(), reason)),
            (false, false) => {
                let what = "The new access token could not be saved; the stored refresh token is still valid";
                (Level::WARN, codes::ACCESS_TOKEN_NOT_SAVED, what)
            }
            (true, _) if !self.stopping => return,
            (true, true) => {
                let what =
                    "A credential is lost because this process ends before it could be saved";
                (Level::ERROR, codes::REFRESH_TOKEN_LOST, what)
            }
            (true, false) => {
                let what = "The new access token could not be saved before this process ends; the stored refresh token \
                            is still valid";
                (Level::WARN, codes::ACCESS_TOKEN_NOT_SAVED, what)
            }
        };
        self.ask(Effect::Warn(level, code, format!("{what}: {reason}")));
    }

    pub(super) fn alarm(&mut self, number: u32) {
        if let Some(unsaved) = &mut self.unsaved {
            unsaved.is_due |= unsaved.failures == number;
        }
    }

    // --- An account that is gone -------------------------------------------------------------------------------------

    /// Revoking the new tokens cannot be undone, so it requires that the platform repeatedly says that the credential
    /// does not exist.
    fn confirm_gone(&mut self, save: Save<R, S>) {
        let confirm = Effect::ConfirmGone(save.store.clone());
        self.wait(confirm, State::Confirming(save));
    }

    pub(super) fn confirmed(&mut self, mut save: Save<R, S>, is_gone: bool) {
        save.is_gone = is_gone;
        if is_gone {
            return self.look_before_save(save);
        }
        let mut reason = "the platform says at times that the account does not exist".to_owned();
        if self.now.saturating_sub(save.began) > GONE_AT_MOST {
            save.attempts = ATTEMPTS;
            let seconds = GONE_AT_MOST.as_secs();
            reason += &format!(", for more than {seconds} s; it is saved later");
        }
        self.try_again(save, reason);
    }

    fn revoke(&mut self, save: &Save<R, S>, reason: &str) {
        self.ask(Effect::Revoke(save.store.clone(), save.record.clone()));
        let error = Error::ReauthRequired(format!("it was removed ({reason})"));
        self.limits.bury(&save.record, &error);
        self.unsaved = None;
        if !save.is_again {
            self.fail(error);
        }
    }
}

fn may_try_again<R: Record, S>(save: &Save<R, S>) -> bool {
    !save.is_again && save.attempts < ATTEMPTS
}
