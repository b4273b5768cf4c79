//! Which deliveries are being worked on, and which were finished but may come again.
//!
//! When a channel dies, the broker delivers what was unsettled on it once more, marked as redelivered, on a later
//! generation. But messages that are equal in everything are ordinary: ticks without an id, or what a step fans out under
//! one id. So what is redelivered may be such a twin, which another consumer has had.
//!
//! The rule is: **a message is settled only by a work, and a work settles only one message.** Then no message goes
//! without having been worked on, whichever of the equal ones a work began with.
//!
//! - **A work whose verdict was not sent** still has its one message to settle. An equal redelivery takes its place, with
//!   or without an id: the broker has the work's own message as well, delivers it again, and then it is taken for itself.
//!   This holds while the work goes on, and when it is done but its channel was dead before the verdict.
//! - **A work whose verdict was sent** has settled its message, unless the verdict was lost on the way; then the message
//!   comes again. That cannot be told from a twin, so it is worked on, with one exception to the rule: a message with an id
//!   of which no two were ever seen apart counts as finished, until the broker is known to have the verdict
//!   ([`Generation::has`]). A broker that has been away may have forgotten what it had: then those that were known count as
//!   in doubt again.
//!
//! What is left of the danger is in that exception. A message is swallowed if a twin with its id, its headers and its body
//! was settled here less than a question before the connection broke, or not long before the broker was away, and no two
//! of them had come here before. Messages of this runtime have ids of their own.

mod memory;

use crate::broker::transport::{Delivery, Generation, SettleOutcome, Verdict};
use memory::{Mark, Marks, Memory, Past, Remembered, UNSENT};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long after a new generation's first delivery, or after the last repeat, those of before may still come again.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a delivery turns out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// To be worked on, and settled under this number.
    New(u64),
    /// Being worked on already: whoever does will settle this delivery instead of the lost one.
    Adopted,
    /// Finished before: to be settled under this number, like this.
    Finished(u64, Verdict),
}

/// A work whose verdict was not sent, and the delivery that it is to settle.
struct Work<O> {
    mark: Mark,
    generation: Arc<Generation>,
    stage: Stage<O>,
}

enum Stage<O> {
    /// Somebody is at it, and will settle this.
    Held(Arc<O>),
    /// It was done at that time, when there was nothing left to settle. The message has to come again.
    Done(Verdict, Instant),
}

/// A work that settles its delivery.
pub(crate) struct Settling<O> {
    pub(crate) handle: Arc<O>,
    number: u64,
    mark: Mark,
    generation: Arc<Generation>,
    verdict: Verdict,
}

pub(crate) struct InFlight<O> {
    marks: Marks,
    state: Mutex<State<O>>,
}

struct State<O> {
    next: u64,
    works: HashMap<u64, Work<O>>,
    /// The same works by what they look like, and among equal ones those of the oldest generation first.
    alike: BTreeSet<(Mark, u32, u64)>,
    /// Works whose verdict is being sent. One that is not here any more has had its message come again meanwhile.
    settling: HashMap<u64, (Mark, u32)>,
    memory: Memory,
    past: Past,
}

