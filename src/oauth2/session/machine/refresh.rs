//! A refresh: reads the stored record, spends its refresh token, and hands the merged record to `save`. Or the platform
//! refreshes the token, and this process only reads its secret.

use super::{
    Machine,
    event::{Effect, Look, Need, Why},
    record::{Life, Record, SharedToken, Token},
    state::{Doubt, Refresh, Save, State},
};
use crate::{
    clients::retry::RetryPolicy,
    codes,
    oauth2::{Error, ErrorClass, ExchangeError},
};
use std::time::Duration;

/// Attempts of one exchange, all with the same refresh token.
pub(in crate::oauth2::session) const TRIES: u32 = 3;
/// A refresh does not wait longer than this, even if the provider asks for a longer delay.
pub(in crate::oauth2::session) const MAX_DELAY: Duration = Duration::from_secs(5);
/// The delays between the attempts. The driver adds jitter.
const RETRY: RetryPolicy = RetryPolicy::doubling(Duration::from_millis(250), MAX_DELAY);
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
    pub(super) fn look(&mut self, mut refresh: Refresh<R, S>) {
        refresh.looked = self.now;
        let look = Effect::Look(refresh.store.clone(), &LOOKS);
        self.wait(look, State::Looking(refresh));
    }

    pub(super) fn looked(&mut self, mut refresh: Refresh<R, S>, look: Look<R>) {
        let found = match self.news(&refresh.store, look) {
            Ok(found) => found,
            // Without the stored credential it is unknown whether the refresh token is still valid.
            Err(error) => return self.fail(error),
        };
        match (found, refresh.doubt.take()) {
            (None, None) => self.spend(refresh),
            (None, Some(doubt)) => self.doubt(refresh, doubt),
            (Some(found), Some(doubt)) if !found.is_spent(self.now, Some(&doubt.base)) => {
                self.succeed(&found);
            }
            // With another refresh token, the refresh begins again.
            (Some(_), _) => {
                (refresh.exchanges, refresh.lost) = (0, false);
                self.spend(refresh);
            }
        }
    }

    /// Ends the refresh with another process's token, or sends the current refresh token.
    fn spend(&mut self, mut refresh: Refresh<R, S>) {
        let Some(base) = self.tokens.current().cloned() else {
            return self.fail(Error::ReauthRequired("there are no tokens".into()));
        };
        let before = refresh.before.as_deref();
        let is_newer = before.is_none_or(|before| base.generation > before.generation);
        if is_newer && refresh.why != Why::Access && !base.is_spent(self.now, before) {
            return self.succeed(&base);
        }
        if let Some(error) = self.limits.dead(&base.record) {
            return self.fail(error);
        }
        if base.record.refresh_token().is_none() {
            let reason =
                "the access token has expired or was rejected, and there is no refresh token";
            return self.fail(Error::ReauthRequired(reason.into()));
        }
        if self.now.saturating_sub(refresh.looked) > LATE && !refresh.looked_again {
            refresh.looked_again = true;
            return self.look(refresh);
        }
        refresh.exchanges += 1;
        refresh.looked_again = false;
        let exchange = Effect::Exchange(refresh.store.clone(), base.clone());
        self.wait(exchange, State::Exchanging(refresh, base));
    }

    pub(super) fn exchanged(
        &mut self,
        refresh: Refresh<R, S>,
        base: &Token<R>,
        record: R,
        life: Life,
    ) {
        let rotated = record.refresh_token() != base.record.refresh_token();
        self.rotates = Some(rotated);
        self.tokens.expect(&record);
        self.look_before_save(Save {
            store: refresh.store,
            record,
            life,
            rotated,
            base: base.record.id(),
            is_again: false,
            attempts: 0,
            began: self.now,
            queued: false,
            is_gone: false,
        });
    }

    /// Sends the refresh token again after a transient failure: a provider with a grace period repeats a lost response
    /// (token-failures: T8). If the provider refuses the refresh token, another process may have spent it; then that
    /// process has saved its token, or will soon (token-failures: T1).
    pub(super) fn refused(
        &mut self,
        mut refresh: Refresh<R, S>,
        base: SharedToken<R>,
        mut failure: ExchangeError,
    ) {
        refresh.lost |= failure.outcome_unknown;
        failure.outcome_unknown = refresh.lost;
        match failure.class {
            ErrorClass::Reauth => {
                let looks = 0;
                let doubt = Doubt {
                    base,
                    failure,
                    looks,
                };
                self.doubt(refresh, doubt);
            }
            ErrorClass::Transient if let Some(pause) = pause_before_retry(&refresh, &failure) => {
                let what = "The request to the token endpoint is retried";
                self.warn(codes::TOKEN_REQUEST_RETRIED, format!("{what}: {failure}"));
                self.wait(Effect::Pause(pause), State::Pausing(refresh));
            }
            ErrorClass::Config => self.fail(Error::Config(failure.to_string())),
            // A response that cannot be parsed does not prove that the refresh token is invalid, even if it repeats.
            ErrorClass::Transient | ErrorClass::Malformed => self.fail(Error::Unavailable {
                reason: failure.to_string(),
                retry_after: failure.retry_after,
            }),
        }
    }

    /// Pauses before the next look, or gives the refresh token up after the last.
    fn doubt(&mut self, mut refresh: Refresh<R, S>, mut doubt: Doubt<R>) {
        if let Some(pause) = LOOKS.get(doubt.looks) {
            doubt.looks += 1;
            refresh.doubt = Some(doubt);
            return self.wait(Effect::Pause(*pause), State::Pausing(refresh));
        }
        let failure = doubt.failure;
        let why = match failure.code.as_deref() {
            _ if failure.outcome_unknown => {
                ": an earlier response was lost, and its token with it (outcome unknown)"
            }
            Some("invalid_grant") if self.rotates != Some(false) => {
                ": it was revoked, it expired, or a process ended before it saved the replacement"
            }
            _ => "",
        };
        let error = Error::ReauthRequired(format!("{failure}{why}"));
        self.limits.bury(&doubt.base.record, &error);
        self.fail(error);
    }

    // --- Secrets of the platform (token-failures: Secrets of the platform) -------------------------------------------

    /// Reads the secret. With `refresh`, the platform refreshes it first.
    pub(super) fn read_secret(&mut self, store: S, why: Why, refresh: bool) {
        let read = Effect::ReadSecret(store.clone(), refresh);
        self.wait(read, State::ReadingSecret(store, why, refresh));
    }

    /// If the secret still contains the rejected token, asks the platform once to refresh it.
    pub(super) fn secret_read(
        &mut self,
        store: S,
        why: Why,
        refreshed: bool,
        record: R,
        life: Life,
    ) {
        let is_same =
            |token: &&SharedToken<R>| token.record.access_token() == record.access_token();
        let token = match self.tokens.current().filter(is_same).cloned() {
            Some(_) if why == Why::Rejected && !refreshed => {
                return self.read_secret(store, why, true);
            }
            Some(same) => same,
            None => self.tokens.put(record, life, false),
        };
        // Another look would not help those whose token was rejected meanwhile.
        let is_rejected =
            |need: &mut Need<S>| need.known.is_some_and(|known| token.generation <= known);
        let rejected: Vec<_> = self.needs.extract_if(.., is_rejected).collect();
        for need in rejected {
            let reason = "no newer token is available than the one it rejected";
            self.answer(&need, Err(Error::TokenRejected(reason.into())));
        }
        self.succeed(&token);
    }
}

/// Returns the pause before the refresh token is sent again; `None` if it is not sent again in this refresh.
fn pause_before_retry<R, S>(refresh: &Refresh<R, S>, failure: &ExchangeError) -> Option<Duration> {
    if refresh.exchanges >= TRIES {
        return None;
    }
    let own = RETRY.delay_after(refresh.exchanges);
    Some(failure.retry_after.unwrap_or(own)).filter(|pause| *pause <= MAX_DELAY)
}
