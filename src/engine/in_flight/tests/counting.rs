//! Whatever happens, as many works as messages: a broker with its queue, this process, another consumer, and
//! everything that can come between them, in any order.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// With an id of its own: its number.
    Own(usize),
    Shared,
    WithoutId,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Ready { redelivered: bool },
    Ours,
    Others,
    Gone,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    Deliver(usize),
    End(usize),
    /// The verdict goes out, or it stays unclear whether it does, and then it may arrive or not.
    Send(usize, u8),
    Ask,
    /// The broker processes the next of what was sent.
    Process,
    Lose,
    /// The broker is killed: the verdicts that it had last are forgotten.
    Kill(usize),
    OtherTakes(usize),
    OtherSettles(usize),
    OtherDies,
}

enum Frame {
    Settle(usize),
    Question(u32),
}

struct World {
    in_flight: InFlight<usize>,
    generation: Arc<Generation>,
    messages: Vec<(Kind, Place)>,
    /// The work on each, whoever did it.
    works: Vec<Kind>,
    running: Vec<(u64, Verdict)>,
    settling: Vec<(u32, Settling<usize>)>,
    wire: std::collections::VecDeque<Frame>,
    gone: Vec<usize>,
    /// Something was sent that did not arrive, or its fate is unclear, or somebody else was at work.
    doubt: bool,
    others: bool,
    /// The danger that is left: the broker has a verdict on a shared id, unknown to us, and the connection goes.
    unknown: bool,
    hole: bool,
}

impl World {
    fn new() -> Self {
        Self {
            in_flight: InFlight::new(),
            generation: generation(1),
            messages: vec![],
            works: vec![],
            running: vec![],
            settling: vec![],
            wire: Default::default(),
            gone: vec![],
            doubt: false,
            others: false,
            unknown: false,
            hole: false,
        }
    }