impl<O> InFlight<O> {
    pub(crate) fn new() -> Self {
        let (works, alike, settling) = (HashMap::new(), BTreeSet::new(), HashMap::new());
        let state = State {
            next: 0,
            works,
            alike,
            settling,
            memory: Memory::new(),
            past: Past::new(),
        };
        Self {
            marks: Marks::new(),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a delivery in. `handle` is what settles it.
    pub(crate) fn arrive(&self, delivery: &Delivery<Arc<O>>) -> Arrival {
        let mark = self.marks.of(delivery);
        let (generation, stage) = (
            delivery.generation.clone(),
            Stage::Held(delivery.handle.clone()),
        );
        let mut state = self.state();
        if state.past.begins(&generation) {
            state.forget_the_done();
        }
        let own = generation.number;
        let work = Work {
            mark,
            generation,
            stage,
        };
        if delivery.redelivered {
            if let Some(number) = state.of_before(mark, own) {
                return match state.put(number, work).map(|before| before.stage) {
                    Some(Stage::Done(verdict, _)) => Arrival::Finished(number, verdict),
                    _ => Arrival::Adopted,
                };
            }
            if let Some(verdict) = state.finished_before(mark, own) {
                return Arrival::Finished(state.add(work), verdict);
            }
        }
        if state.memory.get(mark).is_some() {
            state.memory.put(mark, Remembered::Twins);
        }
        Arrival::New(state.add(work))
    }

    /// What settles the delivery that stands for this work now: the one it began with, or one that was adopted since.
    pub(crate) fn current(&self, number: u64) -> Option<Arc<O>> {
        match &self.state().works.get(&number)?.stage {
            Stage::Held(handle) => Some(handle.clone()),
            Stage::Done(..) => None,
        }
    }

    /// Ends a work: no redelivery takes its place while its verdict is sent. Then [`Self::settled`] is to be told.
    pub(crate) fn settling(&self, number: u64, verdict: Verdict) -> Option<Settling<O>> {
        let mut state = self.state();
        let Work {
            mark,
            generation,
            stage: Stage::Held(handle),
        } = state.take(number)?
        else {
            return None;
        };
        if mark.has_id() {
            let remembered = if state.memory.get(mark).is_some() || state.is_worked_on(mark) {
                Remembered::Twins
            } else {
                Remembered::Finished {
                    generation: generation.number,
                    sent: UNSENT,
                    verdict,
                }
            };
            state.memory.put(mark, remembered);
        }
        state.settling.insert(number, (mark, generation.number));
        Some(Settling {
            handle,
            number,
            mark,
            generation,
            verdict,
        })
    }

    pub(crate) fn settled(&self, work: Settling<O>, settled: SettleOutcome) {
        let Settling {
            number,
            mark,
            generation,
            verdict,
            ..
        } = work;
        let mut state = self.state();
        let is_open = state.settling.remove(&number).is_some();
        match settled {
            SettleOutcome::Sent => state.memory.sent(mark, &generation),
            SettleOutcome::Unknown => {}
            // A redelivery was quicker, and has counted as this work already.
            SettleOutcome::NotSent if !is_open => {}
            SettleOutcome::NotSent => {
                if let Some(Remembered::Finished { .. }) = state.memory.get(mark) {
                    state.memory.remove(mark);
                }
                state.put(
                    number,
                    Work {
                        mark,
                        generation,
                        stage: Stage::Done(verdict, Instant::now()),
                    },
                );
            }
        }
    }
}

impl<O> State<O> {
    fn add(&mut self, work: Work<O>) -> u64 {
        self.next += 1;
        self.put(self.next, work);
        self.next
    }

    /// Puts a work in, and gives what stood in its place.
    fn put(&mut self, number: u64, work: Work<O>) -> Option<Work<O>> {
        let before = self.take(number);
        self.alike
            .insert((work.mark, work.generation.number, number));
        self.works.insert(number, work);
        before
    }

    fn take(&mut self, number: u64) -> Option<Work<O>> {
        let work = self.works.remove(&number)?;
        self.alike
            .remove(&(work.mark, work.generation.number, number));
        Some(work)
    }

    /// An equal work whose delivery is of an earlier generation, and so lost.
    fn of_before(&self, mark: Mark, generation: u32) -> Option<u64> {
        self.alike
            .range((mark, 0, 0)..(mark, generation, 0))
            .next()
            .map(|(_, _, number)| *number)
    }

    fn is_worked_on(&self, mark: Mark) -> bool {
        self.alike
            .range((mark, 0, 0)..=(mark, u32::MAX, u64::MAX))
            .next()
            .is_some()
    }

    /// How an equal message of an earlier generation was settled, if this is to count as the same one. It is no longer
    /// remembered then, since it has to be settled once more.
    fn finished_before(&mut self, mark: Mark, generation: u32) -> Option<Verdict> {
        match self.memory.get(mark)? {
            Remembered::Finished {
                generation: of,
                sent,
                verdict,
            } if of < generation && self.past.is_in_doubt(of, sent) => {
                self.memory.remove(mark);
                self.settling.retain(|_, settling| *settling != (mark, of));
                Some(verdict)
            }
            _ => None,
        }
    }

    /// Works that were done long ago: another consumer has had their messages.
    fn forget_the_done(&mut self) {
        let late = |work: &Work<O>| matches!(work.stage, Stage::Done(_, since) if since.elapsed() > PATIENCE);
        let gone: Vec<_> = self
            .works
            .iter()
            .filter(|(_, work)| late(work))
            .map(|(number, _)| *number)
            .collect();
        gone.into_iter().for_each(|number| drop(self.take(number)));
    }
}

#[cfg(test)]
mod tests;
