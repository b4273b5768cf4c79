//! Requests whose body can be read only once, and whose token was refused.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How many tokens in a row may be refused for a request before the refusal is the API's last word.
const MAX_TOKENS: u32 = 3;
/// After this time they are counted from zero, because the token may really have expired.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// How many requests are remembered: their paths may contain ids.
const CAPACITY: usize = 1000;

/// Limits how often messages come back because of such a request. An API can refuse one request with every token and accept others
/// with the same tokens. Then each message would cost a refresh each time that it comes back.
#[derive(Default)]
pub(crate) struct RefusedStreams(Mutex<HashMap<String, Refused>>);

struct Refused {
    since: Instant,
    tokens: u32,
    newest: u64,
}

impl RefusedStreams {
    /// Notes that the token of this generation was refused for a request. Returns whether a newer token may help.
    pub(crate) fn may_succeed_later(&self, request: &str, generation: u64) -> bool {
        let mut all = self.lock();
        all.retain(|_, refused| refused.since.elapsed() < FORGOTTEN_AFTER);
        if all.len() >= CAPACITY {
            all.clear();
        }
        let refused = all.entry(request.to_owned()).or_insert_with(|| Refused {
            since: Instant::now(),
            tokens: 0,
            newest: 0,
        });
        // Many requests can be on their way with one token.
        if refused.tokens == 0 || generation > refused.newest {
            refused.tokens += 1;
            refused.newest = generation;
        }
        refused.tokens <= MAX_TOKENS
    }

    /// Notes that the API accepted the token of a request.
    pub(crate) fn accepted(&self, request: &str) {
        self.lock().remove(request);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Refused>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_are_counted_for_each_request_and_for_a_time() {
        let streams = RefusedStreams::default();
        for generation in [1, 1, 2, 2, 3, 3] {
            assert!(
                streams.may_succeed_later("POST /a", generation),
                "{generation}"
            );
        }
        assert!(!streams.may_succeed_later("POST /a", 4));
        assert!(!streams.may_succeed_later("POST /a", 4));
        assert!(streams.may_succeed_later("POST /b", 4));

        streams.accepted("POST /a");
        assert!(streams.may_succeed_later("POST /a", 5));
        for generation in 6..8 {
            streams.may_succeed_later("POST /a", generation);
        }
        assert!(!streams.may_succeed_later("POST /a", 8));
        tokio::time::advance(FORGOTTEN_AFTER).await;
        assert!(streams.may_succeed_later("POST /a", 9));
    }

    #[tokio::test]
    async fn requests_with_ids_do_not_fill_the_memory() {
        let streams = RefusedStreams::default();
        for id in 0..2 * CAPACITY {
            assert!(streams.may_succeed_later(&format!("POST /{id}"), 1));
        }
        assert!(streams.lock().len() <= CAPACITY);
    }
}
