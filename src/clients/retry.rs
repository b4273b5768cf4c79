//! How often something is attempted, and how long the delays between the attempts are.
//!
//! This is the only retry policy of the runtime. Two kinds of delays are computed elsewhere, because the platform fixes
//! them: the expiration of a rebound, and the `Retry-After` of a server.

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use std::time::Duration;

/// After this many failures every delay has reached its maximum.
const MAX_DOUBLINGS: u32 = 64;

/// How often something is attempted, and how long the delays between the attempts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RetryPolicy {
    /// The number of attempts, the first one included. Without it there is no limit.
    pub(crate) attempts: Option<u32>,
    /// The delay before the second attempt. It doubles with every further attempt.
    pub(crate) delay: Duration,
    /// The longest delay, without jitter.
    pub(crate) max_delay: Duration,
    /// Adds a random part of each delay to it, so that replicas do not retry at the same time.
    pub(crate) jitter: bool,
}

impl RetryPolicy {
    /// Delays that double from `delay` up to `max_delay`, without a limit on attempts.
    pub(crate) const fn doubling(delay: Duration, max_delay: Duration) -> Self {
        Self {
            attempts: None,
            delay,
            max_delay,
            jitter: false,
        }
    }

    /// The same `delay` before every retry, without a limit on attempts.
    pub(crate) const fn constant(delay: Duration) -> Self {
        Self::doubling(delay, delay)
    }

    /// Limits the attempts to this number, the first one included.
    pub(crate) const fn with_attempts(self, attempts: u32) -> Self {
        Self {
            attempts: Some(attempts),
            ..self
        }
    }

    /// Lengthens each delay by a random part of it, up to twice its length.
    pub(crate) const fn with_jitter(self) -> Self {
        Self {
            jitter: true,
            ..self
        }
    }

    /// The delays between the attempts. The iterator ends when no attempt is left.
    pub(crate) fn delays(&self) -> Delays {
        let retries = self
            .attempts
            .map_or(usize::MAX, |attempts| attempts.saturating_sub(1) as usize);
        self.build(retries)
    }

    /// Returns the delay after this many failures, counted from 1, even if no attempt is left.
    ///
    /// For callers that count failures instead of using an iterator.
    pub(crate) fn delay_after(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(MAX_DOUBLINGS);
        let delay = self.build(usize::MAX).nth(doublings as usize);
        delay.unwrap_or(self.max_delay)
    }

    fn build(&self, retries: usize) -> Delays {
        let delays = ExponentialBuilder::new()
            .with_min_delay(self.delay.min(self.max_delay))
            .with_max_delay(self.max_delay)
            .with_max_times(retries);
        let delays = if self.jitter {
            delays.with_jitter()
        } else {
            delays
        };
        Delays(delays.build())
    }
}

/// The delays of one [`RetryPolicy`], in order.
#[derive(Debug)]
pub(crate) struct Delays(ExponentialBackoff);

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.0.next().map(to_whole_millis)
    }
}

/// Written by hand, because backon multiplies single-precision seconds: twice 100 ms becomes 200.000003 ms.
fn to_whole_millis(delay: Duration) -> Duration {
    let millis = delay.saturating_add(Duration::from_micros(500)).as_millis();
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn delays_double_up_to_the_maximum() {
        let policy = RetryPolicy::doubling(ms(100), ms(300_000));
        let doubled: Vec<_> = policy.delays().take(14).collect();
        for (failures, millis) in [
            (0, 100),
            (1, 100),
            (2, 200),
            (3, 400),
            (12, 204_800),
            (13, 300_000),
            (u32::MAX, 300_000),
        ] {
            assert_eq!(policy.delay_after(failures), ms(millis), "{failures}");
            if let Some(delay) = doubled.get(failures.saturating_sub(1) as usize) {
                assert_eq!(*delay, ms(millis), "{failures}");
            }
        }
        assert_eq!(
            RetryPolicy::doubling(ms(500), ms(20)).delay_after(1),
            ms(20)
        );
    }

    #[test]
    fn there_is_one_delay_less_than_attempts() {
        let policy = RetryPolicy::constant(ms(7));
        for (attempts, expected) in [(4, vec![ms(7); 3]), (1, vec![]), (0, vec![])] {
            let delays: Vec<_> = policy.with_attempts(attempts).delays().collect();
            assert_eq!(delays, expected, "{attempts} attempts");
        }
        assert_eq!(policy.delays().take(1000).count(), 1000);
    }

    #[test]
    fn jitter_adds_at_most_the_delay_itself() {
        let policy = RetryPolicy::doubling(ms(100), ms(400)).with_jitter();
        let delays: Vec<_> = policy.delays().take(5).collect();
        for (delay, least) in delays.iter().zip([100, 200, 400, 400, 400]) {
            assert!((ms(least)..=ms(2 * least)).contains(delay), "{delays:?}");
        }
    }
}
