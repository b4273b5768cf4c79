//! So many events per interval, on tokio's clock.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// Lets `limit` events through at once, and from then on `limit` per interval, evenly. First come, first served.
#[derive(Debug)]
pub(crate) struct Throttle {
    spacing: Duration,
    burst: Duration,
    next: Mutex<Instant>,
}

impl Throttle {
    /// A limit of zero counts as one.
    pub(crate) fn new(limit: u32, interval: Duration) -> Self {
        let spacing = interval / limit.max(1);
        Self {
            spacing,
            burst: interval.saturating_sub(spacing),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Waits for this event's turn. The turn is taken before the first await, so the order of calls is kept; a
    /// dropped future leaves its turn unused.
    pub(crate) async fn turn(&self) {
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let mine = (*next).max(now);
            *next = mine + self.spacing;
            mine.checked_sub(self.burst).unwrap_or(now)
        };
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_through_and_then_the_rate_holds() {
        let throttle = Throttle::new(10, Duration::from_millis(100));
        let start = Instant::now();
        for _ in 0..10 {
            throttle.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..100 {
            throttle.turn().await;
        }
        let took = start.elapsed().as_millis();
        assert!((1000..=1010).contains(&took), "{took} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn waiters_proceed_in_order() {
        let throttle = Throttle::new(1, Duration::from_millis(100));
        let start = Instant::now();
        let turns = (0..4).map(|n| {
            let throttle = &throttle;
            async move {
                throttle.turn().await;
                (n, start.elapsed().as_millis() / 100)
            }
        });
        assert_eq!(
            futures_util::future::join_all(turns).await,
            [(0, 0), (1, 1), (2, 2), (3, 3)]
        );
    }
}
