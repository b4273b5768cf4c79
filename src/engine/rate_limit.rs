//! Rate limits for events, on tokio's clock.

use crate::{
    monitoring::{AllWaits, WaitReason, Waits},
    settings::RateSettings,
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// The rate limits of one step.
pub(super) struct RateLimiters {
    pub(super) data: RateLimiter,
    pub(super) error: RateLimiter,
    pub(super) snapshot: RateLimiter,
}

impl RateLimiters {
    pub(super) fn new(rates: &RateSettings, waits: &AllWaits) -> Self {
        let limiter = |limit, reason| {
            let waits = waits.of(reason).clone();
            RateLimiter::new(limit, rates.interval, waits)
        };
        Self {
            data: limiter(rates.data, WaitReason::DataRate),
            error: limiter(rates.error, WaitReason::ErrorRate),
            snapshot: limiter(rates.snapshot, WaitReason::SnapshotRate),
        }
    }
}

/// Allows a burst of `limit` events, and after that `limit` events per interval, evenly spaced and in order.
#[derive(Debug)]
pub(super) struct RateLimiter {
    spacing: Duration,
    burst: Duration,
    next: Mutex<Instant>,
    waits: Waits,
}

impl RateLimiter {
    /// A limit of zero counts as one.
    fn new(limit: u32, interval: Duration, waits: Waits) -> Self {
        let spacing = interval / limit.max(1);
        Self {
            spacing,
            burst: interval.saturating_sub(spacing),
            next: Mutex::new(Instant::now()),
            waits,
        }
    }

    /// Waits until one more event is allowed.
    ///
    /// The permit is taken before the first await, so events keep the order of these calls. Dropping the future does not
    /// return the permit.
    pub(super) async fn acquire(&self) {
        let allowed_at = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let permit = (*next).max(now);
            *next = permit + self.spacing;
            permit.checked_sub(self.burst).unwrap_or(now)
        };
        if allowed_at > Instant::now() {
            let _waiting = self.waits.begin();
            sleep_until(allowed_at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_then_the_rate_holds() {
        let limiter = RateLimiter::new(10, Duration::from_millis(100), Waits::default());
        let start = Instant::now();
        for _ in 0..10 {
            limiter.acquire().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            limiter.acquire().await;
        }
        let took = start.elapsed().as_millis();
        assert!((1000..=1010).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_proceed_in_order() {
        let limiter = RateLimiter::new(1, Duration::from_millis(100), Waits::default());
        let start = Instant::now();
        let permits = (0..4).map(|n| {
            let limiter = &limiter;
            async move {
                limiter.acquire().await;
                (n, start.elapsed().as_millis() / 100)
            }
        });
        assert_eq!(
            futures_util::future::join_all(permits).await,
            [(0, 0), (1, 1), (2, 2), (3, 3)]
        );
    }
}
