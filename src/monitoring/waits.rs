//! What the step waits for: how often, for how long, and now.

use super::label::{Label, WaitReason, encode_each};
use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};
use tokio::time::Instant;

/// Waits for one reason. A clone is a handle to the same waits.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waits(Arc<Mutex<State>>);

/// It is locked only by what waits anyway, and by scrapes.
#[derive(Debug)]
struct State {
    created: Instant,
    begun: u64,
    running: u32,
    /// When the running waits began, counted from `created`: the sum.
    begins: Duration,
    /// The time of the waits that are over.
    ended: Duration,
}

impl Default for State {
    fn default() -> Self {
        Self {
            created: Instant::now(),
            begun: 0,
            running: 0,
            begins: Duration::ZERO,
            ended: Duration::ZERO,
        }
    }
}

impl State {
    /// Returns how long all waits have taken so far. It only grows.
    fn seconds(&self) -> f64 {
        let running = self.created.elapsed() * self.running;
        (self.ended + running.saturating_sub(self.begins)).as_secs_f64()
    }
}

/// A wait that goes on until this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    waits: Waits,
    since: Instant,
}

impl Waits {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn begin(&self) -> Waiting {
        let since = Instant::now();
        let mut state = self.state();
        let begin = since - state.created;
        state.begun += 1;
        state.running += 1;
        state.begins += begin;
        Waiting {
            waits: self.clone(),
            since,
        }
    }

    /// Awaits `work`. It counts as a wait if it is not done at once.
    ///
    /// # Cancel safety
    /// As cancel safe as `work`. Dropping the future ends the wait.
    pub(crate) async fn count<R>(&self, work: impl Future<Output = R>) -> R {
        let mut work = pin!(work);
        if let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
            return result;
        }
        let _waiting = self.begin();
        work.await
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.waits.state();
        let begin = self.since - state.created;
        state.running -= 1;
        state.begins -= begin;
        state.ended += self.since.elapsed();
    }
}

/// The waits for each reason. A clone is a handle to the same waits.
#[derive(Clone, Debug)]
pub(crate) struct AllWaits(Arc<[Waits]>);

impl Default for AllWaits {
    fn default() -> Self {
        Self(
            WaitReason::VALUES
                .iter()
                .map(|_| Waits::default())
                .collect(),
        )
    }
}

impl AllWaits {
    pub(crate) fn of(&self, reason: WaitReason) -> &Waits {
        &self.0[reason.index()]
    }

    fn encode(
        &self,
        encoder: MetricEncoder<'_>,
        encode: impl Fn(&State, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        encode_each::<WaitReason>(encoder, |index, series| {
            encode(&self.0[index].state(), series)
        })
    }
}

/// How many waits have begun.
#[derive(Debug)]
pub(super) struct Begun(pub(super) AllWaits);

/// How long all waits have taken, in seconds.
#[derive(Debug)]
pub(super) struct Seconds(pub(super) AllWaits);

/// How many waits go on.
#[derive(Debug)]
pub(super) struct Running(pub(super) AllWaits);

impl EncodeMetric for Begun {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder, |state, mut series| {
            series.encode_counter::<NoLabelSet, _, u64>(&state.begun, None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Seconds {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder, |state, mut series| {
            series.encode_counter::<NoLabelSet, _, u64>(&state.seconds(), None)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl EncodeMetric for Running {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder, |state, mut series| {
            series.encode_gauge(&state.running)
        })
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use tokio::time::{advance, sleep, timeout};

    fn numbers(waits: &Waits) -> (u64, f64, u32) {
        let state = waits.state();
        (state.begun, state.seconds(), state.running)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_at_once_is_no_wait() {
        let waits = Waits::default();
        assert_eq!(waits.count(ready(7)).await, 7);
        assert_eq!(numbers(&waits), (0, 0.0, 0));
        waits.count(sleep(Duration::from_secs(2))).await;
        assert_eq!(numbers(&waits).0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_running_waits_counts() {
        let waits = Waits::default();
        let first = waits.begin();
        advance(Duration::from_secs(3)).await;
        let second = waits.begin();
        advance(Duration::from_secs(1)).await;
        assert_eq!(numbers(&waits), (2, 5.0, 2));
        drop(first);
        assert_eq!(numbers(&waits), (2, 5.0, 1));
        advance(Duration::from_secs(1)).await;
        drop(second);
        advance(Duration::from_secs(1)).await;
        assert_eq!(numbers(&waits), (2, 6.0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_when_it_is_dropped() {
        let waits = Waits::default();
        let waiting = timeout(Duration::from_secs(4), waits.count(pending::<()>()));
        assert!(waiting.await.is_err());
        let (begun, seconds, running) = numbers(&waits);
        assert_eq!((begun, running), (1, 0));
        assert!((4.0..4.1).contains(&seconds), "{seconds}");
    }
}
