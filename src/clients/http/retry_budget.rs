//! The retries that all requests of one account share.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How many retries are allowed at once.
const CAPACITY: u32 = 30;
/// How long it takes until one comes back without a success.
const REFILL: Duration = Duration::from_secs(10);

/// Limits the retries of one account, whichever task makes them. It is a token bucket: each retry takes one of 30 tokens,
/// each success returns one, and every ten seconds one comes back. So an API that fails for everybody gets at most twice
/// the usual requests and six retries a minute, and is not kept down by retries. After a long failure without successes,
/// an empty budget is full again in five minutes.
///
/// If the API says when to come back, the requests of all tasks wait until then.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    left: AtomicU32,
    /// Until when retries that came back with time are counted.
    refilled: Mutex<Instant>,
    is_paused: AtomicBool,
    paused_until: Mutex<Instant>,
}

impl RetryBudget {
    pub(crate) fn new() -> Self {
        Self {
            left: AtomicU32::new(CAPACITY),
            refilled: Mutex::new(Instant::now()),
            is_paused: AtomicBool::new(false),
            paused_until: Mutex::new(Instant::now()),
        }
    }

    /// Takes one retry. Returns false if none is left.
    pub(crate) fn take(&self) -> bool {
        self.refill();
        self.left
            .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
            .is_ok()
    }

    /// Returns one retry, after a success.
    pub(crate) fn succeeded(&self) {
        // Almost always full: then nothing is written.
        if self.left.load(Relaxed) < CAPACITY {
            self.put_back(1);
        }
    }

    /// Returns the retries that have come back with time.
    fn refill(&self) {
        let mut refilled = self.refilled.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if self.left.load(Relaxed) == CAPACITY {
            // Time counts only from the first retry on.
            *refilled = now;
            return;
        }
        let count = (now - *refilled).as_secs() / REFILL.as_secs();
        let count = u32::try_from(count).unwrap_or(CAPACITY).min(CAPACITY);
        self.put_back(count);
        *refilled = if count == CAPACITY {
            now
        } else {
            *refilled + REFILL * count
        };
    }

    fn put_back(&self, count: u32) {
        let _ = self
            .left
            .fetch_update(Relaxed, Relaxed, |left| Some((left + count).min(CAPACITY)));
    }

    /// Lets all requests wait for this time.
    pub(crate) fn pause(&self, time: Duration) {
        let mut until = self.until();
        *until = (*until).max(Instant::now() + time);
        self.is_paused.store(true, Relaxed);
    }

    /// Waits until the pause is over, if there is one.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(crate) async fn paused(&self) {
        while self.is_paused.load(Relaxed) {
            let until = *self.until();
            sleep_until(until).await;
            let current = self.until();
            if *current <= Instant::now() {
                self.is_paused.store(false, Relaxed);
            }
        }
    }

    fn until(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{FutureExt, future::join_all};

    #[tokio::test]
    async fn retries_end_without_a_success_and_come_back_with_it() {
        let budget = RetryBudget::new();
        budget.succeeded();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 30);
        budget.succeeded();
        budget.succeeded();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_come_back_with_time() {
        let budget = RetryBudget::new();
        let all = |budget: &RetryBudget| (0..100).filter(|_| budget.take()).count();
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(all(&budget), 30);
        for (seconds, back) in [
            (9, 0),
            (1, 1),
            (25, 2),
            (5, 1),
            (299, 29),
            (1, 1),
            (86_400, 30),
        ] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            assert_eq!(all(&budget), back, "after {seconds} s");
        }
        // Successes count too, but the budget is never more than full.
        budget.succeeded();
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(all(&budget), 3);
        tokio::time::advance(Duration::from_secs(3600)).await;
        (0..10).for_each(|_| budget.succeeded());
        assert_eq!(all(&budget), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn every_task_waits_for_the_longest_pause() {
        let budget = RetryBudget::new();
        assert!(budget.paused().now_or_never().is_some());
        let start = Instant::now();
        budget.pause(Duration::from_secs(5));
        budget.pause(Duration::from_secs(2));
        join_all((0..3).map(|_| budget.paused())).await;
        assert_eq!(start.elapsed(), Duration::from_secs(5));
        assert!(budget.paused().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_pause_that_comes_later_counts_too() {
        let budget = RetryBudget::new();
        let start = Instant::now();
        budget.pause(Duration::from_secs(1));
        let extend = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            budget.pause(Duration::from_secs(3));
        };
        tokio::join!(budget.paused(), extend);
        assert_eq!(start.elapsed(), Duration::from_millis(3500));
    }
}
