//! Labels whose values are known at compile time, so that the number of series has a bound, and metrics with one of them.

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric, counter::Counter},
};
use std::{fmt, marker::PhantomData, sync::Arc};

/// A label with a fixed set of values.
pub(crate) trait Label: Copy + fmt::Debug + Send + Sync + 'static {
    const NAME: &'static str;
    /// The values in the order of the enum's variants, as they are shown.
    const VALUES: &'static [&'static str];

    fn index(self) -> usize;
}

/// Declares a label as an enum.
macro_rules! label {
    ($(#[$doc:meta])* $label:ident $name:literal { $($(#[$about:meta])* $variant:ident = $value:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $label {
            $($(#[$about])* $variant,)+
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const VALUES: &'static [&'static str] = &[$($value),+];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// What became of a delivery whose verdict was due.
    Outcome "outcome" {
        Acknowledged = "acknowledged",
        Rejected = "rejected",
        /// The connection was lost before the verdict was sent.
        Unsettled = "unsettled",
    }
}

label! {
    /// Why a message was settled without processing.
    Skipped "reason" {
        /// It was redelivered after its verdict, and got the same verdict.
        Repeat = "repeat",
        /// The step had finished it before (`DEDUPLICATE`).
        Duplicate = "duplicate",
    }
}

label! {
    EventLabel "kind" {
        Data = "data",
        Error = "error",
        Rebound = "rebound",
        Snapshot = "snapshot",
    }
}

label! {
    /// A connection that the step cannot work without.
    Link "connection" {
        Consume = "consume",
        Publish = "publish",
    }
}

label! {
    /// The variable that a routing key is from. Keys that modules and requests choose have no bound, so they share a value.
    KeyLabel "key" {
        Data = "data",
        Error = "error",
        Snapshot = "snapshot",
        Rebound = "rebound",
        Other = "other",
    }
}

label! {
    /// What something waits for.
    WaitReason "reason" {
        DataRate = "data_rate_limit",
        ErrorRate = "error_rate_limit",
        SnapshotRate = "snapshot_rate_limit",
        /// A message does not fit beside those that are processed.
        MessageMemory = "message_memory",
        /// A body in object storage does not fit beside the messages that are processed.
        BodyMemory = "body_memory",
        /// A body is not parsed yet, because of the others that are.
        ValueMemory = "value_memory",
        /// An event is not encrypted yet, because earlier ones are not confirmed.
        EventMemory = "event_memory",
        /// Another replica holds the lock of the credential.
        Lock = "lock",
        /// The broker's alarm keeps it from taking messages.
        Blocked = "broker_blocked",
    }
}

/// A metric for each value of a label. A clone is a handle to the same metrics.
#[derive(Debug)]
pub(crate) struct Per<L, M = Counter> {
    metrics: Arc<[M]>,
    label: PhantomData<L>,
}

impl<L: Label, M: Default> Default for Per<L, M> {
    fn default() -> Self {
        Self {
            metrics: L::VALUES.iter().map(|_| M::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L, M> Clone for Per<L, M> {
    fn clone(&self) -> Self {
        Self {
            metrics: self.metrics.clone(),
            label: PhantomData,
        }
    }
}

impl<L: Label, M> Per<L, M> {
    pub(crate) fn of(&self, label: L) -> &M {
        &self.metrics[label.index()]
    }
}

impl<L: Label> Per<L> {
    /// Returns the sum over all values.
    pub(crate) fn sum(&self) -> u64 {
        self.metrics.iter().map(Counter::get).sum()
    }
}

impl<L: Label, M: EncodeMetric + TypedMetric> EncodeMetric for Per<L, M> {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        encode_each::<L>(encoder, |index, series| self.metrics[index].encode(series))
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }
}

/// Encodes a series for each value of a label.
pub(super) fn encode_each<L: Label>(
    mut encoder: MetricEncoder<'_>,
    encode: impl Fn(usize, MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    for (index, value) in L::VALUES.iter().enumerate() {
        let labels = [(L::NAME, *value)];
        encode(index, encoder.encode_family(&labels)?)?;
    }
    Ok(())
}
