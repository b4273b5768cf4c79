//! A transport in memory, for the engine's tests of verdicts and order, and for counting what the engine does.
//!
//! A test uses [`MemoryBroker`]: it delivers messages, receives publishes in order, confirms or fails each of them, and
//! receives settlements. It has no routing keys, retries or round trips: those belong to the AMQP adapter, whose tests
//! run with a broker.

#[cfg(test)]
mod faults;

use super::{
    message_memory::MessageMemory,
    transport::{
        ConfirmSender, Deliveries, Delivery, Generation, Publication, ReboundLimitExceeded,
        SettleOutcome, Transport, TransportError, Verdict,
    },
};
use crate::{protocol::Headers, settings::MemoryShares};
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// The engine's side.
pub(crate) struct MemoryTransport {
    state: Arc<Mutex<State>>,
    memory: Arc<MessageMemory>,
    deliveries: Mutex<Option<Deliveries<Handle>>>,
    /// None once the transport is closed.
    published: Mutex<Option<UnboundedSender<Published>>>,
    settled: UnboundedSender<(u64, Verdict)>,
}

/// The test's side.
pub(crate) struct MemoryBroker {
    state: Arc<Mutex<State>>,
    published: UnboundedReceiver<Published>,
    settled: UnboundedReceiver<(u64, Verdict)>,
}

/// A delivery's number, and the generation that it belongs to.
pub(crate) struct Handle {
    delivery: u64,
    generation: u32,
}

struct State {
    /// None once consuming has stopped.
    sender: Option<UnboundedSender<Result<Delivery<Handle>, TransportError>>>,
    generation: Arc<Generation>,
    deliveries: u64,
    rebounds_left: u32,
}

/// Something that the engine has published and that the test has to confirm or fail.
pub(crate) struct Published {
    pub(crate) what: What,
    confirm: ConfirmSender,
}

#[derive(Clone)]
pub(crate) enum What {
    Event(Publication),
    /// A rebound of this delivery, with its reason.
    Rebound(u64, String),
}

/// What the engine has done.
pub(crate) enum Done {
    Published(Published),
    Settled(Verdict),
}

impl Published {
    pub(crate) fn confirm(self) {
        self.confirm.send(Ok(()));
    }
}

/// Creates both sides. All messages together can be rebounded `rebounds` times.
pub(crate) fn channel(rebounds: u32) -> (MemoryTransport, MemoryBroker) {
    let (delivery_sender, deliveries) = mpsc::unbounded_channel();
    let (publish_sender, published) = mpsc::unbounded_channel();
    let (settle_sender, settled) = mpsc::unbounded_channel();
    let state = Arc::new(Mutex::new(State {
        sender: Some(delivery_sender),
        generation: Arc::new(Generation::new(1, 0)),
        deliveries: 0,
        rebounds_left: rebounds,
    }));
    let transport = MemoryTransport {
        state: state.clone(),
        memory: MessageMemory::new(MemoryShares::new(None)),
        deliveries: Mutex::new(Some(deliveries)),
        published: Mutex::new(Some(publish_sender)),
        settled: settle_sender,
    };
    let broker = MemoryBroker {
        state,
        published,
        settled,
    };
    (transport, broker)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryBroker {
    /// Delivers a message for the first time, and returns the number of the delivery.
    pub(crate) fn deliver(&self, headers: Headers, body: Bytes) -> u64 {
        self.send(headers, body, false)
    }

    fn send(&self, headers: Headers, body: Bytes, redelivered: bool) -> u64 {
        let mut state = lock(&self.state);
        state.deliveries += 1;
        let delivery = Delivery {
            headers,
            body,
            withheld: None,
            redelivered,
            generation: state.generation.clone(),
            handle: Handle {
                delivery: state.deliveries,
                generation: state.generation.number,
            },
        };
        if let Some(sender) = &state.sender {
            // The engine may have stopped.
            let _ = sender.send(Ok(delivery));
        }
        state.deliveries
    }

    /// Waits for the next thing that the engine does. Returns none once the engine has stopped.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Option<Done> {
        tokio::select! {
            biased;
            Some(published) = self.published.recv() => Some(Done::Published(published)),
            Some((_, verdict)) = self.settled.recv() => Some(Done::Settled(verdict)),
            else => None,
        }
    }
}

impl Transport for MemoryTransport {
    type Handle = Handle;

    async fn consume(&self) -> Result<Deliveries<Handle>, TransportError> {
        Ok(lock(&self.deliveries)
            .take()
            .expect("consume is called once"))
    }

    fn memory(&self) -> &Arc<MessageMemory> {
        &self.memory
    }

    fn publish_to(&self, publication: Publication, confirm: ConfirmSender) {
        self.send(What::Event(publication), confirm);
    }

    fn rebound_to(
        &self,
        handle: &Handle,
        _body: Bytes,
        reason: &str,
        confirm: impl FnOnce() -> ConfirmSender,
    ) -> Result<(), ReboundLimitExceeded> {
        let mut state = lock(&self.state);
        if state.rebounds_left == 0 {
            return Err(ReboundLimitExceeded);
        }
        state.rebounds_left -= 1;
        self.send(What::Rebound(handle.delivery, reason.to_owned()), confirm());
        Ok(())
    }

    fn settle(&self, handle: &Handle, verdict: Verdict) -> SettleOutcome {
        if handle.generation < lock(&self.state).generation.number {
            return SettleOutcome::NotSent;
        }
        let _ = self.settled.send((handle.delivery, verdict));
        SettleOutcome::Sent
    }

    fn can_publish(&self) -> bool {
        // A failure that a test asks for is one of the whole broker.
        lock(&self.state).sender.is_some()
    }

    async fn stop_consuming(&self) {
        lock(&self.state).sender = None;
    }

    fn disconnect(&self) {
        lock(&self.state).sender = None;
        *lock(&self.published) = None;
    }

    async fn close(&self) {
        self.disconnect();
    }
}

impl MemoryTransport {
    fn send(&self, what: What, confirm: ConfirmSender) {
        let published = Published { what, confirm };
        let sender = lock(&self.published).clone();
        // Without a receiver the confirm is dropped, and resolves as closed.
        if let Some(sender) = sender {
            let _ = sender.send(published);
        }
    }
}
