//! Against the parser that the client reads with, on a stack as small as any thread has.

use super::{super::table, tables::*, *};
use amq_protocol::{
    frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame},
    protocol::{AMQPClass, basic, channel, connection, queue},
    types::{AMQPValue, DecimalValue, FieldArray, FieldTable},
};
use lapin::BasicProperties;
use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What Rust gives a thread that nobody asked for more.
const STACK: usize = 2 * 1024 * 1024;

/// A connection that gives its bytes in pieces of these sizes, over and over, and has nothing to give in between.
struct Pieces {
    bytes: VecDeque<u8>,
    sizes: Vec<usize>,
    at: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.at += 1;
        let size = self.sizes[self.at % self.sizes.len()];
        if size == 0 {
            return Poll::Pending;
        }
        let count = size.min(into.len()).min(self.bytes.len());
        for (place, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        Poll::Ready(Ok(count))
    }
}

/// What the client gets when it reads pieces of such sizes; `frame_max` is what it asks for.
fn read(bytes: &[u8], sizes: &[usize], wanted: usize, frame_max: u32) -> Vec<u8> {
    let pieces = Pieces {
        bytes: bytes.iter().copied().collect(),
        sizes: sizes.to_vec(),
        at: 0,
    };
    let mut stream = Guarded::new(pieces, frame_max);
    let mut got = Vec::new();
    let mut into = vec![0; wanted];
    let mut cx = Context::from_waker(std::task::Waker::noop());
    loop {
        match Pin::new(&mut stream).poll_read(&mut cx, &mut into) {
            Poll::Ready(Ok(0)) => return got,
            Poll::Ready(Ok(count)) => got.extend_from_slice(&into[..count]),
            Poll::Ready(Err(error)) => panic!("{error}"),
            Poll::Pending => {}
        }
    }
}

fn guarded(bytes: &[u8]) -> Vec<u8> {
    read(bytes, &[usize::MAX], 1 << 20, 0)
}

/// The frames as the client reads them, each read, shown, copied, written and dropped on a small stack.
fn parsed(bytes: Vec<u8>) -> Vec<AMQPFrame> {
    let work = move || {
        let (mut frames, mut rest) = (vec![], bytes.as_slice());
        while !rest.is_empty() {
            let (after, frame) =
                parse_frame(rest).unwrap_or_else(|error| panic!("{error} in {rest:?}"));
            if let AMQPFrame::Header(_, header) = &frame {
                let mut written = vec![0; 2 * bytes.len() + 64];
                gen_frame(&frame)(written.as_mut_slice().into())
                    .map(drop)
                    .unwrap();
                header
                    .properties
                    .headers()
                    .as_ref()
                    .map(table::to_json)
                    .map(|json| table::from_json(&json));
            }
            frames.push(frame.clone());
            rest = after;
        }
        frames
    };
    std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [
        &[kind, 0, 1],
        (payload.len() as u32).to_be_bytes().as_slice(),
        payload,
        &[0xCE],
    ]
    .concat()
}

/// A content header with these flags and what stands after them.
fn header(flags: u16, properties: &[u8]) -> Vec<u8> {
    let size = 3_u64.to_be_bytes();
    frame(
        2,
        &[
            &[0, 60, 0, 0],
            size.as_slice(),
            flags.to_be_bytes().as_slice(),
            properties,
        ]
        .concat(),
    )
}

const HEADERS: u16 = 1 << 13;

fn sized(contents: &[u8]) -> Vec<u8> {
    [(contents.len() as u32).to_be_bytes().as_slice(), contents].concat()
}

fn name(name: &[u8]) -> Vec<u8> {
    [&[name.len() as u8], name].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    [b"S".as_slice(), &sized(text)].concat()
}

