//! The contents of deliveries: the client gets each delivery with an empty body, and everything around it unchanged. What
//! it does not get is handed over before, or left out.

use super::*;
use proptest::prelude::*;
use std::sync::Mutex;

fn delivery(channel: u8, tag: u64, size: usize) -> [Vec<u8>; 2] {
    delivery_of(channel, tag, size, &[0, 0])
}

/// A delivery whose properties tell its tag.
fn tagged_delivery(channel: u8, tag: u64, size: usize) -> [Vec<u8>; 2] {
    delivery_of(channel, tag, size, &tagged_properties(tag))
}

fn tagged_properties(tag: u64) -> Vec<u8> {
    let id = tag.to_string();
    let properties = lapin::BasicProperties::default().with_message_id(id.as_str().into());
    properties::of_client(&properties)
}

fn delivery_of(channel: u8, tag: u64, size: usize, properties: &[u8]) -> [Vec<u8>; 2] {
    let mut method = vec![0, 60, 0, 60];
    for part in [
        name(b"consumer"),
        tag.to_be_bytes().into(),
        vec![0],
        name(b"x"),
        name(b"k"),
    ] {
        method.extend(part);
    }
    let mut header = vec![0, 60, 0, 0];
    header.extend((size as u64).to_be_bytes());
    header.extend(properties);
    [(1, method), (2, header)].map(|(kind, payload)| on(channel, frame(kind, &payload)))
}

fn on(channel: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[2] = channel;
    frame
}

fn tagged_contents(tag: u64, body: Vec<u8>) -> (u64, Contents) {
    let contents = Contents {
        properties: tagged_properties(tag).into(),
        body: body.into(),
    };
    (tag, contents)
}

/// The frames of a body, each with at most `most` bytes.
fn body(channel: u8, tag: u64, size: usize, most: usize) -> Vec<u8> {
    let bytes = vec![tag as u8; size];
    bytes
        .chunks(most)
        .flat_map(|chunk| on(channel, frame(3, chunk)))
        .collect()
}

/// What went around the client.
#[derive(Clone, Default)]
struct Taken {
    /// The tags and sizes that the admission was asked for.
    asked: Vec<(u64, u64)>,
    contents: Vec<(u64, Contents)>,
}

struct Taking<F>(Mutex<Taken>, F);

impl<F: Fn(u64) -> bool + Send + Sync> Deliveries for Taking<F> {
    fn admit(&self, tag: u64, size: u64) -> bool {
        self.0.lock().unwrap().asked.push((tag, size));
        self.1(tag)
    }

    fn take(&self, tag: u64, contents: Contents) {
        self.0.lock().unwrap().contents.push((tag, contents));
    }
}

