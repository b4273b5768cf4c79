//! Saves a refreshed record before any request uses it. If several attempts fail, the process continues with the record
//! and saves it later. Until then only this process has a rotated refresh token.

use super::{
    Machine, Step,
    event::{Effect, Look, Report, SaveResult},
    record::{Life, Record},
    state::{Job, Save, State, Unsaved, Work, elapsed},
};
use crate::{clients::retry::RetryPolicy, oauth2::Error};
use std::time::Duration;

/// Attempts of a save before the token is used without it.
pub(in crate::oauth2::session) const ATTEMPTS: u32 = 3;
/// The delay before the second attempt; it doubles.
const DELAY: Duration = Duration::from_millis(500);
/// The longest delay between later attempts.
const MAX_DELAY: Duration = Duration::from_secs(60);
/// The delays between the attempts of a save.
const RETRY: RetryPolicy = RetryPolicy::doubling(DELAY, MAX_DELAY);
/// The delays between later attempts.
const LATER: RetryPolicy = RetryPolicy::doubling(DELAY.saturating_mul(4), MAX_DELAY);
/// After this time a save whose account seems to be gone continues later.
pub(in crate::oauth2::session) const GONE_AT_MOST: Duration = Duration::from_secs(40);

impl<R: Record, S: Clone> Machine<R, S> {
    // --- An attempt --------------------------------------------------------------------------------------------------

    pub(super) fn look_before_save(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut save: Save<R>,
    ) {
        save.attempts += 1;
        cx.ask(Effect::LookOnce(job.store.clone()));
        self.state = State::SaveLooking(job, save);
    }

    pub(super) fn looked_before_save(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut save: Save<R>,
        look: Look<R>,
    ) {
        match look {
            // An earlier attempt has saved it, and only the answer was lost. A further save could replace a newer record.
            Look::Found(theirs, _)
                if theirs.id() == save.record.id() && save.record.id() != save.base =>
            {
                save.record = theirs;
                cx.ask(Effect::Share(job.store.clone(), save.record.clone()));
                self.stored(cx, &job, save, None);
            }
            // The user has connected again, or another replica has refreshed: use what is stored (token-failures: T12).
            Look::Found(theirs, life)
                if theirs.id() != save.record.id()
                    && !self.tokens.is_older_than_refresh_of(save.base, &theirs) =>
            {
                self.superseded(cx, &job, theirs, life);
            }
            // The user has disconnected.
            Look::NoTokens if !save.is_gone => self.confirm_gone(cx, job, save),
            Look::NoTokens => self.revoke(cx, &job, &save, "its tokens were removed"),
            Look::Found(..)
            | Look::Removed(_)
            | Look::NotAsked
            | Look::Failed(_)
            | Look::NotConfigured(_) => {
                cx.ask(Effect::Save(job.store.clone(), save.record.clone()));
                self.state = State::Saving(job, save);
            }
        }
    }

    fn superseded(&mut self, cx: &mut Step<R, S>, job: &Job<R, S>, theirs: R, life: Life) {
        self.unsaved = None;
        let token = self.adopt_found(cx, &job.store, theirs, life);
        if job.work == Work::SaveAgain {
            cx.report(Report::Discarded);
            self.start_next(cx);
        } else {
            cx.report(Report::ReplacedDuringRefresh);
            self.succeed(cx, &token);
        }
    }

    pub(super) fn saved(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        save: Save<R>,
        result: SaveResult,
    ) {
        match result {
            SaveResult::Saved => self.stored(cx, &job, save, None),
            SaveResult::NoAccount(reason) => self.keep_unsaved(cx, &job, save, reason, false),
            SaveResult::NotFound { queued: false, .. } if !save.is_gone => {
                self.confirm_gone(cx, job, save);
            }
            SaveResult::NotFound {
                queued: false,
                reason,
            } => self.revoke(cx, &job, &save, &reason),
            SaveResult::NotFound { reason, .. } => {
                if self.may_try_again(&job, &save) {
                    self.pause_before_save(cx, job, save);
                } else {
                    self.stored(cx, &job, save, Some(reason));
                }
            }
            SaveResult::Failed(reason) => self.try_again(cx, job, save, reason),
        }
    }

    // --- What follows ------------------------------------------------------------------------------------------------

    fn may_try_again(&self, job: &Job<R, S>, save: &Save<R>) -> bool {
        job.work != Work::SaveAgain && save.attempts < ATTEMPTS
    }

    fn try_again(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, save: Save<R>, reason: String) {
        if self.may_try_again(&job, &save) {
            self.pause_before_save(cx, job, save);
        } else {
            self.keep_unsaved(cx, &job, save, reason, true);
        }
    }