/// A value in so many tables (`F`), arrays (`A`), or both in turn.
fn nested(depth: usize, kinds: &[u8]) -> Vec<u8> {
    (0..depth).fold(b"t\x01".to_vec(), |value, n| {
        let kind = kinds[n % kinds.len()];
        let entry = if kind == b'F' {
            [name(b"n"), value].concat()
        } else {
            value
        };
        [&[kind], sized(&entry).as_slice()].concat()
    })
}

/// A content header with one header of this value between two others.
fn with_value(value: &[u8]) -> Vec<u8> {
    let entries = [
        name(b"a"),
        long(b"1"),
        name(b"h"),
        value.to_vec(),
        name(b"z"),
        long(b"2"),
    ]
    .concat();
    header(HEADERS, &sized(&entries))
}

/// The headers that the client reads from one frame.
fn headers_of(bytes: &[u8]) -> Value {
    let frames = parsed(guarded(bytes));
    let [AMQPFrame::Header(_, header)] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    header
        .properties
        .headers()
        .as_ref()
        .map_or(Value::Null, |headers| {
            Value::Object(table::to_json(headers))
        })
}

#[test]
fn nesting_up_to_the_limit_is_kept_and_what_is_deeper_is_cut() {
    assert!(TOO_DEEP.contains(&DEPTH.to_string()));
    for kinds in [b"F".as_slice(), b"A", b"FA", b"AAF"] {
        let deepest = with_value(&nested(DEPTH - 1, kinds));
        assert_eq!(guarded(&deepest), deepest);
        parsed(deepest);
        for depth in [DEPTH, DEPTH + 1, 500, 1000] {
            let headers = headers_of(&with_value(&nested(depth, kinds)));
            assert_eq!((&headers["a"], &headers["z"]), (&json!("1"), &json!("2")));
            let mut value = &headers["h"];
            for _ in 1..DEPTH {
                value = value.get("n").unwrap_or_else(|| &value[0]);
            }
            let mark = format!("[cut: {TOO_DEEP}]");
            // As much of the mark as there was room for.
            assert!(
                value
                    .as_str()
                    .is_some_and(|text| mark.starts_with(text) && text.len() > 1),
                "{depth}: {value}"
            );
        }
    }
    let headers = headers_of(&with_value(&nested(10_000, b"A")));
    assert_eq!((&headers["a"], &headers["z"]), (&json!("1"), &json!("2")));
}

#[test]
fn empty_tables_at_the_limit_leave_no_frame_longer_than_it_was() {
    let inner = vec![b"F\0\0\0\0".as_slice(); 1000].concat();
    let arrays = (0..DEPTH - 1).fold(inner, |value, _| [b"A".as_slice(), &sized(&value)].concat());
    let bytes = with_value(&arrays);
    let mended = guarded(&bytes);
    assert!(mended.len() <= bytes.len());
    parsed(mended);
}

#[test]
fn invalid_utf8_in_names_and_properties_becomes_question_marks() {
    let entries = [
        name(b"caf\xe9"),
        long(b"\xff\xfe"),
        name(b"\xc3\xa9\xf0\x9f"),
        long(b"2"),
    ]
    .concat();
    let headers = headers_of(&header(HEADERS, &sized(&entries)));
    // A long text may be any bytes, as before.
    assert_eq!(headers, json!({"caf?": "\u{fffd}\u{fffd}", "é??": "2"}));
    let inner = [
        b"F".as_slice(),
        &sized(&[name(b"\xe9"), long(b"1")].concat()),
    ]
    .concat();
    assert_eq!(headers_of(&with_value(&inner))["h"], json!({"?": "1"}));

    // content-type, content-encoding, headers, delivery-mode, priority, then texts with a timestamp among them.
    let texts = |text: &[u8], count| vec![name(text); count].concat();
    let properties = [
        texts(b"a\xffb", 2),
        sized(b""),
        vec![2, 9],
        texts(b"a\xffb", 4),
        vec![0; 8],
        texts(b"a\xffb", 4),
    ]
    .concat();
    let frames = parsed(guarded(&header(0xFFFC, &properties)));
    let [AMQPFrame::Header(_, header)] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    let p = &header.properties;
    let texts = [
        p.content_type(),
        p.content_encoding(),
        p.correlation_id(),
        p.reply_to(),
        p.expiration(),
    ];
    let more = [
        p.message_id(),
        p.kind(),
        p.user_id(),
        p.app_id(),
        p.cluster_id(),
    ];
    for text in texts.into_iter().chain(more) {
        assert_eq!(
            text.as_ref().map(lapin::types::ShortString::as_str),
            Some("a?b")
        );
    }
    assert_eq!(
        (*p.delivery_mode(), *p.priority(), *p.timestamp()),
        (Some(2), Some(9), Some(0))
    );
}

