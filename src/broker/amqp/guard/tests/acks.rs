//! Acknowledgements: the broker settles what the client settles, whatever is merged.

use super::{publishing::Takes, *};
use futures_io::AsyncWrite;
use proptest::prelude::*;
use std::{collections::BTreeMap, task::Wake};
use tokio::{
    runtime::Builder,
    sync::Notify,
    time::{Instant, sleep},
};

/// What the client does next.
#[derive(Clone, Debug)]
enum Step {
    /// It is handed so many deliveries.
    Receive(usize),
    /// It settles so many of its unsettled deliveries, which these numbers choose, and writes the frames at once.
    Settle(Vec<(prop::sample::Index, Settle)>),
    /// It does nothing until no acknowledgement may wait any more.
    Pause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settle {
    Ack,
    AckUpTo,
    Reject,
    Nack,
}

/// A broker of one channel: the unsettled deliveries, and what became of the others.
#[derive(Default)]
struct Broker {
    unsettled: Vec<u64>,
    settled: BTreeMap<u64, &'static str>,
}

impl Broker {
    fn handle(&mut self, bytes: Vec<u8>) {
        for frame in parsed(bytes) {
            let AMQPFrame::Method(1, AMQPClass::Basic(method)) = frame else {
                panic!("{frame:?}")
            };
            match method {
                basic::AMQPMethod::Ack(ack) => {
                    self.settle(ack.delivery_tag, ack.multiple, "acknowledged");
                }
                basic::AMQPMethod::Nack(nack) => {
                    self.settle(nack.delivery_tag, nack.multiple, "rejected");
                }
                basic::AMQPMethod::Reject(reject) => {
                    self.settle(reject.delivery_tag, false, "rejected");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn settle(&mut self, tag: u64, multiple: bool, verdict: &'static str) {
        assert!(
            self.unsettled.contains(&tag),
            "the broker does not know {tag}"
        );
        let is_meant = |of: &u64| *of == tag || multiple && *of < tag;
        let meant = self.unsettled.extract_if(.., |of| is_meant(of));
        self.settled.extend(meant.map(|of| (of, verdict)));
    }
}

/// The client's thread.
#[derive(Default)]
struct Thread(Notify);

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

/// A client with one channel.
struct Client {
    thread: Arc<Thread>,
    stream: GuardedStream<Takes>,
    next: u64,
    unsettled: Vec<u64>,
    settled: BTreeMap<u64, &'static str>,
}

impl Client {
    fn new() -> Self {
        struct Drops;
        impl Deliveries for Drops {
            fn admit(&self, _: u64, _: u64) -> bool {
                true
            }
            fn take(&self, _: u64, _: Contents) {}
        }
        let around = Around {
            deliveries: Some(Arc::new(Drops)),
            bodies: None,
        };
        Self {
            thread: Arc::default(),
            stream: GuardedStream::new(Takes::all(), 8192).with(131_072, around),
            next: 1,
            unsettled: vec![],
            settled: BTreeMap::new(),
        }
    }

    /// One whose acknowledgements may wait.
    fn waiting(runtime: Handle) -> Self {
        let mut client = Self::new();
        client.stream = client.stream.with_clock(runtime);
        client
    }

    fn receive(&mut self) -> u64 {
        let deliver = [[0, 60, 0, 60].as_slice(), &name(b"consumer")];
        self.receive_by(&deliver.concat())
    }

    /// Receives a delivery by this method, whose tag follows the bytes.
    fn receive_by(&mut self, method: &[u8]) -> u64 {
        let tag = self.next;
        let around = [[0].as_slice(), &name(b"x"), &name(b"k")].concat();
        let bytes = frame(1, &[method, &tag.to_be_bytes(), &around].concat());
        let frames = &mut self.stream.frames;
        frames.space()[..bytes.len()].copy_from_slice(&bytes);
        frames.filled(bytes.len());
        self.next += 1;
        self.unsettled.push(tag);
        tag
    }

    /// The bytes of the client for a verdict.
    fn settle(&mut self, tag: u64, settle: Settle) -> Vec<u8> {
        let (method, bits, verdict) = match settle {
            Settle::Ack => (80, 0, "acknowledged"),
            Settle::AckUpTo => (80, 1, "acknowledged"),
            Settle::Reject => (90, 1, "rejected"),
            Settle::Nack => (120, 0, "rejected"),
        };
        let is_meant = |of: &u64| *of == tag || settle == Settle::AckUpTo && *of < tag;
        let meant = self.unsettled.extract_if(.., |of| is_meant(of));
        self.settled.extend(meant.map(|of| (of, verdict)));
        let method = [0, 60, 0, method];
        frame(
            1,
            &[method.as_slice(), &tag.to_be_bytes(), &[bits]].concat(),
        )
    }

    /// Writes bytes, and returns what the broker gets.
    fn write(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut stream = Pin::new(&mut self.stream);
        let waker = self.thread.clone().into();
        let mut cx = Context::from_waker(&waker);
        while !bytes.is_empty() {
            let Poll::Ready(count) = stream.as_mut().poll_write(&mut cx, bytes) else {
                panic!("it takes everything")
            };
            bytes = &bytes[count.unwrap()..];
        }
        std::mem::take(&mut self.stream.stream.taken)
    }

    /// Flushes as the client does when it is woken, and returns what the broker gets.
    fn flush(&mut self) -> Vec<u8> {
        let waker = self.thread.clone().into();
        let mut cx = Context::from_waker(&waker);
        let flushed = Pin::new(&mut self.stream).poll_flush(&mut cx);
        assert!(matches!(flushed, Poll::Ready(Ok(()))));
        std::mem::take(&mut self.stream.stream.taken)
    }

    /// Acknowledges these, written at once. Returns the tags that the broker gets, and whether each is `multiple`.
    fn acknowledge(&mut self, tags: impl IntoIterator<Item = u64>) -> Vec<(u64, bool)> {
        let tags = tags.into_iter();
        let bytes: Vec<u8> = tags.flat_map(|tag| self.settle(tag, Settle::Ack)).collect();
        acks(self.write(&bytes))
    }
}

/// The tags of acknowledgements, and whether each is `multiple`.
fn acks(bytes: Vec<u8>) -> Vec<(u64, bool)> {
    let frames = parsed(bytes).into_iter();
    let tags = frames.map(|frame| match frame {
        AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Ack(ack))) => {
            (ack.delivery_tag, ack.multiple)
        }
        other => panic!("{other:?}"),
    });
    tags.collect()
}

fn step() -> impl Strategy<Value = Step> {
    let settle = prop_oneof![
        20 => Just(Settle::Ack),
        1 => Just(Settle::AckUpTo),
        1 => Just(Settle::Reject),
        1 => Just(Settle::Nack),
    ];
    let some = prop::collection::vec((any::<prop::sample::Index>(), settle), 1..20);
    prop_oneof![
        4 => (1_usize..50).prop_map(Step::Receive),
        4 => some.prop_map(Step::Settle),
        1 => Just(Step::Pause),
    ]
}

proptest! {
    /// Each delivery gets the client's verdict exactly once: as soon as it is written, or after the wait.
    #[test]
    fn the_broker_settles_what_the_client_settles(
        steps in prop::collection::vec(step(), 1..40),
        waits in any::<bool>(),
    ) {
        let clock = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (mut client, mut broker) = (Client::new(), Broker::default());
        if waits {
            client = Client::waiting(clock.handle().clone());
        }
        for step in steps.into_iter().chain([Step::Pause]) {
            match step {
                Step::Receive(count) => {
                    broker.unsettled.extend((0..count).map(|_| client.receive()));
                }
                Step::Settle(settles) => {
                    let mut bytes = vec![];
                    for (index, settle) in settles {
                        if !client.unsettled.is_empty() {
                            let tag = *index.get(&client.unsettled);
                            bytes.extend(client.settle(tag, settle));
                        }
                    }
                    broker.handle(client.write(&bytes));
                }
                Step::Pause => {
                    clock.block_on(async { sleep(2 * LONGEST_WAIT).await });
                    broker.handle(client.flush());
                    prop_assert_eq!(&broker.settled, &client.settled);
                }
            }
            if waits {
                let is_known = |(tag, verdict)| client.settled.get(tag) == Some(verdict);
                prop_assert!(broker.settled.iter().all(is_known));
            } else {
                prop_assert_eq!(&broker.settled, &client.settled);
                prop_assert_eq!(&broker.unsettled, &client.unsettled);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_many_are_unsettled_acknowledgements_wait_for_others() {
    let mut client = Client::waiting(Handle::current());
    for _ in 0..40 {
        client.receive();
    }
    assert_eq!(client.acknowledge([1, 3, 2]), []);
    // A quarter of them.
    assert_eq!(client.acknowledge(4..=10), [(10, true)]);
    // 30 are few.
    assert_eq!(client.acknowledge([11]), [(11, false)]);
    for _ in 0..30 {
        client.receive();
    }
    assert_eq!(client.acknowledge([13]), []);
    let begin = Instant::now();
    client.thread.0.notified().await;
    assert_eq!(acks(client.flush()), [(13, false)]);
    assert_eq!(begin.elapsed(), LONGEST_WAIT);
    // The next one has a wait of its own.
    assert_eq!(client.acknowledge([12]), []);
    client.thread.0.notified().await;
    assert_eq!(acks(client.flush()), [(12, false)]);
    assert_eq!(begin.elapsed(), 2 * LONGEST_WAIT);
}

#[tokio::test(start_paused = true)]
async fn what_else_is_sent_takes_waiting_acknowledgements_along() {
    let mut client = Client::waiting(Handle::current());
    for _ in 0..40 {
        client.receive();
    }
    assert_eq!(client.acknowledge([1, 2]), []);
    let reject = client.settle(3, Settle::Reject);
    let written = client.write(&reject);
    let (before, after) = written.split_at(written.len() - reject.len());
    assert_eq!(after, reject);
    assert_eq!(acks(before.to_vec()), [(2, true)]);
}

#[test]
fn the_oldest_deliveries_are_acknowledged_by_one_frame() {
    let mut client = Client::new();
    for _ in 0..9 {
        client.receive();
    }
    // In any order, as tasks end.
    assert_eq!(client.acknowledge([2, 1, 3]), [(3, true)]);
    // 4 is not settled, so the others cannot be merged.
    assert_eq!(client.acknowledge([6, 5]), [(5, false), (6, false)]);
    assert_eq!(client.acknowledge([9, 7, 4]), [(7, true), (9, false)]);
    assert_eq!(client.acknowledge([8]), [(8, false)]);
}

#[test]
fn a_delivery_that_the_client_dropped_is_never_acknowledged() {
    let mut client = Client::new();
    for _ in 0..5 {
        client.receive();
    }
    client.acknowledge([1]);
    // Nobody settles 2: it was with a consumer that was cancelled.
    let singles = [(3, false), (4, false), (5, false)];
    assert_eq!(client.acknowledge([3, 4, 5]), singles);
}

#[test]
fn a_message_that_the_client_has_fetched_is_not_acknowledged_with_others() {
    let mut client = Client::new();
    client.receive();
    let fetched = client.receive_by(&[0, 60, 0, 71]);
    client.receive();
    assert_eq!(client.acknowledge([1, 3]), [(1, false), (3, false)]);
    assert_eq!(client.acknowledge([fetched]), [(2, false)]);
}

#[test]
fn a_new_channel_counts_anew() {
    let mut client = Client::new();
    for _ in 0..3 {
        client.receive();
    }
    client.write(&frame(1, &[[0, 20, 0, 40].as_slice(), &[0; 7]].concat()));
    client.write(&frame(1, &[0, 20, 0, 10, 0]));
    client.next = 1;
    client.unsettled.clear();
    assert_eq!([client.receive(), client.receive()], [1, 2]);
    assert_eq!(client.acknowledge([1, 2]), [(2, true)]);
}

#[test]
fn what_the_broker_does_not_know_is_left_to_it() {
    let mut client = Client::new();
    client.receive();
    assert_eq!(
        client.acknowledge([1, 1, 7]),
        [(1, false), (1, false), (7, false)]
    );
}
