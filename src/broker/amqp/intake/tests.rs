use super::*;
use crate::captured_log::CapturedLog;
use futures_util::FutureExt;
use proptest::prelude::*;

const MIB: usize = 1 << 20;

fn shares(messages: usize) -> MemoryShares {
    MemoryShares {
        limit: messages * 2,
        messages,
        values: 0,
        events: 0,
    }
}

fn consumers(messages: usize) -> Consumers {
    Consumers::new(Intake::new(MessageMemory::new(shares(messages))))
}

fn used(consumers: &Consumers) -> usize {
    consumers.intake.memory.used()
}

/// What happens to a connection that consumes.
#[derive(Clone, Debug)]
enum Step {
    /// The content header of a delivery arrives.
    Arrives(usize),
    /// The client hands the oldest delivery over.
    HandedOver,
    /// A message is settled, by its place among those in work.
    Settled(prop::sample::Index),
    /// The connection is lost; messages in work stay.
    Lost,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..3 * MIB).prop_map(Step::Arrives),
        3 => Just(Step::HandedOver),
        2 => any::<prop::sample::Index>().prop_map(Step::Settled),
        1 => Just(Step::Lost),
    ]
}

proptest! {
    /// Whatever happens: the share is never exceeded, all memory comes back, and a message that is alone is admitted or
    /// too large.
    #[test]
    fn memory_is_bounded_and_comes_back(steps in prop::collection::vec(step(), 1..80)) {
        let limit = 8 * MIB;
        let memory = MessageMemory::new(shares(limit));
        let mut consumers = Consumers::new(Intake::new(memory.clone()));
        let (mut tag, mut sent, mut working) = (0, std::collections::VecDeque::new(), Vec::new());
        for step in steps {
            match step {
                Step::Arrives(size) => {
                    tag += 1;
                    let is_alone = memory.used() == 0;
                    let is_admitted = arrives(&consumers, tag, size);
                    let is_too_large = size > shares(limit).largest_body();
                    prop_assert!(!is_alone || is_admitted != is_too_large);
                    sent.push_back((tag, size, is_admitted));
                }
                Step::HandedOver => {
                    let Some((tag, size, is_admitted)) = sent.pop_front() else { continue };
                    let received = consumers.receive(tag, if is_admitted { size } else { 0 });
                    prop_assert_eq!(received.left_out.is_none(), is_admitted);
                    working.push(received.room);
                }
                Step::Settled(index) => {
                    if !working.is_empty() {
                        working.swap_remove(index.index(working.len())).release();
                    }
                }
                Step::Lost => {
                    consumers = Consumers::new(Intake::new(memory.clone()));
                    sent.clear();
                }
            }
            prop_assert!(memory.used() <= limit);
        }
        drop((consumers, working));
        prop_assert_eq!(memory.used(), 0);
    }

    /// Whatever the sizes: the prefetch stays within the setting, and a full one of the last size fits after one was left
    /// out.
    #[test]
    fn the_prefetch_stays_within_setting_and_memory(
        setting in 1_u16..2000,
        sizes in prop::collection::vec((0_usize..20 * MIB, any::<bool>()), 1..200),
    ) {
        let shares = shares(96 * MIB);
        let mut control = PrefetchControl::new(&shares, setting);
        for (size, fits) in sizes {
            let before = control.current();
            if fits {
                prop_assert_eq!(control.admitted(size, shares.messages), control.current() > before);
            } else {
                control.left_out(size, shares.messages);
                let all = usize::from(control.current()) * MemoryShares::message_cost(size);
                prop_assert!(control.current() == 1 || all <= shares.messages);
            }
            prop_assert!((1..=setting).contains(&control.current()));
        }
    }
}

#[test]
fn small_messages_soon_have_the_whole_prefetch() {
    let mut control = PrefetchControl::new(&shares(48 * MIB), 100);
    assert_eq!(control.current(), 1, "messages may have 10 MiB");
    let changes = (1..=11)
        .filter(|_| control.admitted(1024, 48 * MIB))
        .count();
    assert_eq!((changes, control.current()), (2, 100));
    assert!(
        !control.admitted(10 * MIB, 48 * MIB),
        "it is no reason to change"
    );
    control.left_out(5 * MIB, 48 * MIB);
    assert_eq!(control.current(), 2);
    for _ in 0..10 {
        control.admitted(5 * MIB, 48 * MIB);
    }
    assert_eq!(control.current(), 2, "no more fit");
}