#[test]
fn names_in_methods_that_are_no_text_become_question_marks() {
    let deliver = [
        &[0, 60, 0, 60],
        name(b"ctag").as_slice(),
        &[0; 8],
        &[1],
        &name(b"x\xff"),
        &name(b"\xffk"),
    ]
    .concat();
    let returned = [
        &[0, 60, 0, 50, 1, 56],
        name(b"NO_ROUTE\x80").as_slice(),
        &name(b"x"),
        &name(b"k\xe9y"),
    ]
    .concat();
    let closing = [
        &[0, 20, 0, 40, 1, 148],
        name(b"no exchange '\xe9'").as_slice(),
        &[0, 60, 0, 40],
    ]
    .concat();
    let frames = parsed(guarded(
        &[frame(1, &deliver), frame(1, &returned), frame(1, &closing)].concat(),
    ));
    let methods: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Deliver(d))) => {
                [d.exchange.as_str(), d.routing_key.as_str()].concat()
            }
            AMQPFrame::Method(_, AMQPClass::Basic(basic::AMQPMethod::Return(r))) => {
                [r.reply_text.as_str(), r.routing_key.as_str()].concat()
            }
            AMQPFrame::Method(_, AMQPClass::Channel(channel::AMQPMethod::Close(c))) => {
                c.reply_text.to_string()
            }
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(methods, ["x??k", "NO_ROUTE?k?y", "no exchange '?'"]);
}

#[test]
fn values_that_cannot_be_read_end_their_table_and_nothing_else() {
    let unreadable = format!("[cut: {UNREADABLE}]");
    let table = |contents: &[u8]| [b"F".as_slice(), &sized(contents)].concat();
    for (value, expected) in [
        (
            table(b"\x01nZ0123456789012345678901234"),
            json!({"n": unreadable}),
        ),
        (
            table(b"\x01nF\0\0\0\x20..................."),
            json!({"n": unreadable}),
        ),
        (
            table(b"\x01nS\xff\xff\xff\xff..................."),
            json!({"n": unreadable}),
        ),
        (table(b"\x01nZ0"), json!({"n": null})),
        (table(b"\x01nS\0\0\0\x05."), json!({"n": "["})),
        (table(b"\x01nl1234567"), json!({"n": "[cu"})),
        (table(b"\x01n"), json!({})),
        (table(b"\x01mt\x01\x01n"), json!({"m": true})),
        (table(b"\x09n"), json!({})),
        (
            [b"A".as_slice(), &sized(b"t\x01Z")].concat(),
            json!([true, null]),
        ),
    ] {
        let headers = headers_of(&with_value(&value));
        assert_eq!(
            headers,
            json!({"a": "1", "h": expected, "z": "2"}),
            "{value:?}"
        );
    }
}

#[test]
fn unterminated_properties_and_those_after_them_are_removed() {
    let good = sized(&[name(b"h"), long(b"1")].concat());
    for (flags, properties, expected) in [
        (HEADERS, b"\0\0\0\x09".to_vec(), Value::Null),
        (HEADERS, b"\0".to_vec(), Value::Null),
        (
            HEADERS | 1 << 7,
            [good.as_slice(), b"\x09short"].concat(),
            json!({"h": "1"}),
        ),
        (
            HEADERS | 1 << 6 | 1 << 5,
            [good.as_slice(), b"\0"].concat(),
            json!({"h": "1"}),
        ),
        (1 << 15 | HEADERS, b"\xffshort".to_vec(), Value::Null),
        (
            HEADERS,
            [good.as_slice(), b"what is this"].concat(),
            json!({"h": "1"}),
        ),
        (0, b"what is this".to_vec(), Value::Null),
    ] {
        assert_eq!(
            headers_of(&header(flags, &properties)),
            expected,
            "{flags:b} {properties:?}"
        );
    }
}

