//! The log of the messages that a step has finished: it outlives the process, and all replicas of the step share it.
//!
//! The engine writes one short key per message, and is given the keys of all replicas. [`amqp`](super::amqp) keeps the
//! log in a stream on the broker.

use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

/// Stands for one message: a hash.
pub(crate) type MessageKey = [u8; 16];

/// Is called with every key of the log, in its order. The keys that this process has appended are among them.
pub(crate) type LogReader = Arc<dyn Fn(MessageKey) + Send + Sync>;

/// A log of finished messages. It loses its oldest keys when it is full.
pub(crate) trait FinishedLog: Send + Sync {
    /// Appends a key. Resolves when the log has it, or when it is clear that the log does not get it soon: a message does not
    /// wait for a log that is away.
    fn append(&self, key: MessageKey) -> BoxFuture<'_, ()>;

    /// Resolves when the reader has been given everything that was in the log at the time of the call, or when it is clear
    /// that there is no log. Returns false if neither is so within the limit.
    fn catch_up(&self, limit: Duration) -> BoxFuture<'_, bool>;
}
