//! The request limit of an account: the requests of all its messages are spread evenly.
//!
//! The limit applies to one process. If several steps or replicas use the same account, each needs a part of its limit.

use crate::component::error::Rebound;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// A message that would have to wait longer is rebounded.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// When each account may send its next request.
#[derive(Default)]
pub struct RateLimiter(Mutex<HashMap<String, Instant>>);

impl RateLimiter {
    /// Waits until the account may send a request, if `per_minute` limits it.
    ///
    /// # Errors
    /// Returns a rebound if the wait would be long.
    ///
    /// # Cancel safety
    /// The slot is taken before the wait. Dropping the future does not return it.
    pub async fn acquire(&self, account: &str, per_minute: Option<f64>) -> Result<(), Rebound> {
        if let Some(per_minute) = per_minute {
            let interval = Duration::try_from_secs_f64(60.0 / per_minute);
            sleep_until(self.reserve(account, interval.unwrap_or(Duration::MAX))?).await;
        }
        Ok(())
    }

    /// Takes the account's next slot.
    fn reserve(&self, account: &str, interval: Duration) -> Result<Instant, Rebound> {
        let now = Instant::now();
        let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = next.get(account).copied().unwrap_or(now).max(now);
        let wait = slot - now;
        match slot.checked_add(interval) {
            Some(after) if wait <= MAX_WAIT.max(interval) => {
                next.insert(account.to_owned(), after);
                Ok(slot)
            }
            _ => Err(Rebound::because(format!(
                "the account's request limit is reached; try again in {} s",
                wait.as_secs()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_account_are_spread_evenly() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        for slot in 0..5 {
            limiter.acquire("a", Some(120.0)).await.unwrap();
            assert_eq!(start.elapsed().as_millis() / 500, slot);
        }
        limiter.acquire("b", Some(120.0)).await.unwrap();
        limiter.acquire("a", None).await.unwrap();
        assert_eq!(start.elapsed().as_millis() / 500, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_rebounds_and_frees_the_slot() {
        let (limiter, start) = (RateLimiter::default(), Instant::now());
        let mut slots: Vec<_> = (0..4)
            .map(|_| Box::pin(limiter.acquire("a", Some(2.0))))
            .collect();
        let results = futures_util::future::join_all(slots.drain(..)).await;
        assert_eq!(
            results.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        assert_eq!(start.elapsed().as_secs(), 60);
        let rebound = results[3].as_ref().unwrap_err().to_string();
        let told = "the account's request limit is reached; try again in 90 s";
        assert!(rebound.contains(told), "{rebound}");
    }
}