#[test]
fn headers_longer_than_a_frame_are_cut_from_the_longest_on() {
    let tune = |most: u32| {
        frame(
            1,
            &[
                &[0, 10, 0, 30, 0, 9],
                most.to_be_bytes().as_slice(),
                &[0, 60],
            ]
            .concat(),
        )
    };
    let value = |length| long(&vec![b'v'; length]);
    let entries = [
        name(b"b"),
        value(3000),
        name(b"a"),
        value(10),
        name(b"c"),
        value(9000),
        name(b"d"),
        value(2),
    ]
    .concat();
    let long_one = header(
        1 << 15 | HEADERS | 1 << 7,
        &[name(b"type"), sized(&entries), name(b"id")].concat(),
    );
    let mark = json!(format!("[cut: {TOO_LONG}]"));
    for (offered, wanted, cut) in [
        (131_072, 0, vec![]),
        (0, 0, vec![]),
        (8192, 0, vec!["c"]),
        (1, 0, vec!["c"]),
        (131_072, 8192, vec!["c"]),
        (0, 8192, vec!["c"]),
        (4096, 8192, vec!["c"]),
        (2000, 2500, vec!["c"]),
        (2500, 2500, vec!["c", "b"]),
    ] {
        let got = read(
            &[tune(offered), long_one.clone()].concat(),
            &[usize::MAX],
            1 << 20,
            wanted,
        );
        let frames = parsed(got.clone());
        let AMQPFrame::Header(_, header) = &frames[1] else {
            panic!("{frames:?}")
        };
        let headers = table::to_json(header.properties.headers().as_ref().unwrap());
        let marked: Vec<_> = ["c", "b", "a", "d"]
            .into_iter()
            .filter(|name| headers[*name] == mark)
            .collect();
        assert_eq!((headers.len(), marked), (4, cut), "{offered} {wanted}");
        assert_eq!(
            header.properties.message_id().as_ref().unwrap().as_str(),
            "id"
        );
    }
    // Many short ones: the last are left out.
    let entries: Vec<u8> = (0..2000)
        .flat_map(|n: i32| [name(n.to_string().as_bytes()), value(1)].concat())
        .collect();
    let got = read(
        &header(HEADERS, &sized(&entries)),
        &[usize::MAX],
        1 << 20,
        4096,
    );
    assert!(got.len() <= 4096 && got.len() > 4000, "{}", got.len());
    let frames = parsed(got);
    let AMQPFrame::Header(_, header) = &frames[0] else {
        panic!("{frames:?}")
    };
    let headers = table::to_json(header.properties.headers().as_ref().unwrap());
    assert!(headers.contains_key("0") && !headers.contains_key("1999"));
}

#[test]
fn what_is_no_frame_goes_to_the_client_as_it_is() {
    for bytes in [
        b"AMQP\0\x01\x00\x09".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x01\0\x01\0",
    ] {
        let whole = bytes.len() >= 7;
        assert_eq!(guarded(bytes), if whole { bytes } else { b"" });
    }
}

fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z]{0,8}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..12),
        vec(any::<u8>(), 250..255),
    ]
}