/// What the client gets in frames of at most `frame_max` bytes, and what it does not get.
fn taken(
    bytes: &[u8],
    sizes: &[usize],
    frame_max: u32,
    admit: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (Vec<u8>, Taken) {
    let taking = Arc::new(Taking(Mutex::default(), admit));
    let deliveries = taking.clone();
    let got = read_with(bytes, sizes, 1 << 20, move |stream| {
        stream.frames = Frames::new(frame_max).with_contents(131_072, Some(deliveries));
    });
    let taken = taking.0.lock().unwrap().clone();
    (got, taken)
}

proptest! {
    /// In whatever pieces the bytes come: the client gets empty deliveries, and what is admitted is taken whole.
    #[test]
    fn bodies_go_around_the_client(
        deliveries in prop::collection::vec((0_usize..300_000, any::<bool>(), 1_u8..3), 1..6),
        most in 1000_usize..131_000,
        sizes in prop::collection::vec(1_usize..100_000, 1..4),
    ) {
        let (mut sent, mut expected, mut all, mut contents) = (vec![], vec![], vec![], vec![]);
        let other = on(7, frame(1, &[0, 20, 0, 11, 0, 0, 0, 0]));
        for (n, (size, is_admitted, channel)) in deliveries.iter().enumerate() {
            let tag = n as u64;
            let [method, header] = tagged_delivery(*channel, tag, *size);
            let whole = [method, header, body(*channel, tag, *size, most), other.clone()].concat();
            sent.extend(whole);
            expected.extend([delivery(*channel, tag, 0).concat(), other.clone()].concat());
            all.push((tag, *size as u64));
            let size = if *is_admitted { *size } else { 0 };
            contents.push(tagged_contents(tag, vec![tag as u8; size]));
        }
        let admit: Vec<_> = deliveries.iter().map(|(_, admit, _)| *admit).collect();
        let (got, taken) = taken(&sent, &sizes, 0, move |tag| admit[tag as usize]);
        prop_assert!(without_heartbeats(&got) == expected, "{} bytes of {}", got.len(), expected.len());
        prop_assert_eq!(taken.asked, all);
        prop_assert!(taken.contents == contents);
    }
}

/// The guard adds heartbeats while a body arrives.
fn without_heartbeats(mut bytes: &[u8]) -> Vec<u8> {
    let mut others = vec![];
    while let Some(&[kind, _, _, a, b, c, d]) = bytes.first_chunk() {
        let (frame, rest) = bytes.split_at(8 + u32::from_be_bytes([a, b, c, d]) as usize);
        if kind != 8 {
            others.extend(frame);
        }
        bytes = rest;
    }
    others
}

#[test]
fn the_client_gets_a_heartbeat_while_a_body_arrives() {
    let [method, header] = delivery(1, 1, 300);
    let sent = [method, header, body(1, 1, 300, 1000)].concat();
    // A size of 0 means that nothing has arrived.
    let (got, taken) = taken(&sent, &[100, 0, 0], 0, |_| true);
    let heartbeat = on(0, frame(8, b""));
    let count = got.windows(8).filter(|window| *window == heartbeat).count();
    assert_eq!(count, 1, "at most one per second");
    assert_eq!(without_heartbeats(&got), delivery(1, 1, 0).concat());
    assert_eq!(taken.contents.len(), 1);
}

#[test]
fn properties_go_around_the_client() {
    for length in [0, 10, 9000] {
        let long = "v".repeat(length);
        let mut headers = FieldTable::default();
        headers.insert("long".into(), AMQPValue::LongString(long.as_str().into()));
        let properties = lapin::BasicProperties::default()
            .with_headers(headers)
            .with_message_id("id".into());
        let [method, header] = delivery_of(1, 5, 3, &properties::of_client(&properties));
        let sent = [method, header, body(1, 5, 3, 1000)].concat();
        for admitted in [true, false] {
            let (got, taken) = taken(&sent, &[700], 4096, move |_| admitted);
            assert_eq!(without_heartbeats(&got), delivery(1, 5, 0).concat());
            let [(5, contents)] = taken.contents.as_slice() else {
                panic!("{:?}", taken.contents)
            };
            assert_eq!(contents.body.len(), if admitted { 3 } else { 0 });
            assert_eq!(properties::for_client(&contents.properties), properties);
        }
    }
}

#[test]
fn a_body_that_is_not_complete_is_not_taken() {
    let [method, header] = delivery(1, 1, 6);
    let cut = [method.clone(), header.clone(), frame(3, b"abc")].concat();
    let close = frame(1, &[0, 20, 0, 40, 1, 64, 0, 0, 0, 0, 0]);
    let (got, taken) = taken(&[cut, close.clone()].concat(), &[7], 0, |_| true);
    // The client waits for the body, and sees that the channel is closed.
    let expected = [method, header, close].concat();
    assert_eq!(without_heartbeats(&got), expected);
    assert_eq!(taken.contents, []);
}

#[test]
fn more_than_a_body_announces_does_not_count() {
    let [method, header] = tagged_delivery(1, 1, 2);
    let sent = [method, header, frame(3, b"abc"), frame(8, b"")].concat();
    let (got, taken) = taken(&sent, &[usize::MAX], 0, |_| true);
    assert_eq!(got, [delivery(1, 1, 0).concat(), frame(8, b"")].concat());
    assert_eq!(taken.contents, [tagged_contents(1, b"ab".to_vec())]);
}

#[test]
fn only_the_bodies_of_deliveries_are_left_out() {
    let returned = [
        frame(
            1,
            &[
                &[0, 60, 0, 50, 1, 56],
                name(b"NO_ROUTE").as_slice(),
                &name(b"x"),
                &name(b"k"),
            ]
            .concat(),
        ),
        header(0, b""),
        frame(3, b"abc"),
    ]
    .concat();
    let (got, taken) = taken(&returned, &[usize::MAX], 0, |_| false);
    assert_eq!((got, taken.asked), (returned, vec![]));
}

#[test]
fn bodies_on_two_channels_are_told_apart() {
    let [first, second] =
        [tagged_delivery(1, 1, 6), tagged_delivery(2, 2, 3)].map(|frames| frames.concat());
    let halves = [on(1, frame(3, b"abc")), on(1, frame(3, b"def"))];
    let other = on(2, frame(3, b"xyz"));
    let sent = [first, second, halves[0].clone(), other, halves[1].clone()].concat();
    for (admitted, contents) in [
        (vec![2], [(1, ""), (2, "xyz")]),
        (vec![1, 2], [(2, "xyz"), (1, "abcdef")]),
    ] {
        let (_, taken) = taken(&sent, &[usize::MAX], 0, move |tag| admitted.contains(&tag));
        let contents = contents.map(|(tag, body)| tagged_contents(tag, body.into()));
        assert_eq!(taken.contents, contents);
    }
}

#[test]
fn a_header_without_a_size_does_no_harm() {
    let [method, _] = delivery(1, 1, 0);
    for length in 0..12 {
        let sent = [method.clone(), frame(2, &vec![0; length]), frame(8, b"")].concat();
        taken(&sent, &[usize::MAX], 4096, |_| false);
    }
}
