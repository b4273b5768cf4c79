use super::*;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::pin::Pin;

const MIB: usize = 1 << 20;

fn memory(messages: usize) -> Arc<MessageMemory> {
    MessageMemory::new(MemoryShares {
        limit: messages * 2,
        messages,
        values: 0,
        events: 0,
    })
}

/// What happens to messages with bodies elsewhere.
#[derive(Clone, Debug)]
enum Step {
    /// A message arrives, and waits for its body if that does not fit.
    Refers { own: usize, body: usize },
    /// A message without a body elsewhere arrives.
    Arrives(usize),
    /// A message is settled, or a wait is dropped.
    Ends(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2000_usize, 0..4 * MIB).prop_map(|(own, body)| Step::Refers { own, body }),
        2 => (0..MIB).prop_map(Step::Arrives),
        3 => any::<prop::sample::Index>().prop_map(Step::Ends),
    ]
}

/// Takes memory for the delivery of a message, until it is dropped.
struct Delivered(Arc<MessageMemory>, usize);

impl Drop for Delivered {
    fn drop(&mut self) {
        self.0.give_back(self.1);
    }
}

type Wait = Pin<Box<dyn Future<Output = BodyRoom>>>;

enum Message {
    Waits(Delivered, Wait),
    Works(#[expect(dead_code)] Delivered, Option<BodyRoom>),
}

impl Message {
    fn body(&self) -> usize {
        match self {
            Self::Waits(..) => 0,
            Self::Works(_, room) => room.as_ref().map_or(0, |room| room.bytes.load(SeqCst)),
        }
    }
}

proptest! {
    /// Whatever happens: the bodies that are in memory fit, messages get theirs in order, each waits only for messages that
    /// have theirs, and all memory comes back.
    #[test]
    fn bodies_fit_and_none_waits_for_ever(steps in prop::collection::vec(step(), 1..60)) {
        let memory = memory(16 * MIB);
        let mut messages: Vec<Message> = Vec::new();
        for step in steps {
            match step {
                Step::Refers { own, body } => {
                    let cost = MemoryShares::message_cost(own);
                    if memory.take(cost) {
                        let delivered = Delivered(memory.clone(), cost);
                        let memory = memory.clone();
                        let wait = async move { memory.room_for_body(body).await };
                        messages.push(Message::Waits(delivered, Box::pin(wait)));
                    }
                }
                Step::Arrives(own) => {
                    let cost = MemoryShares::message_cost(own);
                    if memory.take(cost) {
                        messages.push(Message::Works(Delivered(memory.clone(), cost), None));
                    }
                }
                Step::Ends(index) if !messages.is_empty() => {
                    messages.remove(index.index(messages.len()));
                }
                Step::Ends(_) => {}
            }
            let mut is_blocked = false;
            for message in &mut messages {
                if let Message::Waits(_, wait) = message
                    && let Some(room) = wait.now_or_never()
                {
                    prop_assert!(!is_blocked, "a later message was first");
                    let Message::Waits(delivered, _) = std::mem::replace(message, Message::Works(Delivered(memory.clone(), 0), None)) else {
                        unreachable!()
                    };
                    *message = Message::Works(delivered, Some(room));
                } else if matches!(message, Message::Waits(..)) {
                    is_blocked = true;
                }
            }
            let bodies = messages.iter().map(Message::body).sum::<usize>();
            prop_assert!(bodies <= 16 * MIB && memory.used() <= 2 * 16 * MIB, "{bodies}");
            let has_body = messages.iter().any(|message| message.body() > 0);
            prop_assert!(has_body || !is_blocked, "it waits for messages that may wait for it");
            prop_assert_eq!(memory.bodies.load(SeqCst), bodies);
        }
        messages.clear();
        prop_assert_eq!((memory.used(), memory.waiting.load(SeqCst)), (0, 0));
    }
}

/// The others may be deliveries that nobody can process before this message.
#[test]
fn one_body_at_a_time_waits_for_nothing() {
    let memory = memory(16 * MIB);
    assert!(memory.take(16 * MIB));
    let first = memory.room_for_body(3 * MIB).now_or_never().unwrap();
    assert!(!memory.take(1), "no further message arrives");
    let mut second = Box::pin(memory.room_for_body(10));
    assert!((&mut second).now_or_never().is_none());
    drop(first);
    assert!(second.now_or_never().is_some());
    assert_eq!(memory.used(), 16 * MIB);
}

#[test]
fn a_small_body_does_not_overtake_one_that_waits() {
    let memory = memory(16 * MIB);
    let first = BodyRoom::empty(&memory);
    assert!(first.grow_to(2 * MIB));
    let mut large = Box::pin(memory.room_for_body(3 * MIB));
    assert!((&mut large).now_or_never().is_none());
    let small = BodyRoom::empty(&memory);
    assert!(!small.grow_to(1000));
    drop(first);
    assert!(large.now_or_never().is_some());
    assert!(small.grow_to(1000));
}

#[test]
fn a_room_grows_if_there_is_memory_and_shrinks_to_what_is_needed() {
    let memory = memory(16 * MIB);
    let room = BodyRoom::empty(&memory);
    assert!(room.grow_to(MIB) && room.grow_to(2 * MIB));
    assert_eq!(memory.used(), MemoryShares::message_cost(2 * MIB));
    assert!(memory.take(6 * MIB));
    assert!(!room.grow_to(3 * MIB));
    assert_eq!(memory.used(), MemoryShares::message_cost(2 * MIB) + 6 * MIB);
    room.shrink_to(1000);
    assert_eq!(memory.used(), MemoryShares::message_cost(1000) + 6 * MIB);
    memory.give_back(6 * MIB);
    assert!(room.grow_to(usize::MAX), "the whole share is for one body");
    assert_eq!(memory.free(), 0);
    drop(room);
    assert_eq!(memory.used(), 0);
}

#[test]
fn a_dropped_wait_takes_nothing() {
    let memory = memory(16 * MIB);
    assert!(memory.take(16 * MIB));
    let body = memory.room_for_body(MIB).now_or_never().unwrap();
    let mut first = Box::pin(memory.room_for_body(MIB));
    let mut second = Box::pin(memory.room_for_body(MIB));
    assert!((&mut first).now_or_never().is_none() && (&mut second).now_or_never().is_none());
    drop(first);
    drop(body);
    assert!(second.now_or_never().is_some());
}
