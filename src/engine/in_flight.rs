//! Recognizes redeliveries of messages that are being processed or were processed.
//!
//! When a channel is lost, the broker redelivers the messages that were not settled on it. Such a message has to be
//! settled again, but its work should not be done twice. Messages can be equal: they have the same headers, the id
//! included, and the same body. Examples are ticks without an id, and messages that a step emits under one id. Nothing
//! distinguishes a redelivery of a message from another message that is equal to it.
//!
//! The rule: **a message is settled only after processing, and each processing settles only one message.** So every
//! message is processed. If several messages are equal, it does not matter which of them a processing settles.
//!
//! A redelivery is compared with an equal message of an earlier generation:
//!
//! - **No verdict on that message was sent.** The module still runs, or the channel was lost before the verdict was
//!   sent. The processing settles the redelivery instead of the lost delivery, even if the redelivery is another equal
//!   message: the broker redelivers the original message too, and that one is then processed.
//! - **A verdict was sent.** If it arrived, the redelivery is another message. If it was lost with the channel, the
//!   redelivery is the same message. The redelivery is processed in both cases, with one exception.
//!
//! The exception: the redelivery gets the same verdict without processing if three things are true. The message has an
//! id. Only one message with its headers and body has been seen. The broker may not have the verdict: no round trip has
//! proved that it arrived ([`Generation::has_received`]), or the broker was unavailable afterwards and may have
//! forgotten it.
//!
//! The exception leaves one risk: the redelivery can be a second equal message, which the broker had delivered to
//! another consumer before. That message is then settled without processing. Messages with unique ids, as this runtime
//! emits them, have no such risk.

mod settled_history;

use crate::{
    broker::transport::{Delivery, Generation, SettleOutcome, Verdict},
    monitoring::Clock,
};
use settled_history::{
    Fingerprint, Fingerprinter, GenerationHistory, NOT_SENT, Remembered, SettledHistory,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long redeliveries are expected after the first delivery of a generation, or after the last redelivery.
const REDELIVERY_WINDOW: Duration = Duration::from_secs(300);

/// The result of registering a delivery.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The delivery has to be processed, and settled under this number.
    New(u64),
    /// The message is being processed. That processing will settle this delivery instead of the lost one.
    Adopted,
    /// The message was processed before. It has to be settled under this number, with this verdict.
    AlreadySettled(u64, Verdict),
}

/// A message that is not settled: no verdict was sent.
struct TrackedMessage<H> {
    fingerprint: Fingerprint,
    generation: Arc<Generation>,
    stage: Stage<H>,
    /// When it arrived first, if somebody reads the metrics.
    arrived: Option<Instant>,
}

enum Stage<H> {
    /// It is being processed, and will be settled with this handle.
    Processing(Arc<H>),
    /// It was processed, but its channel was lost before the verdict was sent. The broker has to redeliver it.
    AwaitingRedelivery(Verdict, Instant),
}

impl<H> Stage<H> {
    fn is_expired(&self) -> bool {
        match self {
            Self::Processing(_) => false,
            Self::AwaitingRedelivery(_, since) => since.elapsed() > REDELIVERY_WINDOW,
        }
    }
}

/// A message whose verdict is being sent.
pub(crate) struct Settling<H> {
    pub(crate) handle: Arc<H>,
    number: u64,
    fingerprint: Fingerprint,
    generation: Arc<Generation>,
    verdict: Verdict,
}

pub(crate) struct InFlight<H> {
    clock: Clock,
    fingerprinter: Fingerprinter,
    state: Mutex<State<H>>,
}

struct State<H> {
    next: u64,
    messages: HashMap<u64, TrackedMessage<H>>,
    /// The same messages, sorted by fingerprint. Equal messages are sorted by generation, the oldest first.
    by_fingerprint: BTreeSet<(Fingerprint, u32, u64)>,
    /// Messages whose verdict is being sent. A redelivery that arrives during that time removes its message from here.
    settling: HashMap<u64, (Fingerprint, u32)>,
    history: SettledHistory,
    generations: GenerationHistory,
}

