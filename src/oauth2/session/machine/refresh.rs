//! A refresh: reads the stored record, spends its refresh token, and hands the merged record to `save`.

use super::{
    Machine, Step,
    event::{Effect, Failure, Look, Report, Why},
    record::{Life, Record, SharedToken},
    state::{Doubt, Job, Save, State, Tries, Work, elapsed},
};
use crate::{
    clients::retry::RetryPolicy,
    oauth2::{Error, ErrorClass, ExchangeError},
};
use std::time::Duration;

/// Attempts of one exchange, all with the same refresh token.
pub(in crate::oauth2::session) const TRIES: u32 = 3;
/// The delay before the second attempt; it doubles. The driver adds jitter.
const DELAY: Duration = Duration::from_millis(250);
/// A refresh does not wait longer than this, even if the provider asks for a longer delay.
pub(in crate::oauth2::session) const MAX_DELAY: Duration = Duration::from_secs(5);
const RETRY: RetryPolicy = RetryPolicy::doubling(DELAY, MAX_DELAY);
/// Pauses before checking whether another replica has saved the token that replaces ours, and before checking again
/// whether a credential is really gone.
pub(in crate::oauth2::session) const LOOKS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];
/// The stored credential is read again before the refresh token is spent if the last read is older than this: the
/// process may have stalled and lost its lock without noticing.
const LATE: Duration = Duration::from_secs(5);

impl<R: Record, S: Clone> Machine<R, S> {
    pub(super) fn begin_refresh(&mut self, cx: &mut Step<R, S>, job: Job<R, S>) {
        self.look(cx, job, Tries::default());
    }

    pub(super) fn look(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, mut tries: Tries) {
        tries.looked = cx.now;
        cx.ask(Effect::Look(job.store.clone()));
        self.state = State::Looking(job, tries);
    }

    pub(super) fn looked(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        tries: Tries,
        look: Look<R>,
    ) {
        match self.news(cx, &job.store, look) {
            Ok(news) => self.spend(cx, job, tries.after(news.is_some())),
            Err(error) => self.fail(cx, error),
        }
    }

    /// Ends the refresh with another process's token, or sends the current refresh token.
    fn spend(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, mut tries: Tries) {
        let Some(base) = self.tokens.current().cloned() else {
            return self.fail(cx, Error::ReauthRequired("there are no tokens".into()));
        };
        let is_newer = job
            .before
            .as_ref()
            .is_none_or(|before| base.generation > before.generation);
        let before = job.before.as_deref();
        if is_newer && job.work != Work::Refresh(Why::Access) && !base.is_spent(cx.now, before) {
            return self.succeed(cx, &base);
        }
        if let Some(error) = self.limits.dead(&base.record) {
            return self.fail(cx, error);
        }
        if !base.record.has_refresh_token() {
            let reason =
                "the access token has expired or was rejected, and there is no refresh token";
            return self.fail(cx, Error::ReauthRequired(reason.into()));
        }
        if elapsed(cx.now, tries.looked) > LATE && !tries.looked_again {
            tries.looked_again = true;
            return self.look(cx, job, tries);
        }
        if self.holds_lock {
            cx.ask(Effect::Fence);
            self.state = State::Fencing(job, tries, base);
        } else {
            self.exchange(cx, job, tries, base);
        }
    }

    pub(super) fn fenced(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        tries: Tries,
        base: SharedToken<R>,
        held: bool,
    ) {
        self.holds_lock = held;
        if !held {
            return self.fail(
                cx,
                Error::unavailable("the lock was lost before the refresh"),
            );
        }
        self.exchange(cx, job, tries, base);
    }

    fn exchange(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut tries: Tries,
        base: SharedToken<R>,
    ) {
        tries.exchanges += 1;
        tries.looked_again = false;
        cx.ask(Effect::Exchange(job.store.clone(), base.clone()));
        self.state = State::Exchanging(job, tries, base);
    }

