//! How often, how fast and how patiently something is tried.

use super::HttpError;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How long tries go on where nothing says how many there are: a restart of what is asked is waited out.
const PATIENCE: Duration = Duration::from_secs(30);
/// The shortest pause between tries that nothing counts.
const SHORTEST_UNCOUNTED: Duration = Duration::from_millis(100);
/// The pauses that are left once the process is to stop.
const WHILE_STOPPING: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];

/// How often, how fast and how patiently a request is tried.
#[derive(Clone, Debug)]
pub(crate) struct RetryPolicy {
    /// Tries in all; the first always happens. None: they go on for half a minute.
    pub(crate) attempts: Option<u32>,
    /// The pause before the second try.
    pub(crate) delay: Duration,
    /// Pauses double, with jitter, up to this; all are alike where it is `delay`.
    pub(crate) max_delay: Duration,
    /// For one try, from connecting to the last byte of the body.
    pub(crate) timeout: Duration,
    /// Fires when the process is to stop: then there are few tries left, in quick succession.
    pub(crate) stopping: CancellationToken,
}

impl RetryPolicy {
    /// Goes on for half a minute with pauses that grow.
    pub(crate) fn patient(timeout: Duration) -> Self {
        Self {
            attempts: None,
            delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(4),
            timeout,
            stopping: CancellationToken::new(),
        }
    }

    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> {
        let alike = ExponentialBuilder::default()
            .with_min_delay(self.delay)
            .with_max_delay(self.max_delay)
            .with_factor(1.0)
            .without_max_times();
        let pauses = if self.max_delay > self.delay {
            alike.with_factor(2.0).with_jitter()
        } else {
            alike
        };
        let most = self
            .attempts
            .map_or(usize::MAX, |attempts| attempts.saturating_sub(1) as usize);
        pauses.build().take(most)
    }
}

/// Tries `attempt` until it works or fails for good, or no try is left.
pub(crate) async fn retry<T, F: Future<Output = Result<T, HttpError>>>(
    policy: &RetryPolicy,
    mut attempt: impl FnMut() -> F,
) -> Result<T, HttpError> {
    let end = Instant::now() + PATIENCE;
    let mut pauses = policy.pauses();
    let mut last_pauses = WHILE_STOPPING.into_iter();
    loop {
        let error = match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let Some(own) = pauses.next().filter(|_| error.is_transient()) else {
            return Err(error);
        };
        let asked = error.retry_after();
        let mut pause = asked.unwrap_or(own);
        if policy.attempts.is_none() {
            // Nobody counts these: a server that asks for no pause gets no more of them for that.
            pause = asked
                .map_or(own, |asked| asked.max(own))
                .max(SHORTEST_UNCOUNTED);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            pause = pause.min(left);
        }
        let stopping = policy.stopping.is_cancelled();
        if stopping {
            let Some(last) = last_pauses.next() else {
                return Err(error);
            };
            pause = pause.min(last);
        }
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(
            error = error.without_contents(),
            pause_ms,
            "An HTTP request failed and will be tried again"
        );
        tokio::select! {
            () = sleep(pause) => {}
            () = policy.stopping.cancelled(), if !stopping => {}
        }
    }
}
