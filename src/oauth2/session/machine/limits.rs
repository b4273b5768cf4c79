//! What keeps a refresh from starting: a pause after a failure, a dead refresh token, an API that rejects new tokens.

use super::record::{Moment, Record, Token};
use crate::{clients::retry::RetryPolicy, oauth2::Error};
use std::time::Duration;

/// The first pause after a failed refresh; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// The longest of these pauses, and how often a dead credential is checked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The limits of a pause that the provider asks for.
const SHORTEST_ASKED: Duration = Duration::from_secs(1);
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// A token that is rejected within this time of its arrival was not expired (token-failures: T39).
const FRESH: Duration = Duration::from_secs(60);
/// After this many rejected fresh tokens in a row, rejected tokens are not refreshed for [`FRESH`]. Each further
/// rejection doubles this time.
const REJECTIONS: u32 = 3;
/// The longest of these times. It limits how long a user who connects again has to wait.
const LONGEST_REFUSAL: Duration = Duration::from_secs(300);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Limits<R: Record> {
    /// No refresh may start before this time, because of this error.
    pause: Option<(Moment, Error)>,
    failures: u32,
    /// The pair of tokens that the provider has refused for good.
    dead: Option<(R::Id, Error)>,
    /// How many refreshes in a row did not help the request that needed them.
    rejections: u32,
    /// Rejected tokens are not refreshed before this time, because too many refreshes did not help.
    refused_until: Option<Moment>,
    /// The latest generation that the API has accepted.
    accepted: u64,
}

impl<R: Record> Limits<R> {
    /// Returns why no refresh may start at the moment.
    pub(super) fn paused(&self, now: Moment) -> Option<&Error> {
        let pause = self.pause.as_ref().filter(|(until, _)| *until > now);
        pause.map(|(_, error)| error)
    }

    /// Notes that a refresh failed. Everyone gets this error for a while.
    pub(super) fn failed(&mut self, now: Moment, error: &Error) {
        self.failures = self.failures.saturating_add(1);
        let pause = match error {
            Error::Unavailable {
                retry_after: Some(asked),
                ..
            } => (*asked).clamp(SHORTEST_ASKED, LONGEST_ASKED),
            Error::Unavailable { .. } => {
                RetryPolicy::doubling(FIRST_PAUSE, LONGEST_PAUSE).delay_after(self.failures)
            }
            _ => LONGEST_PAUSE,
        };
        self.pause = Some((now + pause, error.clone()));
    }

    /// Notes that a refresh returned a token.
    pub(super) fn succeeded(&mut self) {
        (self.pause, self.failures) = (None, 0);
    }

    /// Notes that refreshes help again.
    pub(super) fn trust(&mut self) {
        (self.rejections, self.refused_until) = (0, None);
    }

    /// Notes that the API accepted a token. `after_refresh` says that it had rejected the request's first token.
    pub(super) fn accepted(&mut self, generation: u64, after_refresh: bool) {
        self.accepted = self.accepted.max(generation);
        if after_refresh {
            self.trust();
        }
    }

    /// Notes that the provider refuses these tokens for good.
    pub(super) fn bury(&mut self, record: &R, error: &Error) {
        self.dead = Some((record.id(), error.clone()));
    }

    /// Returns the error with which the provider refused these tokens for good.
    pub(super) fn dead(&self, record: &R) -> Option<Error> {
        let (dead, error) = self.dead.as_ref()?;
        (*dead == record.id()).then(|| error.clone())
    }

    /// Counts a rejected token. If the API rejects new tokens soon after they arrive, a refresh does not help. If it
    /// accepted a token for a while, a refresh is always worthwhile.
    ///
    /// # Errors
    /// Returns an error if the token is not refreshed, and for how long no other one is, if that begins now.
    pub(super) fn count_rejection(
        &mut self,
        now: Moment,
        current: Option<&Token<R>>,
    ) -> Result<(), (Error, Option<Duration>)> {
        let has_proved_good = current.is_none_or(|token| {
            let age = now.saturating_sub(token.life.received);
            token.generation <= 1 || (token.generation == self.accepted && age >= FRESH)
        });
        if has_proved_good || self.refused_until.take_if(|until| *until <= now).is_some() {
            return Ok(());
        }
        let reason = "it rejected several new tokens; check the API's address, the user's permissions and the scopes";
        let error = Error::TokenRejected(reason.into());
        if self.refused_until.is_some() {
            return Err((error, None));
        }
        self.rejections = self.rejections.saturating_add(1);
        let Some(over) = self.rejections.checked_sub(REJECTIONS + 1) else {
            return Ok(());
        };
        let time = RetryPolicy::doubling(FRESH, LONGEST_REFUSAL).delay_after(over + 1);
        self.refused_until = Some(now + time);
        Err((error, Some(time)))
    }
}
