//! Acknowledgements: the broker settles what the client settles, whatever is merged.

use super::{publishing::Takes, *};
use futures_io::AsyncWrite;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What the client does next.
#[derive(Clone, Debug)]
enum Step {
    /// It is handed so many deliveries.
    Receive(usize),
    /// It settles so many of its unsettled deliveries, which these numbers choose, and writes the frames at once.
    Settle(Vec<(prop::sample::Index, Settle)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Settle {
    Ack,
    AckUpTo,
    AckAll,
    Reject,
    Nack,
    NackUpTo,
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
        // 0 stands for all.
        let is_known = self.unsettled.contains(&tag) || multiple && tag == 0;
        assert!(is_known, "the broker does not know {tag}");
        let is_meant = |of: &u64| *of == tag || multiple && (*of < tag || tag == 0);
        let meant = self.unsettled.extract_if(.., |of| is_meant(of));
        self.settled.extend(meant.map(|of| (of, verdict)));
    }
}

/// A client with one channel.
struct Client {
    stream: GuardedStream<Takes>,
    next: u64,
    unsettled: Vec<u64>,
    settled: BTreeMap<u64, &'static str>,
}

impl Client {
    fn new() -> Self {
        Self::with_socket(Takes::all())
    }

    fn with_socket(socket: Takes) -> Self {
        struct Drops;
        impl Deliveries for Drops {
            fn admit(&self, _: u64, _: u64) -> bool {
                true
            }
            fn take(&self, _: u64, _: Contents) {}
        }
        let around = Around {
            deliveries: Some(Arc::new(Drops)),
            outbox: None,
        };
        Self {
            stream: GuardedStream::new(socket, 8192).with(131_072, around),
            next: 1,
            unsettled: vec![],
            settled: BTreeMap::new(),
        }
    }

    fn receive(&mut self) -> u64 {
        let deliver = [[0, 60, 0, 60].as_slice(), &name(b"consumer")];
        self.receive_by(&deliver.concat())
    }

    /// Gets bytes from the broker.
    fn get(&mut self, bytes: &[u8]) {
        let frames = &mut self.stream.frames;
        frames.space()[..bytes.len()].copy_from_slice(bytes);
        frames.filled(bytes.len());
    }

    /// Receives a delivery by this method, whose tag follows the bytes.
    fn receive_by(&mut self, method: &[u8]) -> u64 {
        let tag = self.next;
        let around = [[0].as_slice(), &name(b"x"), &name(b"k")].concat();
        self.get(&frame(1, &[method, &tag.to_be_bytes(), &around].concat()));
        self.next += 1;
        self.unsettled.push(tag);
        tag
    }

    /// The bytes of the client for a verdict.
    fn settle(&mut self, tag: u64, settle: Settle) -> Vec<u8> {
        let (method, bits, verdict) = match settle {
            Settle::Ack => (80, 0, "acknowledged"),
            Settle::AckUpTo | Settle::AckAll => (80, 1, "acknowledged"),
            Settle::Reject => (90, 1, "rejected"),
            Settle::Nack => (120, 0, "rejected"),
            Settle::NackUpTo => (120, 1, "rejected"),
        };
        let last = match settle {
            Settle::AckUpTo | Settle::NackUpTo => tag,
            Settle::AckAll => u64::MAX,
            Settle::Ack | Settle::Reject | Settle::Nack => 0,
        };
        let is_meant = |of: &u64| *of == tag || *of < last;
        let meant = self.unsettled.extract_if(.., |of| is_meant(of));
        self.settled.extend(meant.map(|of| (of, verdict)));
        let tag = if settle == Settle::AckAll { 0 } else { tag };
        let method = [0, 60, 0, method];
        frame(
            1,
            &[method.as_slice(), &tag.to_be_bytes(), &[bits]].concat(),
        )
    }

