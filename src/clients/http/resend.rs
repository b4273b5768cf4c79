//! When a request of a module is sent again: because the server is busy, has a fault, or did not respond.

use super::{RetryBudget, retry_after};
use crate::clients::retry::{Delays, RetryPolicy};
use reqwest::{Response, StatusCode};
use std::time::Duration;

/// How often one request is sent again.
const MAX_RESENDS: u32 = 3;
/// A longer delay is not waited for; the message comes back later.
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The delays before these, if the server does not name them.
const RETRY: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(500), MAX_DELAY).with_jitter();
/// Up to this much is added to a delay that the server names, so that not all replicas come at once.
const JITTER_MS: u64 = 250;

/// The resends that one request has left, from a budget that it shares with others.
pub(crate) struct Resends<'a> {
    left: u32,
    delays: Delays,
    budget: &'a RetryBudget,
    idempotent: bool,
}

impl<'a> Resends<'a> {
    pub(crate) fn new(budget: &'a RetryBudget, idempotent: bool) -> Self {
        Self {
            left: MAX_RESENDS,
            delays: RETRY.delays(),
            budget,
            idempotent,
        }
    }

    /// Takes a resend if the server is busy or has a fault, if that can help, and if the request `is_repeatable`: its body
    /// can be sent again. Returns the delay before it. A busy API lets all requests with the credential wait, unless a
    /// server `is_elsewhere`, to which a redirect led without the token.
    pub(crate) fn after(
        &mut self,
        response: &Response,
        is_busy: bool,
        is_repeatable: bool,
        is_elsewhere: bool,
    ) -> Option<Duration> {
        let (status, asked) = (response.status(), retry_after(response.headers()));
        if !is_busy && !status.is_server_error() {
            self.budget.succeeded();
            return None;
        }
        let is_too_long = asked.is_some_and(|asked| asked > MAX_DELAY);
        if let Some(asked) = asked.filter(|_| is_busy && !is_too_long && !is_elsewhere) {
            self.budget.pause(asked);
        }
        let can_help = can_repeat(status, is_busy, asked, self.idempotent);
        if !can_help || !is_repeatable || is_too_long {
            return None;
        }
        self.take(asked)
    }

    /// Takes a resend of this request and of the budget. Returns its delay: the one that the server asks for, or else the
    /// next of our own.
    pub(crate) fn take(&mut self, asked: Option<Duration>) -> Option<Duration> {
        self.left = self.left.checked_sub(1)?;
        let jitter = Duration::from_millis(fastrand::u64(0..JITTER_MS));
        let delay = asked.map_or_else(|| self.delays.next(), |asked| Some(asked + jitter))?;
        self.budget.take().then_some(delay)
    }
}

/// Returns whether a request with this response can be sent again: the server did not process it, or it changes nothing.
pub(crate) fn can_repeat(
    status: StatusCode,
    is_busy: bool,
    retry_after: Option<Duration>,
    idempotent: bool,
) -> bool {
    match status {
        _ if is_busy => true,
        StatusCode::SERVICE_UNAVAILABLE => idempotent || retry_after.is_some(),
        StatusCode::NOT_IMPLEMENTED => false,
        _ => idempotent,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_of_more_than_30_seconds_is_not_waited_for() {
        for (asked, is_waited_for) in [(30, true), (31, false)] {
            let response = ::http::Response::builder()
                .status(429)
                .header("retry-after", asked)
                .body("")
                .unwrap();
            let budget = RetryBudget::new();
            let mut resends = Resends::new(&budget, true);
            let delay = resends.after(&response.into(), true, true, false);
            assert_eq!(delay.is_some(), is_waited_for, "{asked}: {delay:?}");
            assert!(
                delay.is_none_or(|delay| delay.as_secs() == asked),
                "{delay:?}"
            );
        }
    }
}
