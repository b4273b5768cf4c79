//! How many requests an account may send: they are spread evenly, whatever message they are for. This holds for one
//! process; steps and replicas that share an account have to share out its limit.

use sailor::Rebound;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// A longer wait is not waited for: the message had better come again later.
const LONGEST: Duration = Duration::from_secs(60);

/// When each account may send next.
#[derive(Default)]
pub struct Limits(Mutex<HashMap<String, Instant>>);

impl Limits {
    /// Waits for the account's turn, where `per_minute` limits it. A turn that is not used is lost.
    pub async fn turn(&self, account: &str, per_minute: Option<f64>) -> Result<(), Rebound> {
        let Some(per_minute) = per_minute else {
            return Ok(());
        };
        let pause = Duration::try_from_secs_f64(60.0 / per_minute).unwrap_or(Duration::MAX);
        let turn = {
            let now = Instant::now();
            let mut next = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = next.get(account).copied().unwrap_or(now).max(now);
            let wait = turn - now;
            let after = turn.checked_add(pause);
            let (Some(after), true) = (after, wait <= LONGEST.max(pause)) else {
                let wait = wait.as_secs();
                return Err(Rebound::because(format!(
                    "the account's limit of requests is used up for {wait} s"
                )));
            };
            next.insert(account.to_owned(), after);
            turn
        };
        sleep_until(turn).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_of_one_account_are_spread_evenly() {
        let limits = Limits::default();
        let start = Instant::now();
        for turn in 0..5 {
            limits.turn("a", Some(120.0)).await.unwrap();
            assert_eq!(start.elapsed().as_millis() / 500, turn);
        }
        limits.turn("b", Some(120.0)).await.unwrap();
        limits.turn("a", None).await.unwrap();
        assert_eq!(start.elapsed().as_millis() / 500, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_wait_rebounds_and_frees_the_slot() {
        let limits = Limits::default();
        let mut turns: Vec<_> = (0..4)
            .map(|_| Box::pin(limits.turn("a", Some(2.0))))
            .collect();
        let results = futures_util::future::join_all(turns.drain(..)).await;
        assert_eq!(
            results.iter().map(Result::is_ok).collect::<Vec<_>>(),
            [true, true, true, false]
        );
        let rebound = results[3].as_ref().unwrap_err().to_string();
        assert!(rebound.contains("used up for 90 s"), "{rebound}");
    }
}
