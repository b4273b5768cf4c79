//! Histograms of durations.
//!
//! They are written by hand, because those of the library take a lock for each observation.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::Instant;

/// Counts durations by their length. A clone is a handle to the same histogram.
#[derive(Clone, Debug)]
pub(crate) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The upper bounds of the buckets, in seconds. There is one more bucket, for what is longer.
    bounds: &'static [f64],
    buckets: Box<[AtomicU64]>,
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Creates an empty histogram. `bounds` are in seconds, in ascending order.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self(Arc::new(Inner {
            bounds,
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_nanos: AtomicU64::new(0),
        }))
    }

    /// Counts the time since `start`, which is `None` if nobody reads the metrics.
    pub(crate) fn observe_since(&self, start: Option<Instant>) {
        if let Some(start) = start {
            self.observe(start.elapsed());
        }
    }

    fn observe(&self, duration: Duration) {
        let Inner {
            bounds,
            buckets,
            sum_nanos,
        } = &*self.0;
        let seconds = duration.as_secs_f64();
        let bucket = bounds.partition_point(|bound| *bound < seconds);
        buckets[bucket].fetch_add(1, Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        sum_nanos.fetch_add(nanos, Relaxed);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.0.buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(self.0.sum_nanos.load(Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::{encoding::prometheus_text, registry::Registry};

    #[test]
    fn a_bound_is_part_of_its_bucket() {
        let histogram = Histogram::new(&[0.5, 2.0]);
        for millis in [500, 501, 2_000, 2_001, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut registry = Registry::default();
        registry.register("time_seconds", "Time", histogram);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry).unwrap();
        let series: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            series,
            [
                "time_seconds_bucket{le=\"0.5\"} 1",
                "time_seconds_bucket{le=\"2\"} 3",
                "time_seconds_bucket{le=\"+Inf\"} 5",
                "time_seconds_sum 65.002",
                "time_seconds_count 5",
            ]
        );
    }
}
