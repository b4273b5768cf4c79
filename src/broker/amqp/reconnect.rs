//! Opens a lost connection again, and computes the delay before each attempt.

use super::{
    connection::ConnectionRole,
    error::{BrokerError, MAX_REFUSALS},
};
use crate::{
    broker::transport::TransportError,
    clients::retry::{Delays, RetryPolicy},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A connection that lived this long was stable: the first attempt after its loss has no delay.
const STABLE_AFTER: Duration = Duration::from_millis(500);
/// Jitter at most doubles a delay, so the longest delay is 30 s. It keeps the sailors of a cluster from connecting at
/// the same time after an outage of the broker.
const DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(15)).with_jitter();

/// Repeats `open` with growing delays, without a limit on attempts. Returns an error only if a retry cannot succeed.
pub(super) async fn reopen<T, F: Future<Output = Result<T, BrokerError>>>(
    role: ConnectionRole,
    backoff: &mut ReconnectBackoff,
    open: impl Fn() -> F,
) -> Result<T, TransportError> {
    let mut refusals = 0;
    let mut attempt = 0_u64;
    loop {
        attempt += 1;
        backoff.wait().await;
        match open().await {
            Ok(opened) => {
                backoff.opened();
                tracing::info!(connection = %role, attempt, "The connection to the broker is back.");
                return Ok(opened);
            }
            Err(BrokerError::Permanent(text)) => return Err(TransportError(text)),
            Err(BrokerError::Refused(text)) => {
                refusals += 1;
                if refusals >= MAX_REFUSALS {
                    return Err(TransportError(text));
                }
                tracing::warn!(connection = %role, attempt, error = text, "The broker refused; trying again.");
            }
            Err(BrokerError::Transient(text) | BrokerError::LimitReached(text)) => {
                refusals = 0;
                tracing::warn!(connection = %role, attempt, error = text, "The broker cannot be reached; trying again.");
            }
        }
    }
}

/// The delays between attempts to connect.
pub(super) struct ReconnectBackoff {
    delays: Delays,
    opened: Option<Instant>,
}

impl ReconnectBackoff {
    pub(super) fn new() -> Self {
        Self {
            delays: DELAYS.delays(),
            opened: None,
        }
    }

    /// Records that a connection is open.
    pub(super) fn opened(&mut self) {
        self.opened = Some(Instant::now());
    }

    async fn wait(&mut self) {
        if let Some(delay) = self.next_delay() {
            sleep(delay).await;
        }
    }

    /// Returns the next delay: none after a stable connection. A connection that is lost at once does not reset the
    /// delays.
    fn next_delay(&mut self) -> Option<Duration> {
        let opened = self.opened.take();
        if opened.is_some_and(|opened| opened.elapsed() >= STABLE_AFTER) {
            self.delays = DELAYS.delays();
            return None;
        }
        self.delays.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reconnect_delays_grow_up_to_30_seconds() {
        let mut backoff = ReconnectBackoff::new();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay().unwrap()).collect();
        assert!(
            delays[0] >= Duration::from_millis(100) && delays[0] <= Duration::from_millis(200),
            "{delays:?}"
        );
        assert!(delays[3] >= Duration::from_millis(800), "{delays:?}");
        assert!(
            delays[19] >= Duration::from_secs(15) && delays[19] <= Duration::from_secs(30),
            "{delays:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_stable_connection_resets_the_backoff() {
        let mut backoff = ReconnectBackoff::new();
        for _ in 0..6 {
            backoff.next_delay();
        }
        backoff.opened();
        tokio::time::advance(STABLE_AFTER / 2).await;
        assert!(backoff.next_delay().unwrap() > Duration::from_secs(5));
        backoff.opened();
        tokio::time::advance(STABLE_AFTER).await;
        assert_eq!(backoff.next_delay(), None);
        assert!(backoff.next_delay().unwrap() <= Duration::from_millis(200));
    }
}