    /// Writes bytes in pieces of `most` bytes, and returns what the broker gets.
    fn write_pieces(&mut self, bytes: &[u8], most: usize) -> Vec<u8> {
        let mut cx = Context::from_waker(Waker::noop());
        for mut piece in bytes.chunks(most) {
            while !piece.is_empty() {
                let written = Pin::new(&mut self.stream).poll_write(&mut cx, piece);
                if let Poll::Ready(count) = written {
                    piece = &piece[count.unwrap()..];
                }
            }
        }
        while Pin::new(&mut self.stream).poll_flush(&mut cx).is_pending() {}
        std::mem::take(&mut self.stream.stream.taken)
    }

    fn write(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.write_pieces(bytes, usize::MAX)
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
        40 => Just(Settle::Ack),
        1 => Just(Settle::AckUpTo),
        1 => Just(Settle::AckAll),
        2 => Just(Settle::Reject),
        1 => Just(Settle::Nack),
        1 => Just(Settle::NackUpTo),
    ];
    let some = prop::collection::vec((any::<prop::sample::Index>(), settle), 1..20);
    prop_oneof![
        (1_usize..50).prop_map(Step::Receive),
        some.prop_map(Step::Settle),
    ]
}

proptest! {
    /// Each delivery gets the client's verdict as soon as it is written, and exactly once.
    #[test]
    fn the_broker_settles_what_the_client_settles(
        steps in prop::collection::vec(step(), 1..40),
        most in 1_usize..100,
        sizes in prop::collection::vec(0_usize..100, 1..4),
    ) {
        let sizes = [sizes, vec![50]].concat();
        let (mut client, mut broker) = (Client::with_socket(Takes::new(&sizes)), Broker::default());
        for step in steps {
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
                    broker.handle(client.write_pieces(&bytes, most));
                    prop_assert_eq!(&broker.settled, &client.settled);
                    prop_assert_eq!(&broker.unsettled, &client.unsettled);
                }
            }
        }
    }
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
fn a_fetched_message_is_not_acknowledged_with_others() {
    let mut client = Client::new();
    client.receive();
    let fetched = client.receive_by(&[0, 60, 0, 71]);
    client.receive();
    assert_eq!(client.acknowledge([1, 3]), [(1, false), (3, false)]);
    assert_eq!(client.acknowledge([fetched]), [(2, false)]);
}

#[test]
fn each_channel_has_tags_of_its_own() {
    let on = |channel: u8, mut bytes: Vec<u8>| {
        bytes[2] = channel;
        bytes
    };
    let ack = |tag: u64, bits: u8| {
        let method = [0, 60, 0, 80];
        frame(
            1,
            &[method.as_slice(), &tag.to_be_bytes(), &[bits]].concat(),
        )
    };
    let deliver = |client: &mut Client, channel: u8, tag: u64| {
        let method = [[0, 60, 0, 60].as_slice(), &name(b"c"), &tag.to_be_bytes()];
        let around = [[0].as_slice(), &name(b"x"), &name(b"k")].concat();
        client.get(&on(channel, frame(1, &[method.concat(), around].concat())));
    };
    let mut client = Client::new();
    for tag in 1..=4 {
        deliver(&mut client, 1, tag);
        deliver(&mut client, 2, tag);
    }
    // Nothing is merged across channels.
    let mixed = [ack(2, 0), on(2, ack(1, 0)), ack(1, 0)].concat();
    assert_eq!(client.write(&mixed), mixed);
    // This does not settle 2 of the second channel.
    let up_to = ack(3, 1);
    assert_eq!(client.write(&up_to), up_to);
    let two = [on(2, ack(3, 0)), on(2, ack(4, 0))].concat();
    assert_eq!(client.write(&two), two);
    // What is unsettled on the first channel does not matter.
    deliver(&mut client, 2, 5);
    let two = [on(2, ack(2, 0)), on(2, ack(5, 0))].concat();
    assert_eq!(client.write(&two), on(2, ack(5, 1)));
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
