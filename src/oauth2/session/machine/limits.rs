//! What keeps a refresh from starting: a pause after a failure, a dead refresh token, an API that rejects new tokens.

use super::{
    event::Why,
    record::{Moment, Record, Token},
};
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

/// Why no refresh may start before `until`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pause {
    until: Moment,
    error: Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limits<R: Record> {
    pause: Option<Pause>,
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

impl<R: Record> Default for Limits<R> {
    fn default() -> Self {
        Self {
            pause: None,
            failures: 0,
            dead: None,
            rejections: 0,
            refused_until: None,
            accepted: 0,
        }
    }
}

/// A rejected token that is not refreshed.
pub(super) struct TooOften {
    pub(super) error: Error,
    /// How long no rejected token is refreshed, if that begins now.
    pub(super) begins: Option<Duration>,
}

impl<R: Record> Limits<R> {
    /// Returns why no refresh may start at the moment.
    pub(super) fn paused(&self, now: Moment) -> Option<&Error> {
        let pause = self.pause.as_ref().filter(|pause| pause.until > now)?;
        Some(&pause.error)
    }

    /// Notes that a refresh failed. Everyone gets this error for a while.
    pub(super) fn failed(&mut self, now: Moment, error: &Error) {
        let asked = match error {
            Error::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        };
        let own = match error {
            Error::Unavailable { .. } => RetryPolicy::doubling(FIRST_PAUSE, LONGEST_PAUSE)
                .delay_after(self.failures.saturating_add(1)),
            _ => LONGEST_PAUSE,
        };
        let pause = asked.map_or(own, |asked| asked.clamp(SHORTEST_ASKED, LONGEST_ASKED));
        self.failures = self.failures.saturating_add(1);
        self.pause = Some(Pause {
            until: now + pause,
            error: error.clone(),
        });
    }

    /// Notes that a refresh returned a token.
    pub(super) fn succeeded(&mut self) {
        (self.pause, self.failures) = (None, 0);
    }

    /// Notes that refreshes help again.
    pub(super) fn trust(&mut self) {
        (self.rejections, self.refused_until) = (0, None);
    }

    /// Notes that the API accepted a token.
    pub(super) fn accepted(&mut self, generation: u64) {
        self.accepted = self.accepted.max(generation);
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
    pub(super) fn count_rejection(
        &mut self,
        now: Moment,
        why: Why,
        current: Option<&Token<R>>,
    ) -> Result<(), TooOften> {
        let has_proved_good = current.is_none_or(|token| {
            let age = now.saturating_sub(token.life.received);
            token.generation <= 1 || (token.generation == self.accepted && age >= FRESH)
        });
        if why != Why::Rejected
            || has_proved_good
            || self.refused_until.take_if(|until| *until <= now).is_some()
        {
            return Ok(());
        }
        let reason = "it rejected several new tokens; check the API's address, the user's permissions and the scopes";
        let error = Error::TokenRejected(reason.into());
        if self.refused_until.is_some() {
            return Err(TooOften {
                error,
                begins: None,
            });
        }
        self.rejections = self.rejections.saturating_add(1);
        let Some(over) = self.rejections.checked_sub(REJECTIONS + 1) else {
            return Ok(());
        };
        let time = RetryPolicy::doubling(FRESH, LONGEST_REFUSAL).delay_after(over + 1);
        self.refused_until = Some(now + time);
        Err(TooOften {
            error,
            begins: Some(time),
        })
    }
}
