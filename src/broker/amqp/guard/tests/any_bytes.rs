//! Properties that hold for any bytes, well formed or not.

use super::*;
use lapin::BasicProperties;
use proptest::{collection::vec, prelude::*};

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

/// A well-formed frame.
fn good_frame() -> impl Strategy<Value = AMQPFrame> {
    prop_oneof![
        (good_table(), ".{0,50}", any::<Option<u8>>())
            .prop_map(|(headers, text, priority)| content_header(headers, &text, priority)),
        Just(content(BasicProperties::default())),
        vec(any::<u8>(), 0..300).prop_map(|bytes| AMQPFrame::Body(1, bytes)),
        (30_000..100_000_usize).prop_map(|length| AMQPFrame::Body(1, vec![0xCE; length])),
        Just(AMQPFrame::Heartbeat),
        (".{0,50}", any::<u64>()).prop_map(|(text, tag)| deliver(&text, tag)),
        good_table().prop_map(start),
        any::<u64>().prop_map(ack),
        Just(AMQPFrame::Method(
            1,
            AMQPClass::Queue(queue::AMQPMethod::PurgeOk(queue::PurgeOk {
                message_count: 1
            }))
        )),
    ]
}

fn content(properties: BasicProperties) -> AMQPFrame {
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: 7,
        properties,
    };
    AMQPFrame::Header(1, header)
}

fn content_header(headers: FieldTable, text: &str, priority: Option<u8>) -> AMQPFrame {
    let properties = BasicProperties::default()
        .with_headers(headers)
        .with_message_id(text.into())
        .with_app_id(text.into())
        .with_timestamp(5);
    content(match priority {
        Some(priority) => properties.with_priority(priority),
        None => properties,
    })
}

fn deliver(text: &str, delivery_tag: u64) -> AMQPFrame {
    let deliver = basic::Deliver {
        consumer_tag: text.into(),
        delivery_tag,
        redelivered: true,
        exchange: text.into(),
        routing_key: text.into(),
    };
    AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)))
}

fn start(server_properties: FieldTable) -> AMQPFrame {
    let start = connection::Start {
        version_major: 0,
        version_minor: 9,
        server_properties,
        mechanisms: "PLAIN".into(),
        locales: "en_US".into(),
    };
    let method = connection::AMQPMethod::Start(start);
    AMQPFrame::Method(0, AMQPClass::Connection(method))
}

fn ack(delivery_tag: u64) -> AMQPFrame {
    let ack = basic::Ack {
        delivery_tag,
        multiple: true,
    };
    AMQPFrame::Method(1, AMQPClass::Basic(basic::AMQPMethod::Ack(ack)))
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
    fn good_frames_pass_unchanged_in_pieces_of_any_size(
        frames in vec(good_frame(), 1..12), sizes in sizes(), wanted in prop_oneof![1..50_usize, 1000..200_000_usize],
    ) {
        let bytes = written(&frames);
        prop_assert_eq!(read(&bytes, &sizes, wanted, 0), bytes);
    }

    #[test]
    fn the_client_can_read_any_headers(
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
        // A repaired frame needs no repair.
        prop_assert_eq!(read(inner, &[usize::MAX], 5000, frame_max), inner);
        prop_assert_eq!(parsed(got).len(), 5);
    }

    #[test]
    fn the_client_can_read_any_content_header(flags: u16, properties in vec(any::<u8>(), 0..300)) {
        prop_assert_eq!(parsed(guarded(&header(flags, &properties))).len(), 1);
    }

    #[test]
    fn the_client_can_read_any_names_of_a_delivery(
        tag in any_text(), exchange in any_text(), key in any_text(), server in vec((any_text(), any_value()), 0..4),
    ) {
        let deliver = [&[0, 60, 0, 60], name(&tag).as_slice(), &[7; 8], &[1], &name(&exchange), &name(&key)].concat();
        let server: Vec<u8> = server.into_iter().flat_map(|(key, value)| [name(&key), value].concat()).collect();
        let start = [&[0, 10, 0, 10, 0, 9], sized(&server).as_slice(), &sized(b"PLAIN"), &sized(b"en_US")].concat();
        prop_assert_eq!(parsed(guarded(&[frame(1, &deliver), frame(1, &start)].concat())).len(), 2);
    }

    #[test]
    fn no_bytes_make_the_guard_panic(bytes in vec(any::<u8>(), 0..500), kind in 0..4_u8, sizes in sizes()) {
        read(&frame(kind, &bytes), &sizes, 100, 0);
        read(&bytes, &sizes, 100, 1);
    }
}