    fn nth(&self, n: usize, wanted: impl Fn(Place) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..self.messages.len())
            .filter(|m| wanted(self.messages[*m].1))
            .collect();
        (!found.is_empty()).then(|| found[n % found.len()])
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(kind) => {
                let kind = match kind % 3 {
                    0 => Kind::Own(self.messages.len()),
                    1 => Kind::Shared,
                    _ => Kind::WithoutId,
                };
                self.messages
                    .push((kind, Place::Ready { redelivered: false }));
            }
            Step::Deliver(n) => {
                let Some(message) = self.nth(n, |p| matches!(p, Place::Ready { .. })) else {
                    return;
                };
                self.deliver(message);
            }
            Step::End(n) => {
                if self.running.is_empty() {
                    return;
                }
                let (number, verdict) = self.running.swap_remove(n % self.running.len());
                let work = self
                    .in_flight
                    .settling(number, verdict)
                    .expect("works end once");
                self.settling.push((work.generation.number, work));
            }
            Step::Send(n, how) => {
                if self.settling.is_empty() {
                    return;
                }
                let (of, work) = self.settling.swap_remove(n % self.settling.len());
                let message = *work.handle;
                let alive = of == self.generation.number;
                let settled = match how % 8 {
                    0 => SettleOutcome::Unknown,
                    _ if alive => SettleOutcome::Sent,
                    _ => SettleOutcome::NotSent,
                };
                if settled == SettleOutcome::Unknown {
                    self.doubt = true;
                }
                let arrives = alive && (settled == SettleOutcome::Sent || how > 100);
                if arrives {
                    self.wire.push_back(Frame::Settle(message));
                    // No question is about what is unclear.
                    self.hole |= settled == SettleOutcome::Unknown
                        && self.messages[message].0 == Kind::Shared;
                } else if alive {
                    // It stays with us until the connection goes.
                    assert_eq!(self.messages[message].1, Place::Ours);
                }
                self.in_flight.settled(work, settled);
            }
            Step::Ask => {
                if let Some(question) =
                    futures_util::FutureExt::now_or_never(self.generation.next_roundtrip())
                {
                    self.wire.push_back(Frame::Question(question));
                }
            }
            Step::Process => match self.wire.pop_front() {
                Some(Frame::Settle(message)) => {
                    assert_eq!(self.messages[message].1, Place::Ours, "settled twice");
                    self.messages[message].1 = Place::Gone;
                    self.gone.push(message);
                    self.unknown |= self.messages[message].0 == Kind::Shared;
                }
                Some(Frame::Question(question)) => {
                    self.generation.roundtrip_done(question);
                    self.unknown = false;
                }
                None => {}
            },
            Step::Lose => self.lose(0),
            Step::Kill(n) => {
                (self.hole, self.doubt) = (true, true);
                let kept = self.gone.len() - n % (self.gone.len() + 1);
                for message in self.gone.split_off(kept) {
                    self.messages[message].1 = Place::Ready { redelivered: true };
                }
                for (_, place) in &mut self.messages {
                    if *place != Place::Gone {
                        *place = Place::Ready { redelivered: true };
                    }
                }
                self.lose(1);
            }
            Step::OtherTakes(n) => {
                if let Some(message) = self.nth(n, |p| matches!(p, Place::Ready { .. })) {
                    (self.others, self.doubt) = (true, true);
                    self.messages[message].1 = Place::Others;
                }
            }
            Step::OtherSettles(n) => {
                if let Some(message) = self.nth(n, |p| p == Place::Others) {
                    self.works.push(self.messages[message].0);
                    self.messages[message].1 = Place::Gone;
                    self.gone.push(message);
                }
            }
            Step::OtherDies => self.give_back(Place::Others),
        }
    }

    fn deliver(&mut self, message: usize) {
        let (kind, place) = self.messages[message];
        let Place::Ready { redelivered } = place else {
            panic!("it is not ready")
        };
        self.messages[message].1 = Place::Ours;
        // Quicker than the news that a verdict found no channel.
        self.doubt |= self
            .settling
            .iter()
            .any(|(of, _)| *of < self.generation.number);
        let id = match kind {
            Kind::Own(n) => json!(n),
            Kind::Shared => json!("shared"),
            Kind::WithoutId => Value::Null,
        };
        let delivery = Delivery {
            headers: Headers::from_iter([("messageId".to_owned(), id)]),
            body: Bytes::from_static(b"tick"),
            redelivered,
            generation: self.generation.clone(),
            handle: Arc::new(message),
        };
        match self.in_flight.arrive(&delivery) {
            Arrival::New(number) => {
                self.works.push(kind);
                self.running.push((number, Verdict::Acknowledged));
            }
            Arrival::Finished(number, verdict) => self.running.push((number, verdict)),
            Arrival::Adopted => {}
        }
    }

    fn give_back(&mut self, from: Place) {
        for (_, place) in self.messages.iter_mut().filter(|(_, place)| *place == from) {
            *place = Place::Ready { redelivered: true };
        }
    }

    fn lose(&mut self, outages: u32) {
        self.doubt |= self
            .wire
            .iter()
            .any(|frame| matches!(frame, Frame::Settle(_)));
        self.hole |= std::mem::take(&mut self.unknown);
        self.wire.clear();
        self.give_back(Place::Ours);
        let Generation {
            number,
            outages: before,
            ..
        } = *self.generation;
        self.generation = Arc::new(Generation::new(number + 1, before + outages));
    }

    /// Lets everything come to its end.
    fn drain(&mut self) {
        self.step(Step::OtherDies);
        for round in 0.. {
            assert!(round < 1000, "messages stay unsettled: {:?}", self.messages);
            if self.messages.iter().all(|(_, place)| *place == Place::Gone) {
                return;
            }
            if self.wire.is_empty() && self.running.is_empty() && self.settling.is_empty() {
                // What is with us still was unclear, and comes only with the end of the connection.
                if self.nth(0, |p| matches!(p, Place::Ready { .. })).is_none() {
                    self.step(Step::Lose);
                }
            }
            while self.nth(0, |p| matches!(p, Place::Ready { .. })).is_some() {
                self.step(Step::Deliver(0));
            }
            self.step(Step::End(0));
            self.step(Step::Send(0, 1));
            self.step(Step::Process);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let of = |wanted: Kind| {
            let messages = self
                .messages
                .iter()
                .filter(|(kind, _)| *kind == wanted)
                .count();
            (
                messages,
                self.works.iter().filter(|kind| **kind == wanted).count(),
            )
        };
        for (kind, _) in &self.messages {
            let (messages, works) = of(*kind);
            prop_assert!(
                works >= messages || (*kind == Kind::Shared && self.hole),
                "{kind:?}: lost"
            );
            // Of what may be another message, and where somebody else was at work.
            let repeats = self.doubt && (self.others || !matches!(kind, Kind::Own(_)));
            prop_assert!(
                works == messages || repeats,
                "{kind:?}: {works} works, {messages} messages"
            );
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let n = || 0..64_usize;
    let step = prop_oneof![
        6 => any::<u8>().prop_map(Step::Publish),
        10 => n().prop_map(Step::Deliver),
        8 => n().prop_map(Step::End),
        8 => (n(), any::<u8>()).prop_map(|(n, how)| Step::Send(n, how)),
        3 => Just(Step::Ask),
        10 => Just(Step::Process),
        3 => Just(Step::Lose),
        1 => n().prop_map(Step::Kill),
        2 => n().prop_map(Step::OtherTakes),
        1 => n().prop_map(Step::OtherSettles),
        1 => Just(Step::OtherDies),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_are_as_many_works_as_messages_whatever_happens(steps in steps()) {
        let mut world = World::new();
        steps.into_iter().for_each(|step| world.step(step));
        world.drain();
        world.check()?;
    }

    #[test]
    fn without_lost_verdicts_each_message_is_processed_once(steps in steps()) {
        let mut world = World::new();
        for step in steps.into_iter().chain([Step::Lose]) {
            match step {
                // Everything sent arrives before a connection goes.
                Step::Lose => while !world.wire.is_empty() { world.step(Step::Process) },
                Step::Send(..) | Step::Kill(_) | Step::OtherTakes(_) => continue,
                _ => {}
            }
            world.step(step);
            // Whether a verdict found its channel is known at once.
            world.step(Step::Send(0, 1));
        }
        world.drain();
        prop_assert!(!world.doubt);
        world.check()?;
    }
}