#[test]
fn only_as_many_are_asked_for_as_fit_beside_the_running() {
    let mut control = PrefetchControl::new(&shares(480 * MIB), 100);
    control.left_out(MIB, 5 * MIB);
    assert_eq!(
        control.current(),
        1,
        "one has ended, and the others are running"
    );
    assert!(!control.admitted(MIB, 0));
    assert!(control.admitted(MIB, 100 * MIB));
    assert_eq!(control.current(), 10);
}

#[test]
fn without_a_small_limit_the_prefetch_is_the_setting_at_once() {
    let control = PrefetchControl::new(&MemoryShares::new(Some(4096 * MIB)), 50);
    assert_eq!(control.current(), 50);
}

#[tokio::test]
async fn a_message_that_does_not_fit_waits_for_the_others() {
    let consumers = consumers(48 * MIB);
    assert!(arrives(&consumers, 1, 10 * MIB));
    let Received {
        room: first,
        left_out,
        ..
    } = consumers.receive(1, 10 * MIB);
    assert_eq!(left_out, None);
    assert!(!arrives(&consumers, 2, 5 * MIB));
    assert!(!arrives(&consumers, 3, 50 * MIB));
    assert_eq!(
        consumers.receive(2, 0).left_out,
        Some(LeftOut::NoRoom(5 * MIB))
    );
    assert_eq!(
        consumers.receive(3, 0).left_out,
        Some(LeftOut::TooLarge(50 * MIB))
    );
    assert!(consumers.intake.room_for(5 * MIB).now_or_never().is_none());
    first.release();
    assert!(consumers.intake.room_for(5 * MIB).now_or_never().is_some());
    drop(first);
    assert_eq!(used(&consumers), 0, "it is given back once");
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_memory_is_named_in_the_log() {
    let (consumers, log) = (consumers(48 * MIB), CapturedLog::begin());
    assert!(arrives(&consumers, 1, 10 * MIB));
    let running = consumers.receive(1, 10 * MIB).room;
    let waiting = consumers.intake.room_for(5 * MIB);
    let end = async {
        tokio::time::sleep(Duration::from_secs(601)).await;
        running.release();
    };
    tokio::join!(waiting, end);
    let line = "No message is consumed: the next one does not fit in memory";
    assert_eq!(log.count(&[line]), 2);
    log.assert_one(&[line, "seconds=600"]);
}

#[test]
fn unsettled_deliveries_of_earlier_consumers_count() {
    let mut consumers = consumers(48 * MIB);
    let receive = |consumers: &Consumers, tag| {
        assert!(arrives(consumers, tag, 1));
        consumers.receive(tag, 1).room
    };
    let first = receive(&consumers, 1);
    assert!(!consumers.are_at(1), "the broker counts them");
    consumers.next();
    let second = receive(&consumers, 2);
    assert!(!consumers.are_at(3) && consumers.are_at(2));
    assert!(consumers.below(2).now_or_never().is_none());
    first.release();
    assert!(consumers.below(2).now_or_never().is_some());
    assert!(!consumers.are_at(1));
    drop(second);
}

/// A delivery with a body of `size` bytes, which is left to the client. Returns whether it is admitted.
fn arrives(consumers: &Consumers, tag: u64, size: usize) -> bool {
    let is_admitted = consumers.intake.admit(tag, size as u64);
    consumers.intake.take(tag, body(0));
    is_admitted
}

fn body(size: usize) -> Contents {
    Contents {
        properties: vec![0, 0].into(),
        body: vec![0; size].into(),
    }
}

/// It could not be processed without them.
#[test]
fn a_delivery_whose_contents_are_lost_books_nothing() {
    let consumers = consumers(48 * MIB);
    assert!(consumers.intake.admit(1, 10));
    let booked = used(&consumers);
    let received = consumers.receive(1, 0);
    assert_eq!((received.left_out, received.contents), (None, None));
    drop(received.room);
    // Its memory comes back with the connection.
    assert_eq!(used(&consumers), booked);
    let memory = consumers.intake.memory.clone();
    drop(consumers);
    assert_eq!(memory.used(), 0);
}

#[test]
fn contents_wait_for_their_delivery() {
    let consumers = consumers(48 * MIB);
    for (tag, size) in [(1, 10), (2, 20), (3, 30)] {
        assert!(consumers.intake.admit(tag, size as u64));
        consumers.intake.take(tag, body(size));
    }
    // The client has dropped the first one.
    let second = consumers.receive(2, 0);
    assert_eq!(second.contents, Some(body(20)));
    assert_eq!(consumers.receive(1, 0).contents, None);
    assert_eq!(consumers.intake.waiting().len(), 1);
    let memory = consumers.intake.memory.clone();
    drop((second, consumers));
    assert_eq!(memory.used(), 0);
}