impl<H> InFlight<H> {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State {
            next: 0,
            messages: HashMap::new(),
            by_fingerprint: BTreeSet::new(),
            settling: HashMap::new(),
            history: SettledHistory::new(),
            generations: GenerationHistory::new(),
        };
        Self {
            clock,
            fingerprinter: Fingerprinter::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<H>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a delivery, and returns whether it has to be processed.
    pub(crate) fn arrive(&self, delivery: &Delivery<Arc<H>>) -> Arrival {
        let fingerprint = self.fingerprinter.of(delivery);
        let (generation, stage) = (
            delivery.generation.clone(),
            Stage::Processing(delivery.handle.clone()),
        );
        let mut state = self.state();
        if state.generations.observe(&generation) {
            state.expire_awaiting();
        }
        let own = generation.number;
        let message = TrackedMessage {
            fingerprint,
            generation,
            stage,
            arrived: self.clock.now(),
        };
        if delivery.redelivered {
            if let Some(number) = state.find_lost(fingerprint, own) {
                return match state.put(number, message) {
                    Some(TrackedMessage {
                        stage: Stage::AwaitingRedelivery(verdict, _),
                        ..
                    }) => Arrival::AlreadySettled(number, verdict),
                    before => {
                        state.keep_arrival(number, before);
                        Arrival::Adopted
                    }
                };
            }
            if let Some(verdict) = state.take_settled(fingerprint, own) {
                return Arrival::AlreadySettled(state.add(message), verdict);
            }
        }
        if state.history.get(fingerprint).is_some() {
            state.history.put(fingerprint, Remembered::Ambiguous);
        }
        Arrival::New(state.add(message))
    }

    /// Returns how many messages are being processed, and for how long the oldest of them has been here.
    pub(crate) fn unsettled(&self) -> (usize, Duration) {
        let state = self.state();
        let processing = || {
            let messages = state.messages.values();
            messages.filter(|message| matches!(message.stage, Stage::Processing(_)))
        };
        let oldest = processing().filter_map(|message| message.arrived).min();
        let age = oldest.map(|arrived| arrived.elapsed());
        (processing().count(), age.unwrap_or_default())
    }

    /// Returns the handle of the delivery to settle: the first one, or a redelivery that replaced it.
    pub(crate) fn current(&self, number: u64) -> Option<Arc<H>> {
        match &self.state().messages.get(&number)?.stage {
            Stage::Processing(handle) => Some(handle.clone()),
            Stage::AwaitingRedelivery(..) => None,
        }
    }

    /// Ends the processing of a message: no redelivery is adopted while its verdict is sent. Call
    /// [`end_settle`](Self::end_settle) afterwards.
    pub(crate) fn begin_settle(&self, number: u64, verdict: Verdict) -> Option<Settling<H>> {
        let mut state = self.state();
        let TrackedMessage {
            fingerprint,
            generation,
            stage: Stage::Processing(handle),
            ..
        } = state.take(number)?
        else {
            return None;
        };
        if fingerprint.has_id() {
            let remembered =
                if state.history.get(fingerprint).is_some() || state.is_processing(fingerprint) {
                    Remembered::Ambiguous
                } else {
                    Remembered::Settled {
                        generation: generation.number,
                        sent: NOT_SENT,
                        verdict,
                    }
                };
            state.history.put(fingerprint, remembered);
        }
        state
            .settling
            .insert(number, (fingerprint, generation.number));
        Some(Settling {
            handle,
            number,
            fingerprint,
            generation,
            verdict,
        })
    }

    pub(crate) fn end_settle(&self, message: Settling<H>, settled: SettleOutcome) {
        let Settling {
            number,
            fingerprint,
            generation,
            verdict,
            ..
        } = message;
        let mut state = self.state();
        let is_open = state.settling.remove(&number).is_some();
        match settled {
            SettleOutcome::Sent => state.history.sent(fingerprint, &generation),
            // A redelivery arrived first, and has taken this verdict.
            SettleOutcome::NotSent if !is_open => {}
            SettleOutcome::NotSent => {
                if let Some(Remembered::Settled { .. }) = state.history.get(fingerprint) {
                    state.history.remove(fingerprint);
                }
                state.put(
                    number,
                    TrackedMessage {
                        fingerprint,
                        generation,
                        stage: Stage::AwaitingRedelivery(verdict, Instant::now()),
                        arrived: None,
                    },
                );
            }
        }
    }
}

impl<H> State<H> {
    fn add(&mut self, message: TrackedMessage<H>) -> u64 {
        self.next += 1;
        self.put(self.next, message);
        self.next
    }

    /// A message that was delivered again is as old as its first delivery.
    fn keep_arrival(&mut self, number: u64, before: Option<TrackedMessage<H>>) {
        if let (Some(message), Some(before)) = (self.messages.get_mut(&number), before) {
            message.arrived = before.arrived;
        }
    }

    /// Inserts a message, and returns the previous message with this number.
    fn put(&mut self, number: u64, message: TrackedMessage<H>) -> Option<TrackedMessage<H>> {
        let before = self.take(number);
        self.by_fingerprint
            .insert((message.fingerprint, message.generation.number, number));
        self.messages.insert(number, message);
        before
    }

    fn take(&mut self, number: u64) -> Option<TrackedMessage<H>> {
        let message = self.messages.remove(&number)?;
        self.by_fingerprint
            .remove(&(message.fingerprint, message.generation.number, number));
        Some(message)
    }

    /// Finds an equal message whose delivery belongs to an earlier generation, and so is lost.
    fn find_lost(&self, fingerprint: Fingerprint, generation: u32) -> Option<u64> {
        self.by_fingerprint
            .range((fingerprint, 0, 0)..(fingerprint, generation, 0))
            .next()
            .map(|(_, _, number)| *number)
    }

    fn is_processing(&self, fingerprint: Fingerprint) -> bool {
        self.by_fingerprint
            .range((fingerprint, 0, 0)..=(fingerprint, u32::MAX, u64::MAX))
            .next()
            .is_some()
    }

    /// Returns the verdict on an equal message of an earlier generation, if the redelivery gets the same verdict
    /// without processing. Forgets that verdict, because it is sent once more.
    fn take_settled(&mut self, fingerprint: Fingerprint, generation: u32) -> Option<Verdict> {
        match self.history.get(fingerprint)? {
            Remembered::Settled {
                generation: of,
                sent,
                verdict,
            } if of < generation && self.generations.may_be_unknown(of, sent) => {
                self.history.remove(fingerprint);
                self.settling
                    .retain(|_, settling| *settling != (fingerprint, of));
                Some(verdict)
            }
            _ => None,
        }
    }

    /// Forgets messages that were processed long ago and not redelivered: another consumer has received them.
    fn expire_awaiting(&mut self) {
        let expired: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, message)| message.stage.is_expired())
            .map(|(number, _)| *number)
            .collect();
        for number in expired {
            self.take(number);
        }
    }
}

#[cfg(test)]
mod tests;
