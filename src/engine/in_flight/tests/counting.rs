//! Checks with a model that every message is processed, and as few as possible twice. The model has a broker with a
//! queue, this process and another consumer. All failures happen in any order.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelKind {
    /// The message has a unique id, its number.
    Own(usize),
    Shared,
    WithoutId,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelPlace {
    Ready { redelivered: bool },
    Ours,
    Others,
    Gone,
}

#[derive(Clone, Copy, Debug)]
enum ModelStep {
    Publish(u8),
    Deliver(usize),
    End(usize),
    /// The verdict is sent. If its generation ends meanwhile, that is noticed or not.
    Send(usize, bool),
    StartRoundtrip,
    /// The broker handles the next frame.
    Process,
    Lose,
    /// The broker is killed, and forgets the last verdicts.
    Kill(usize),
    OtherTakes(usize),
    OtherSettles(usize),
    OtherDies,
}

enum ModelFrame {
    Settle(usize),
    Roundtrip(u32),
}

struct Model {
    in_flight: InFlight<usize>,
    generation: Arc<Generation>,
    messages: Vec<(ModelKind, ModelPlace)>,
    /// One entry for each time that a message was processed, here or elsewhere.
    processed: Vec<ModelKind>,
    running: Vec<(u64, Verdict)>,
    settling: Vec<(u32, Settling<usize>)>,
    wire: std::collections::VecDeque<ModelFrame>,
    gone: Vec<usize>,
    /// A verdict did not arrive, or another consumer has had a message.
    doubt: bool,
    others: bool,
    /// The case that can lose a message: the broker has a verdict on a shared id, no round trip has proved that, and
    /// the connection is lost.
    unproven: bool,
    may_be_lost: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            in_flight: InFlight::new(Clock::default()),
            generation: generation(1),
            messages: vec![],
            processed: vec![],
            running: vec![],
            settling: vec![],
            wire: Default::default(),
            gone: vec![],
            doubt: false,
            others: false,
            unproven: false,
            may_be_lost: false,
        }
    }

    fn nth(&self, n: usize, wanted: impl Fn(ModelPlace) -> bool) -> Option<usize> {
        let found: Vec<_> = (0..self.messages.len())
            .filter(|m| wanted(self.messages[*m].1))
            .collect();
        (!found.is_empty()).then(|| found[n % found.len()])
    }

    fn step(&mut self, step: ModelStep) {
        match step {
            ModelStep::Publish(kind) => {
                let kind = match kind % 3 {
                    0 => ModelKind::Own(self.messages.len()),
                    1 => ModelKind::Shared,
                    _ => ModelKind::WithoutId,
                };
                self.messages
                    .push((kind, ModelPlace::Ready { redelivered: false }));
            }
            ModelStep::Deliver(n) => {
                let Some(message) = self.nth(n, |p| matches!(p, ModelPlace::Ready { .. })) else {
                    return;
                };
                self.deliver(message);
            }
            ModelStep::End(n) => {
                if self.running.is_empty() {
                    return;
                }
                let (number, verdict) = self.running.swap_remove(n % self.running.len());
                let settling = self
                    .in_flight
                    .begin_settle(number, verdict)
                    .expect("processing ends once");
                self.settling.push((settling.generation.number, settling));
            }
            ModelStep::Send(n, is_unnoticed) => {
                if self.settling.is_empty() {
                    return;
                }
                let (of, settling) = self.settling.swap_remove(n % self.settling.len());
                let message = *settling.handle;
                let alive = of == self.generation.number;
                let settled = if alive || is_unnoticed {
                    SettleOutcome::Sent
                } else {
                    SettleOutcome::NotSent
                };
                if alive {
                    self.wire.push_back(ModelFrame::Settle(message));
                } else {
                    self.doubt |= is_unnoticed;
                }
                self.in_flight.end_settle(settling, settled);
            }
            ModelStep::StartRoundtrip => {
                if let Some(roundtrip) =
                    futures_util::FutureExt::now_or_never(self.generation.next_roundtrip())
                {
                    self.wire.push_back(ModelFrame::Roundtrip(roundtrip));
                }
            }
            ModelStep::Process => match self.wire.pop_front() {
                Some(ModelFrame::Settle(message)) => {
                    assert_eq!(self.messages[message].1, ModelPlace::Ours, "settled twice");
                    self.messages[message].1 = ModelPlace::Gone;
                    self.gone.push(message);
                    self.unproven |= self.messages[message].0 == ModelKind::Shared;
                }
                Some(ModelFrame::Roundtrip(roundtrip)) => {
                    self.generation.roundtrip_done(roundtrip);
                    self.unproven = false;
                }
                None => {}
            },
            ModelStep::Lose => self.lose(0),
            ModelStep::Kill(n) => {
                (self.may_be_lost, self.doubt) = (true, true);
                let kept = self.gone.len() - n % (self.gone.len() + 1);
                for message in self.gone.split_off(kept) {
                    self.messages[message].1 = ModelPlace::Ready { redelivered: true };
                }
                for (_, place) in &mut self.messages {
                    if *place != ModelPlace::Gone {
                        *place = ModelPlace::Ready { redelivered: true };
                    }
                }
                self.lose(1);
            }
            ModelStep::OtherTakes(n) => {
                if let Some(message) = self.nth(n, |p| matches!(p, ModelPlace::Ready { .. })) {
                    (self.others, self.doubt) = (true, true);
                    self.messages[message].1 = ModelPlace::Others;
                }
            }
            ModelStep::OtherSettles(n) => {
                if let Some(message) = self.nth(n, |p| p == ModelPlace::Others) {
                    self.processed.push(self.messages[message].0);
                    self.messages[message].1 = ModelPlace::Gone;
                    self.gone.push(message);
                }
            }
            ModelStep::OtherDies => self.give_back(ModelPlace::Others),
        }
    }

    fn deliver(&mut self, message: usize) {
        let (kind, place) = self.messages[message];
        let ModelPlace::Ready { redelivered } = place else {
            panic!("it is not ready")
        };
        self.messages[message].1 = ModelPlace::Ours;
        // This delivery comes before this process knows whether an earlier verdict was sent.
        self.doubt |= self
            .settling
            .iter()
            .any(|(of, _)| *of < self.generation.number);
        let id = match kind {
            ModelKind::Own(n) => json!(n),
            ModelKind::Shared => json!("shared"),
            ModelKind::WithoutId => Value::Null,
        };
        let delivery = Delivery {
            headers: Headers::from_iter([("messageId".to_owned(), id)]),
            body: Bytes::from_static(b"tick"),
            withheld: None,
            redelivered,
            generation: self.generation.clone(),
            handle: Arc::new(message),
        };
        match self.in_flight.arrive(&delivery) {
            Arrival::New(number) => {
                self.processed.push(kind);
                self.running.push((number, Verdict::Acknowledged));
            }
            Arrival::AlreadySettled(number, verdict) => self.running.push((number, verdict)),
            Arrival::Adopted => {}
        }
    }

    fn give_back(&mut self, from: ModelPlace) {
        for (_, place) in self.messages.iter_mut().filter(|(_, place)| *place == from) {
            *place = ModelPlace::Ready { redelivered: true };
        }
    }

    fn lose(&mut self, outages: u32) {
        self.doubt |= self
            .wire
            .iter()
            .any(|frame| matches!(frame, ModelFrame::Settle(_)));
        self.may_be_lost |= std::mem::take(&mut self.unproven);
        self.wire.clear();
        self.give_back(ModelPlace::Ours);
        let Generation {
            number,
            outages: before,
            ..
        } = *self.generation;
        self.generation = Arc::new(Generation::new(number + 1, before + outages));
    }

    /// Runs until every message is settled.
    fn drain(&mut self) {
        self.step(ModelStep::OtherDies);
        for round in 0.. {
            assert!(round < 1000, "messages stay unsettled: {:?}", self.messages);
            if self
                .messages
                .iter()
                .all(|(_, place)| *place == ModelPlace::Gone)
            {
                return;
            }
            if self.wire.is_empty() && self.running.is_empty() && self.settling.is_empty() {
                // What is still unsettled had an unknown outcome. It is redelivered when the connection is lost.
                if self
                    .nth(0, |p| matches!(p, ModelPlace::Ready { .. }))
                    .is_none()
                {
                    self.step(ModelStep::Lose);
                }
            }
            while self
                .nth(0, |p| matches!(p, ModelPlace::Ready { .. }))
                .is_some()
            {
                self.step(ModelStep::Deliver(0));
            }
            self.step(ModelStep::End(0));
            self.step(ModelStep::Send(0, false));
            self.step(ModelStep::Process);
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let of = |wanted: ModelKind| {
            let messages = self
                .messages
                .iter()
                .filter(|(kind, _)| *kind == wanted)
                .count();
            (
                messages,
                self.processed
                    .iter()
                    .filter(|kind| **kind == wanted)
                    .count(),
            )
        };
        for (kind, _) in &self.messages {
            let (messages, processed) = of(*kind);
            prop_assert!(
                processed >= messages || (*kind == ModelKind::Shared && self.may_be_lost),
                "{kind:?}: lost"
            );
            // A message is processed twice only if a verdict is in doubt, and if it has no unique id or another
            // consumer had it before.
            let repeats = self.doubt && (self.others || !matches!(kind, ModelKind::Own(_)));
            prop_assert!(
                processed == messages || repeats,
                "{kind:?}: {processed} processed, {messages} messages"
            );
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<ModelStep>> {
    let n = || 0..64_usize;
    let step = prop_oneof![
        6 => any::<u8>().prop_map(ModelStep::Publish),
        10 => n().prop_map(ModelStep::Deliver),
        8 => n().prop_map(ModelStep::End),
        8 => (n(), any::<bool>()).prop_map(|(n, is_unnoticed)| ModelStep::Send(n, is_unnoticed)),
        3 => Just(ModelStep::StartRoundtrip),
        10 => Just(ModelStep::Process),
        3 => Just(ModelStep::Lose),
        1 => n().prop_map(ModelStep::Kill),
        2 => n().prop_map(ModelStep::OtherTakes),
        1 => n().prop_map(ModelStep::OtherSettles),
        1 => Just(ModelStep::OtherDies),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_processed_whatever_happens(steps in steps()) {
        let mut model = Model::new();
        steps.into_iter().for_each(|step| model.step(step));
        model.drain();
        model.check()?;
    }

    #[test]
    fn without_lost_verdicts_each_message_is_processed_once(steps in steps()) {
        let mut model = Model::new();
        for step in steps.into_iter().chain([ModelStep::Lose]) {
            match step {
                // Everything sent arrives before the connection is lost.
                ModelStep::Lose => while !model.wire.is_empty() { model.step(ModelStep::Process) },
                ModelStep::Send(..) | ModelStep::Kill(_) | ModelStep::OtherTakes(_) => continue,
                _ => {}
            }
            model.step(step);
            // The outcome of a settlement is known at once.
            model.step(ModelStep::Send(0, false));
        }
        model.drain();
        prop_assert!(!model.doubt);
        model.check()?;
    }
}
