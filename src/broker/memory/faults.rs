//! What only tests do with a broker in memory: faults, and waits that fail the test.

use super::{MemoryBroker, Publication, Published, What, lock};
use crate::{
    broker::transport::{Generation, PublishError, PublishErrorKind, TransportError, Verdict},
    protocol::Headers,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;

/// How long a test waits for the engine, on a paused clock.
const PATIENCE: Duration = Duration::from_secs(60);

impl Published {
    pub(crate) fn fail(self, kind: PublishErrorKind) {
        self.confirm.send(Err(PublishError {
            message_id: "id".into(),
            reason: "the test says so".into(),
            kind,
        }));
    }

    /// The published event. Panics if this is a rebound.
    pub(crate) fn event(&self) -> &Publication {
        match &self.what {
            What::Event(publication) => publication,
            What::Rebound(..) => panic!("a rebound was published, not an event"),
        }
    }
}

impl MemoryBroker {
    /// Delivers a message that was delivered before.
    pub(crate) fn redeliver(&self, headers: Headers, body: Bytes) -> u64 {
        self.send(headers, body, true)
    }

    /// Loses the connection: earlier deliveries can no longer be settled.
    pub(crate) fn lose_connection(&self) {
        let mut state = lock(&self.state);
        let number = state.generation.number + 1;
        state.generation = Arc::new(Generation::new(number, 0));
    }

    /// Fails permanently, as if the broker had refused the connection.
    pub(crate) fn fail(&self, reason: &str) {
        if let Some(sender) = lock(&self.state).sender.take() {
            let _ = sender.send(Err(TransportError(reason.into())));
        }
    }

    /// Waits for the next publish. Panics if there is none.
    pub(crate) async fn published(&mut self) -> Published {
        let next = timeout(PATIENCE, self.published.recv()).await;
        next.expect("nothing was published")
            .expect("the engine runs")
    }

    /// Waits for the next settlement: the delivery and its verdict. Panics if there is none.
    pub(crate) async fn settled(&mut self) -> (u64, Verdict) {
        let next = timeout(PATIENCE, self.settled.recv()).await;
        next.expect("nothing was settled").expect("the engine runs")
    }

    /// Returns whether the test has received every publish and settlement so far.
    pub(crate) fn is_idle(&self) -> bool {
        self.published.is_empty() && self.settled.is_empty()
    }

    /// Returns whether the engine's side is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.published.is_closed()
    }
}
