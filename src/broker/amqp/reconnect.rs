//! Opens a lost connection again, and computes the delay before each attempt.

use super::{connection::ConnectionRole, error::BrokerError};
use crate::{
    broker::transport::TransportError,
    clients::retry::{Delays, RetryPolicy},
    codes,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A connection that lived this long was stable: the first attempt after its loss has no delay.
const STABLE_AFTER: Duration = Duration::from_millis(500);
/// Jitter at most doubles a delay, so the longest delay is 10 s. It keeps the sailors of a cluster from connecting at
/// the same time after an outage of the broker: a thousand steps make about 270 attempts per second during a long one, and
/// 290 in the busiest second after it (docs/performance.md). That is less than after a short one, where delays are short.
const DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(5)).with_jitter();

/// The delays while the broker refuses. It runs, and what it refuses may be back soon, so they are at most 2 s.
const REFUSAL_DELAYS: RetryPolicy =
    RetryPolicy::doubling(Duration::from_millis(100), Duration::from_secs(1)).with_jitter();

/// A refusal that lasts is in the log at least this often.
const REMINDER: Duration = Duration::from_secs(300);

/// How long the broker has been refusing: the queue, the exchange or the virtual host is missing, or the user's rights
/// are. Whoever removed them may bring them back, such as a platform that makes its queues anew.
#[derive(Debug)]
pub(super) struct Refusal {
    /// After this time it is final.
    limit: Duration,
    since: Option<Instant>,
    attempts: u64,
    told: Option<Instant>,
    delays: Delays,
}

impl Refusal {
    pub(super) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            attempts: 0,
            told: None,
            delays: REFUSAL_DELAYS.delays(),
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Notes that the broker does not refuse.
    pub(super) fn over(&mut self) {
        if self.since.take().is_some() {
            self.attempts = 0;
            self.told = None;
            self.delays = REFUSAL_DELAYS.delays();
        }
    }

    /// Notes a refusal. Logs the first attempt, the second, the fourth and so on, and one every five minutes. Returns the delay
    /// before the next attempt.
    ///
    /// # Errors
    /// The broker has been refusing for longer than the limit. The error has the broker's text.
    pub(super) fn refused(
        &mut self,
        role: ConnectionRole,
        text: String,
    ) -> Result<Duration, TransportError> {
        let now = Instant::now();
        let end = *self.since.get_or_insert(now) + self.limit;
        let left = end.saturating_duration_since(now);
        self.attempts += 1;
        let is_due = |told: Instant| now.duration_since(told) >= REMINDER;
        if self.attempts.is_power_of_two() || self.told.is_some_and(is_due) {
            self.told = Some(now);
            tracing::warn!(
                code = %codes::BROKER_REFUSES,
                connection = %role,
                attempt = self.attempts,
                seconds_left = left.as_secs(),
                error = text,
                "The broker refuses; trying again."
            );
        }
        if left.is_zero() {
            let seconds = self.limit.as_secs_f32();
            return Err(TransportError(format!(
                "{text} (tried for {seconds} s, ELASTICIO_REFUSAL_TIMEOUT)"
            )));
        }
        Ok(self.delays.next().unwrap_or_default().min(left))
    }
}

/// Repeats `open` with growing delays, without a limit on attempts. Returns an error only if the broker refuses for
/// longer than `refusal` allows.
pub(super) async fn reopen<T, F: Future<Output = Result<T, BrokerError>>>(
    role: ConnectionRole,
    backoff: &mut ReconnectBackoff,
    refusal: &mut Refusal,
    open: impl Fn() -> F,
) -> Result<T, TransportError> {
    let mut attempt = 0_u64;
    backoff.wait().await;
    loop {
        attempt += 1;
        match open().await {
            Ok(opened) => {
                backoff.opened();
                refusal.over();
                tracing::info!(connection = %role, attempt, "The connection to the broker is back.");
                return Ok(opened);
            }
            Err(BrokerError::Permanent(text) | BrokerError::Refused(text)) => {
                sleep(refusal.refused(role, text)?).await;
            }
            Err(BrokerError::Transient(text) | BrokerError::LimitReached(text)) => {
                refusal.over();
                tracing::warn!(
                    code = %codes::BROKER_UNREACHABLE,
                    connection = %role,
                    attempt,
                    error = text,
                    "The broker cannot be reached; trying again."
                );
                backoff.wait().await;
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
    async fn reconnect_delays_grow_up_to_10_seconds() {
        let mut backoff = ReconnectBackoff::new();
        let delays: Vec<_> = (0..20).map(|_| backoff.next_delay().unwrap()).collect();
        assert!(
            delays[0] >= Duration::from_millis(100) && delays[0] <= Duration::from_millis(200),
            "{delays:?}"
        );
        assert!(delays[3] >= Duration::from_millis(800), "{delays:?}");
        assert!(
            delays[19] >= Duration::from_secs(5) && delays[19] <= Duration::from_secs(10),
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
        assert!(backoff.next_delay().unwrap() >= Duration::from_secs(5));
        backoff.opened();
        tokio::time::advance(STABLE_AFTER).await;
        assert_eq!(backoff.next_delay(), None);
        assert!(backoff.next_delay().unwrap() <= Duration::from_millis(200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_that_lasts_is_told_every_five_minutes() {
        let log = crate::captured_log::CapturedLog::begin();
        let mut refusal = Refusal::new(Duration::from_secs(7200));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3600) {
            let delay = refusal.refused(ConnectionRole::Consume, "no queue".into());
            sleep(delay.unwrap()).await;
        }
        let told = log.count(&["The broker refuses; trying again."]);
        // About 4000 attempts: 12 doublings in the first 40 minutes, and the gaps between the last ones.
        assert!((12..=24).contains(&told), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final_after_its_time() {
        let mut refusal = Refusal::new(Duration::from_secs(60));
        for _ in 0..3 {
            let start = Instant::now();
            let mut attempts = 0;
            let error = loop {
                match refusal.refused(ConnectionRole::Consume, "no queue".into()) {
                    Ok(delay) => {
                        assert!(delay <= Duration::from_secs(2), "{delay:?}");
                        attempts += 1;
                        sleep(delay).await;
                    }
                    Err(error) => break error.to_string(),
                }
            };
            assert_eq!(start.elapsed(), Duration::from_secs(60));
            assert!((30..=70).contains(&attempts), "{attempts}");
            assert_eq!(
                error,
                "no queue (tried for 60 s, ELASTICIO_REFUSAL_TIMEOUT)"
            );
            refusal.over();
            let first = refusal
                .refused(ConnectionRole::Consume, "again".into())
                .unwrap();
            assert!(first <= Duration::from_millis(200), "{first:?}");
            refusal.over();
        }
    }
}
