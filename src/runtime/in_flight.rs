//! Which deliveries are being worked on, and which were finished but may come again.
//!
//! When a channel dies, the broker delivers what was unsettled on it once more. A message that is still being worked
//! on is not begun again: the new delivery takes the old one's place and is settled in its stead. One that was
//! finished, but whose settlement may have died with the channel, is settled as it was and not worked on again.
//! Only deliveries that the broker marks as redelivered, on a later generation, with the same id and body, count as
//! the same; so two messages that merely share an id are both worked on.

use crate::transport::{Delivery, Verdict};
use bytes::Bytes;
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How many finished deliveries are remembered: more than can be unsettled on one channel in practice.
const REMEMBERED: usize = 4096;
/// For how long after a new generation's first delivery those of before may still come again.
const MEMORY: Duration = Duration::from_secs(300);

/// Tells messages apart without reading them. Bodies are chained ciphertext: the last block depends on every byte
/// before it, so the end and the length stand for the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mark {
    message_id: Option<String>,
    /// Repeats of a message on purpose, with its id and body: rebounds and retried publishes.
    repeat: [Option<Value>; 2],
    length: usize,
    end: Bytes,
}

impl Mark {
    const END: usize = 48;

    fn of<O>(delivery: &Delivery<O>) -> Self {
        let body = &delivery.body;
        Self {
            message_id: delivery.headers.get("messageId").map(ToString::to_string),
            repeat: ["reboundIteration", "retry"].map(|name| delivery.headers.get(name).cloned()),
            length: body.len(),
            // A copy, so that a remembered message does not keep its body alive.
            end: Bytes::copy_from_slice(&body[body.len().saturating_sub(Self::END)..]),
        }
    }
}

struct Working<O> {
    mark: Mark,
    generation: u64,
    origin: Arc<O>,
}

struct Finished {
    mark: Mark,
    generation: u64,
    verdict: Verdict,
}

/// What a delivery turns out to be.
pub(crate) enum Arrival<O> {
    /// To be worked on, and finished under this number.
    New(u64),
    /// Being worked on already: whoever does will settle this delivery instead of the lost one.
    Adopted,
    /// Finished before: settle it like this.
    Finished(Arc<O>, Verdict),
}

pub(crate) struct InFlight<O>(Mutex<State<O>>);

struct State<O> {
    next: u64,
    generation: u64,
    generation_began: Instant,
    working: HashMap<u64, Working<O>>,
    finished: VecDeque<Finished>,
}