    pub(super) fn exchanged(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        tries: Tries,
        base: &SharedToken<R>,
        result: Result<(R::Response, Life), Failure>,
    ) {
        match result {
            Ok((response, life)) => {
                let record = base.record.refreshed(&response);
                let rotated = !record.same_refresh_token(&base.record);
                self.rotates = Some(rotated);
                self.tokens.expect(&record);
                let save = Save::new(record, life, rotated, base.record.id(), cx.now);
                self.look_before_save(cx, job, save);
            }
            Err(Failure::NotSent(error)) => self.fail(cx, error),
            Err(Failure::Refused(failure)) => self.refused(cx, job, tries, base, failure),
        }
    }

    /// Sends the refresh token again after a transient failure: a provider with a grace period repeats a lost response
    /// (token-failures: T8). If the provider refuses the refresh token, another process may have spent it; then that
    /// process has saved its token, or will soon (token-failures: T1).
    fn refused(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut tries: Tries,
        base: &SharedToken<R>,
        mut failure: ExchangeError,
    ) {
        tries.lost |= failure.outcome_unknown;
        failure.outcome_unknown = tries.lost;
        match failure.class {
            ErrorClass::Reauth => {
                let doubt = Doubt {
                    base: base.clone(),
                    failure,
                    looks: 0,
                    tries,
                };
                self.doubt(cx, job, doubt);
            }
            ErrorClass::Transient if let Some(pause) = pause_before_retry(tries, &failure) => {
                cx.report(Report::Retried(failure));
                cx.ask(Effect::Pause(pause));
                self.state = State::Retrying(job, tries);
            }
            ErrorClass::Config => self.fail(cx, Error::Config(failure.to_string())),
            // A response that cannot be parsed does not prove that the refresh token is invalid, even if it repeats.
            ErrorClass::Transient | ErrorClass::Malformed => {
                let error = Error::Unavailable {
                    reason: failure.to_string(),
                    retry_after: failure.retry_after,
                };
                self.fail(cx, error);
            }
        }
    }

    /// Pauses before the next look, or gives the refresh token up after the last.
    fn doubt(&mut self, cx: &mut Step<R, S>, job: Job<R, S>, doubt: Doubt<R>) {
        if let Some(pause) = LOOKS.get(doubt.looks) {
            cx.ask(Effect::Pause(*pause));
            self.state = State::Doubting(job, doubt);
            return;
        }
        let error = self.dead_error(&doubt.failure);
        self.limits.bury(&doubt.base.record, &error);
        self.fail(cx, error);
    }

    pub(super) fn look_after_refusal(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        mut doubt: Doubt<R>,
    ) {
        doubt.looks += 1;
        doubt.tries.looked = cx.now;
        cx.ask(Effect::Look(job.store.clone()));
        self.state = State::DoubtLooking(job, doubt);
    }

    pub(super) fn looked_after_refusal(
        &mut self,
        cx: &mut Step<R, S>,
        job: Job<R, S>,
        doubt: Doubt<R>,
        look: Look<R>,
    ) {
        match self.news(cx, &job.store, look) {
            Ok(Some(found)) if !found.is_spent(cx.now, Some(&doubt.base)) => {
                self.succeed(cx, &found);
            }
            Ok(Some(_)) => self.spend(cx, job, doubt.tries.after(true)),
            Ok(None) => self.doubt(cx, job, doubt),
            // Without the stored credential it is unknown whether the refresh token is still valid.
            Err(error) => self.fail(cx, error),
        }
    }

    fn dead_error(&self, failure: &ExchangeError) -> Error {
        let why = match failure.code.as_deref() {
            _ if failure.outcome_unknown => {
                ": an earlier response was lost, and its token with it (outcome unknown)"
            }
            Some("invalid_grant") if self.rotates != Some(false) => {
                ": it was revoked, it expired, or a process ended before it saved the replacement"
            }
            _ => "",
        };
        Error::ReauthRequired(format!("{failure}{why}"))
    }
}

/// Returns the pause before the refresh token is sent again; `None` if it is not sent again in this refresh.
fn pause_before_retry(tries: Tries, failure: &ExchangeError) -> Option<Duration> {
    if tries.exchanges >= TRIES {
        return None;
    }
    let own = RETRY.delay_after(tries.exchanges);
    Some(failure.retry_after.unwrap_or(own)).filter(|pause| *pause <= MAX_DELAY)
}
