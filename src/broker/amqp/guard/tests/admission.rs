//! Bodies that are left out: the client gets the delivery with an empty body, and everything around it unchanged.

use super::*;
use proptest::prelude::*;
use std::sync::Mutex;

fn delivery(channel: u8, tag: u64, size: usize) -> [Vec<u8>; 2] {
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
    header.extend([0, 0]);
    [(1, method), (2, header)].map(|(kind, payload)| on(channel, frame(kind, &payload)))
}

fn on(channel: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[2] = channel;
    frame
}

/// The frames of a body, each with at most `most` bytes.
fn body(channel: u8, tag: u64, size: usize, most: usize) -> Vec<u8> {
    let bytes = vec![tag as u8; size];
    bytes
        .chunks(most)
        .flat_map(|chunk| on(channel, frame(3, chunk)))
        .collect()
}

/// What the client gets, and the tags and sizes that the admission was asked for.
fn admitted(
    bytes: &[u8],
    sizes: &[usize],
    admit: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (Vec<u8>, Vec<(u64, u64)>) {
    let asked: Arc<Mutex<Vec<_>>> = Arc::default();
    let noted = asked.clone();
    let admission: Admit = Arc::new(move |tag, size| {
        noted.lock().unwrap().push((tag, size));
        admit(tag)
    });
    let got = read_with(bytes, sizes, 1 << 20, |stream| {
        stream.frames = Frames::new(0).with_admission(admission);
    });
    let asked = asked.lock().unwrap().clone();
    (got, asked)
}

proptest! {
    /// In whatever pieces the bytes come: admitted deliveries are unchanged, the others are empty.
    #[test]
    fn bodies_are_left_out_as_a_whole(
        deliveries in prop::collection::vec((0_usize..300_000, any::<bool>(), 1_u8..3), 1..6),
        most in 1000_usize..131_000,
        sizes in prop::collection::vec(1_usize..100_000, 1..4),
    ) {
        let (mut sent, mut expected, mut all) = (vec![], vec![], vec![]);
        let other = frame(8, b"");
        for (n, (size, is_admitted, channel)) in deliveries.iter().enumerate() {
            let tag = n as u64;
            let whole = [delivery(*channel, tag, *size).concat(), body(*channel, tag, *size, most)].concat();
            sent.extend([whole.as_slice(), &other].concat());
            let kept = if *is_admitted { whole } else { delivery(*channel, tag, 0).concat() };
            expected.extend([kept.as_slice(), &other].concat());
            all.push((tag, *size as u64));
        }
        let admit: Vec<_> = deliveries.iter().map(|(_, admit, _)| *admit).collect();
        let (got, asked) = admitted(&sent, &sizes, move |tag| admit[tag as usize]);
        prop_assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
        prop_assert_eq!(asked, all);
    }
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
    let (got, asked) = admitted(&returned, &[usize::MAX], |_| false);
    assert_eq!((got, asked), (returned, vec![]));
}

#[test]
fn a_body_is_left_out_beside_one_on_another_channel() {
    let [first, second] = [delivery(1, 1, 6), delivery(2, 2, 3)].map(|frames| frames.concat());
    let halves = [on(1, frame(3, b"abc")), on(1, frame(3, b"def"))];
    let other = on(2, frame(3, b"xyz"));
    let sent = [
        first,
        second.clone(),
        halves[0].clone(),
        other.clone(),
        halves[1].clone(),
    ]
    .concat();
    let (got, _) = admitted(&sent, &[usize::MAX], |tag| tag == 2);
    assert_eq!(got, [delivery(1, 1, 0).concat(), second, other].concat());
}

#[test]
fn a_header_without_a_size_does_no_harm() {
    let [method, _] = delivery(1, 1, 0);
    for length in 0..12 {
        let sent = [method.clone(), frame(2, &vec![0; length]), frame(8, b"")].concat();
        admitted(&sent, &[usize::MAX], |_| false);
    }
}