impl<O> InFlight<O> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            next: 0,
            generation: 0,
            generation_began: Instant::now(),
            working: HashMap::new(),
            finished: VecDeque::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a delivery in. `origin` is what settles it.
    pub(crate) fn arrive(&self, delivery: &Delivery<Arc<O>>) -> Arrival<O> {
        let mark = Mark::of(delivery);
        let mut state = self.state();
        if delivery.generation > state.generation {
            state.generation = delivery.generation;
            state.generation_began = Instant::now();
        }
        if delivery.redelivered {
            let same = |m: &Mark, generation: u64| generation < delivery.generation && *m == mark;
            if let Some(working) = state.working.values_mut().find(|w| same(&w.mark, w.generation)) {
                working.generation = delivery.generation;
                working.origin = delivery.origin.clone();
                return Arrival::Adopted;
            }
            if state.generation_began.elapsed() > MEMORY {
                let current = state.generation;
                state.finished.retain(|f| f.generation == current);
            }
            if let Some(found) = state.finished.iter().position(|f| same(&f.mark, f.generation)) {
                // Remembered on, as of this delivery: this settlement may be lost as well.
                let finished = &mut state.finished[found];
                finished.generation = delivery.generation;
                return Arrival::Finished(delivery.origin.clone(), finished.verdict);
            }
        }
        state.next += 1;
        let number = state.next;
        state
            .working
            .insert(number, Working { mark, generation: delivery.generation, origin: delivery.origin.clone() });
        Arrival::New(number)
    }

    /// The delivery that stands for this work now: the one it began with, or one that was adopted since.
    pub(crate) fn current(&self, number: u64) -> Option<(u64, Arc<O>)> {
        self.state().working.get(&number).map(|w| (w.generation, w.origin.clone()))
    }

    /// Notes that the delivery of `generation` was settled. False when another one was adopted meanwhile, which is
    /// to be settled then.
    pub(crate) fn finish(&self, number: u64, generation: u64, verdict: Verdict) -> bool {
        let mut state = self.state();
        if state.working.get(&number).is_some_and(|w| w.generation != generation) {
            return false;
        }
        if let Some(Working { mark, generation, .. }) = state.working.remove(&number) {
            if state.finished.len() == REMEMBERED {
                state.finished.pop_front();
            }
            state.finished.push_back(Finished { mark, generation, verdict });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Headers;
    use serde_json::json;

    fn delivery(id: &str, body: &'static str, generation: u64, redelivered: bool) -> Delivery<Arc<()>> {
        let headers =
            if id.is_empty() { Headers::new() } else { Headers::from_iter([("messageId".to_owned(), json!(id))]) };
        Delivery { headers, body: Bytes::from_static(body.as_bytes()), redelivered, generation, origin: Arc::new(()) }
    }

    fn begin(in_flight: &InFlight<()>, delivery: &Delivery<Arc<()>>) -> u64 {
        match in_flight.arrive(delivery) {
            Arrival::New(number) => number,
            _ => panic!("a new message was taken for an old one"),
        }
    }

    #[test]
    fn two_messages_with_one_id_are_both_worked_on() {
        let in_flight = InFlight::new();
        let first = begin(&in_flight, &delivery("m", "a", 1, false));
        let second = begin(&in_flight, &delivery("m", "b", 1, false));
        assert!(in_flight.finish(first, 1, Verdict::Ack) && in_flight.finish(second, 1, Verdict::Ack));
    }

    #[test]
    fn a_redelivery_of_running_work_takes_the_lost_deliverys_place() {
        let in_flight = InFlight::new();
        let number = begin(&in_flight, &delivery("m", "a", 1, false));
        assert!(matches!(in_flight.arrive(&delivery("m", "a", 2, true)), Arrival::Adopted));
        assert_eq!(in_flight.current(number).map(|(generation, _)| generation), Some(2));
        assert!(!in_flight.finish(number, 1, Verdict::Ack), "settling the lost delivery is not the end");
        assert!(in_flight.finish(number, 2, Verdict::Ack));
    }

    #[test]
    fn a_redelivery_of_finished_work_is_settled_as_it_was_however_often_it_comes() {
        let in_flight = InFlight::new();
        let number = begin(&in_flight, &delivery("", "a", 1, false));
        assert!(in_flight.finish(number, 1, Verdict::Reject));
        for generation in 2..4 {
            let again = in_flight.arrive(&delivery("", "a", generation, true));
            assert!(matches!(again, Arrival::Finished(_, Verdict::Reject)));
        }
    }

    #[test]
    fn the_same_message_sent_anew_is_worked_on_again() {
        let in_flight = InFlight::new();
        let number = begin(&in_flight, &delivery("m", "a", 1, false));
        in_flight.finish(number, 1, Verdict::Ack);
        begin(&in_flight, &delivery("m", "a", 1, true));
        begin(&in_flight, &delivery("m", "a", 2, false));
        begin(&in_flight, &delivery("other", "a", 2, true));
        begin(&in_flight, &delivery("m", "b", 2, true));
    }

    #[test]
    fn a_rebounded_message_is_worked_on_again_though_it_is_redelivered() {
        let in_flight = InFlight::new();
        let number = begin(&in_flight, &delivery("m", "a", 1, false));
        in_flight.finish(number, 1, Verdict::Ack);
        let mut rebounded = delivery("m", "a", 2, true);
        rebounded.headers.insert("reboundIteration".to_owned(), json!(1));
        begin(&in_flight, &rebounded);
    }

    #[tokio::test(start_paused = true)]
    async fn finished_work_is_forgotten_a_while_after_the_connection_came_back() {
        let in_flight = InFlight::new();
        let number = begin(&in_flight, &delivery("m", "a", 1, false));
        in_flight.finish(number, 1, Verdict::Ack);
        begin(&in_flight, &delivery("x", "x", 2, false));
        tokio::time::advance(MEMORY + Duration::from_secs(1)).await;
        begin(&in_flight, &delivery("m", "a", 2, true));
    }
}
