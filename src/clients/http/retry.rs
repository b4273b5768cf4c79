//! Repeats a request until it succeeds, fails permanently, or no attempt is left.

use super::HttpError;
use crate::{
    clients::retry::{Delays, RetryPolicy},
    codes,
};
use std::{array, time::Duration};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long a request without a limit on attempts is retried. A restart of the server takes less time.
const RETRY_WINDOW: Duration = Duration::from_secs(30);
/// The shortest delay of a request without a limit on attempts.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// The remaining delays once the process is stopping.
const DELAYS_WHILE_STOPPING: [Duration; 2] =
    [Duration::from_millis(100), Duration::from_millis(200)];

/// How a request is attempted.
#[derive(Clone, Debug)]
pub(crate) struct RequestPolicy {
    /// Without a limit on attempts, a request is retried for 30 seconds.
    pub(crate) retry: RetryPolicy,
    /// The limit of one attempt, from connecting to the last byte of the body.
    pub(crate) timeout: Duration,
    /// Once this is cancelled, at most two more attempts are made, with short delays.
    pub(crate) stopping: CancellationToken,
}

impl RequestPolicy {
    /// Retries for 30 seconds with growing delays, to hide short outages of the server.
    pub(crate) fn for_outages(timeout: Duration) -> Self {
        Self {
            retry: RetryPolicy::doubling(Duration::from_millis(200), Duration::from_secs(4))
                .with_jitter(),
            timeout,
            stopping: CancellationToken::new(),
        }
    }
}

/// Repeats `attempt` until it succeeds, fails permanently, or no attempt is left. Then the last error is returned.
pub(crate) async fn retry<T, F: Future<Output = Result<T, HttpError>>>(
    policy: &RequestPolicy,
    mut attempt: impl FnMut() -> F,
) -> Result<T, HttpError> {
    let mut schedule = Schedule::new(&policy.retry);
    loop {
        let error = match attempt().await {
            Ok(response) => return Ok(response),
            Err(error) => error,
        };
        let is_stopping = policy.stopping.is_cancelled();
        let Some(delay) = schedule.delay_after(&error, is_stopping) else {
            return Err(error);
        };
        tracing::warn!(
            code = %codes::REQUEST_RETRIED,
            error = error.without_contents(),
            delay_ms = delay.as_millis() as u64,
            "An HTTP request failed; it is retried"
        );
        tokio::select! {
            () = sleep(delay) => {}
            () = policy.stopping.cancelled(), if !is_stopping => {}
        }
    }
}

/// The remaining delays of one request.
struct Schedule {
    delays: Delays,
    delays_while_stopping: array::IntoIter<Duration, 2>,
    /// When the retries of a request without a limit on attempts end.
    end: Option<Instant>,
}

impl Schedule {
    fn new(policy: &RetryPolicy) -> Self {
        let is_unlimited = policy.attempts.is_none();
        Self {
            delays: policy.delays(),
            delays_while_stopping: DELAYS_WHILE_STOPPING.into_iter(),
            end: is_unlimited.then(|| Instant::now() + RETRY_WINDOW),
        }
    }

    /// The delay before the next attempt; `None` if no attempt is left.
    fn delay_after(&mut self, error: &HttpError, is_stopping: bool) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        let own = self.delays.next()?;
        let requested = error.retry_after();
        let delay = match self.end {
            Some(end) => within_window(end, own, requested)?,
            None => requested.unwrap_or(own),
        };
        if is_stopping {
            Some(delay.min(self.delays_while_stopping.next()?))
        } else {
            Some(delay)
        }
    }
}

/// Returns the delay of a request that is retried until `end`, and `None` after that. A server can lengthen the delay,
/// but not shorten it: a `Retry-After` of zero would cause a hot loop.
fn within_window(end: Instant, own: Duration, requested: Option<Duration>) -> Option<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    let delay = requested.unwrap_or_default().max(own).max(MIN_DELAY);
    (!left.is_zero()).then(|| delay.min(left))
}