/// A value of any type, well formed or not.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let fixed =
        |tag: u8, length| vec(any::<u8>(), length).prop_map(move |rest| [vec![tag], rest].concat());
    let leaf = prop_oneof![
        4 => any_text().prop_map(|text| long(&text)),
        4 => (Just(b"VtbBsUuIilLfdDT".to_vec()).prop_flat_map(proptest::sample::select), vec(any::<u8>(), 0..10))
            .prop_map(|(tag, rest)| [vec![tag], rest].concat()),
        1 => fixed(b'l', 8), 1 => fixed(b'I', 4), 1 => fixed(b't', 1), 1 => fixed(b'D', 5), 1 => Just(vec![b'V']),
        1 => vec(any::<u8>(), 0..20),
        2 => (100..600_usize, prop_oneof![Just(b"F".as_slice()), Just(b"A".as_slice()), Just(b"FA".as_slice())])
            .prop_map(|(depth, kinds)| nested(depth, kinds)),
    ];
    leaf.prop_recursive(6, 60, 6, |inner| {
        (
            any::<bool>(),
            vec((any_text(), inner), 0..6),
            prop_oneof![8 => Just(0_i32), 1 => -20..20],
        )
            .prop_map(|(named, entries, off)| {
                let mut contents = Vec::new();
                for (key, value) in entries {
                    if named {
                        contents.extend(name(&key));
                    }
                    contents.extend(value);
                }
                let length = (contents.len() as u32)
                    .wrapping_add_signed(off)
                    .to_be_bytes();
                [
                    if named { b"F" } else { b"A" },
                    length.as_slice(),
                    &contents,
                ]
                .concat()
            })
    })
}

/// A table as the client writes it.
fn good_table() -> impl Strategy<Value = FieldTable> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        (any::<u8>(), any::<u32>())
            .prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        vec(any::<u8>(), 0..200).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
        Just(AMQPValue::Void),
    ];
    let table = |entries: Vec<(String, AMQPValue)>| {
        let mut table = FieldTable::default();
        for (name, value) in entries {
            table.insert(name.as_str().into(), value);
        }
        table
    };
    let value = leaf.prop_recursive(8, 40, 5, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5)
                .prop_map(|items| AMQPValue::FieldArray(FieldArray::from(items))),
            vec((".{0,20}", inner), 0..5)
                .prop_map(move |entries| AMQPValue::FieldTable(table(entries))),
        ]
    });
    vec((".{0,40}", value), 0..8).prop_map(table)
}

/// A frame of a broker that behaves.
fn good_frame() -> impl Strategy<Value = AMQPFrame> {
    let content = |properties| {
        AMQPFrame::Header(
            1,
            AMQPContentHeader {
                class_id: 60,
                body_size: 7,
                properties,
            },
        )
    };
    prop_oneof![
        (good_table(), ".{0,50}", any::<Option<u8>>()).prop_map(
            move |(headers, text, priority)| {
                let properties = BasicProperties::default()
                    .with_headers(headers)
                    .with_message_id(text.as_str().into())
                    .with_app_id(text.as_str().into())
                    .with_timestamp(5);
                content(priority.map_or(properties.clone(), |priority| {
                    properties.with_priority(priority)
                }))
            }
        ),
        Just(content(BasicProperties::default())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| AMQPFrame::Body(1, bytes)),
        (30_000..100_000_usize).prop_map(|length| AMQPFrame::Body(1, vec![0xCE; length])),
        Just(AMQPFrame::Heartbeat),
        (".{0,50}", any::<u64>()).prop_map(|(text, delivery_tag)| {
            AMQPFrame::Method(
                1,
                AMQPClass::Basic(basic::AMQPMethod::Deliver(basic::Deliver {
                    consumer_tag: text.as_str().into(),
                    delivery_tag,
                    redelivered: true,
                    exchange: text.as_str().into(),
                    routing_key: text.as_str().into(),
                })),
            )
        }),
        good_table().prop_map(|server_properties| {
            AMQPFrame::Method(
                0,
                AMQPClass::Connection(connection::AMQPMethod::Start(connection::Start {
                    version_major: 0,
                    version_minor: 9,
                    server_properties,
                    mechanisms: "PLAIN".into(),
                    locales: "en_US".into(),
                })),
            )
        }),
        any::<u64>().prop_map(|delivery_tag| {
            AMQPFrame::Method(
                1,
                AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack {
                    delivery_tag,
                    multiple: true,
                })),
            )
        }),
        Just(AMQPFrame::Method(
            1,
            AMQPClass::Queue(queue::AMQPMethod::PurgeOk(queue::PurgeOk {
                message_count: 1
            }))
        )),
    ]
}