    fn pause_before_save(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, save: Save<R>) {
        cx.ask(Effect::Pause(RETRY.delay_after(save.attempts)));
        self.state = State::SavePausing(job, save);
    }

    /// Makes a record that is stored the current one. `queued_only` says that only the platform's queue has taken it.
    fn stored(
        &mut self,
        cx: &mut Step<R, S>,
        job: &Job<R, S>,
        save: Save<R>,
        queued_only: Option<String>,
    ) {
        self.unsaved = None;
        if let Some(reason) = queued_only {
            cx.report(Report::QueuedOnly(reason));
        } else if job.work == Work::SaveAgain {
            cx.report(Report::SavedLater);
        }
        self.use_record(cx, job, save);
    }

    /// Makes the record the current one.
    fn use_record(&mut self, cx: &mut Step<R, S>, job: &Job<R, S>, save: Save<R>) {
        if job.work == Work::SaveAgain {
            return self.start_next(cx);
        }
        cx.report(Report::Refreshed {
            rotated: save.rotated,
            record: save.record.clone(),
        });
        let token = self.tokens.put(save.record, save.life, false);
        self.succeed(cx, &token);
    }

    // --- A record that is not saved ----------------------------------------------------------------------------------

    fn keep_unsaved(
        &mut self,
        cx: &mut Step<R, S>,
        job: &Job<R, S>,
        save: Save<R>,
        reason: String,
        retries: bool,
    ) {
        let before = self.unsaved.take();
        // If the previous unsaved record has the same rotated refresh token, the store does not have it either.
        let rotated = save.rotated
            || before.as_ref().is_some_and(|before| {
                before.rotated && before.record.same_refresh_token(&save.record)
            });
        let is_again = job.work == Work::SaveAgain;
        let failures = before.map_or(0, |before| before.failures) + 1;
        let is_lost = is_again && self.stopping;
        if is_lost {
            cx.report(Report::Lost { rotated, reason });
        } else if !is_again {
            cx.ask(Effect::Share(job.store.clone(), save.record.clone()));
            cx.report(Report::Unsaved {
                store: job.store.clone(),
                rotated,
                reason,
            });
        }
        if retries && !is_lost {
            cx.ask(Effect::Alarm(LATER.delay_after(failures), failures));
        }
        self.unsaved = Some(Unsaved {
            record: save.record.clone(),
            rotated,
            store: (retries && !is_lost).then(|| job.store.clone()),
            life: save.life,
            base: save.base,
            failures,
            is_due: false,
        });
        self.use_record(cx, job, save);
    }

    pub(super) fn alarm(&mut self, cx: &mut Step<R, S>, number: u32) {
        if let Some(unsaved) = &mut self.unsaved
            && unsaved.failures == number
        {
            unsaved.is_due = true;
            self.start_if_idle(cx);
        }
    }

    pub(super) fn begin_save_again(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        let Some(unsaved) = &self.unsaved else {
            return self.start_next(cx);
        };
        let save = Save::new(
            unsaved.record.clone(),
            unsaved.life,
            unsaved.rotated,
            unsaved.base,
            cx.now,
        );
        self.look_before_save(cx, job, save);
    }

    // --- An account that is gone -------------------------------------------------------------------------------------

    /// Revoking the new tokens cannot be undone, so it requires that the platform repeatedly says that the credential
    /// does not exist.
    fn confirm_gone(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, save: Save<R>) {
        cx.ask(Effect::ConfirmGone(job.store.clone()));
        self.state = State::Confirming(job, save);
    }

    pub(super) fn confirmed(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut save: Save<R>,
        is_gone: bool,
    ) {
        save.is_gone = is_gone;
        if is_gone {
            return self.look_before_save(cx, job, save);
        }
        if elapsed(cx.now, save.began) > GONE_AT_MOST {
            save.attempts = ATTEMPTS;
        }
        let reason = "the platform says at times that the account does not exist".to_owned();
        self.try_again(cx, job, save, reason);
    }

    fn revoke(&mut self, cx: &mut Step<R, S>, job: &Job<R, S>, save: &Save<R>, reason: &str) {
        cx.ask(Effect::Revoke(job.store.clone(), save.record.clone()));
        let error = Error::ReauthRequired(format!("it was removed ({reason})"));
        self.limits.bury(&save.record, &error);
        self.unsaved = None;
        if job.work == Work::SaveAgain {
            self.start_next(cx);
        } else {
            self.fail(cx, error);
        }
    }
}