fn written(frames: &[AMQPFrame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        let mut room = vec![0; 1 << 20];
        let rest = gen_frame(frame)(room.as_mut_slice().into())
            .unwrap()
            .into_inner()
            .1;
        bytes.extend_from_slice(&room[..rest as usize]);
    }
    bytes
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![0..3_usize, 1..20_usize, 1..3000_usize, Just(usize::MAX)];
    vec(size, 1..8).prop_map(|sizes| [sizes, vec![7]].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn good_frames_pass_byte_for_byte_however_they_are_chopped(
        frames in vec(good_frame(), 1..12), sizes in sizes(), wanted in prop_oneof![1..50_usize, 1000..200_000_usize],
    ) {
        let bytes = written(&frames);
        prop_assert_eq!(read(&bytes, &sizes, wanted, 0), bytes);
    }

    #[test]
    fn whatever_stands_in_headers_the_client_reads_it(
        entries in vec((any_text(), any_value()), 0..6), before in any_text(), after in any_text(), off in -3..3_i32,
        sizes in sizes(), frame_max in prop_oneof![Just(0_u32), 4096..9000_u32],
    ) {
        let entries: Vec<u8> = entries.into_iter().flat_map(|(key, value)| [name(&key), value].concat()).collect();
        let length = if off > 0 { (entries.len() as u32).wrapping_add_signed(off - 1) } else { entries.len() as u32 };
        let table = [length.to_be_bytes().as_slice(), &entries].concat();
        let hostile = header(1 << 15 | HEADERS | 1 << 7, &[name(&before), table, name(&after)].concat());
        let good = written(&[AMQPFrame::Heartbeat, AMQPFrame::Body(1, b"body".to_vec())]);
        let got = read(&[good.clone(), hostile.clone(), good.clone()].concat(), &sizes, 5000, frame_max);
        prop_assert!(got.starts_with(&good) && got.ends_with(&good));
        let inner = &got[good.len()..got.len() - good.len()];
        prop_assert!(inner.len() <= hostile.len() && (frame_max == 0 || inner.len() <= frame_max as usize));
        // What was mended needs no mending any more.
        prop_assert_eq!(read(inner, &[usize::MAX], 5000, frame_max), inner);
        prop_assert_eq!(parsed(got).len(), 5);
    }

    #[test]
    fn whatever_bytes_a_content_header_has_the_client_reads_it(flags: u16, properties in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(parsed(guarded(&header(flags, &properties))).len(), 1);
    }

    #[test]
    fn whatever_names_a_delivery_has_the_client_reads_it(
        tag in any_text(), exchange in any_text(), key in any_text(), server in vec((any_text(), any_value()), 0..4),
    ) {
        let deliver = [&[0, 60, 0, 60], name(&tag).as_slice(), &[7; 8], &[1], &name(&exchange), &name(&key)].concat();
        let server: Vec<u8> = server.into_iter().flat_map(|(key, value)| [name(&key), value].concat()).collect();
        let start = [&[0, 10, 0, 10, 0, 9], sized(&server).as_slice(), &sized(b"PLAIN"), &sized(b"en_US")].concat();
        prop_assert_eq!(parsed(guarded(&[frame(1, &deliver), frame(1, &start)].concat())).len(), 2);
    }

    #[test]
    fn whatever_bytes_come_nothing_panics(bytes in vec(any::<u8>(), 0..500), kind in 0..4_u8, sizes in sizes()) {
        read(&frame(kind, &bytes), &sizes, 100, 0);
        read(&bytes, &sizes, 100, 1);
    }
}
