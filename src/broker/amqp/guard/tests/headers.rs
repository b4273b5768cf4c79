//! Header tables that are nested too deep, not readable or too long.

use super::*;
use lapin::BasicProperties;

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
fn empty_tables_at_the_limit_do_not_make_a_frame_longer() {
    let inner = vec![b"F\0\0\0\0".as_slice(); 1000].concat();
    let arrays = (0..DEPTH - 1).fold(inner, |value, _| [b"A".as_slice(), &sized(&value)].concat());
    let bytes = with_value(&arrays);
    let repaired = guarded(&bytes);
    assert!(repaired.len() <= bytes.len());
    parsed(repaired);
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

/// `connection.tune`, in which the broker offers this longest frame.
fn tune(frame_max: u32) -> Vec<u8> {
    let frame_max = frame_max.to_be_bytes();
    frame(
        1,
        &[&[0, 10, 0, 30, 0, 9], frame_max.as_slice(), &[0, 60]].concat(),
    )
}

fn value(length: usize) -> Vec<u8> {
    long(&vec![b'v'; length])
}

fn properties_of(frame: &AMQPFrame) -> &BasicProperties {
    let AMQPFrame::Header(_, header) = frame else {
        panic!("{frame:?}")
    };
    &header.properties
}

fn read_headers(frame: &AMQPFrame) -> Value {
    json_of(properties_of(frame))
}

#[test]
fn headers_longer_than_a_frame_are_cut_from_the_longest_on() {
    let entries = [("b", 3000), ("a", 10), ("c", 9000), ("d", 2)];
    let entries = entries.map(|(key, length)| [name(key.as_bytes()), value(length)].concat());
    let properties = [name(b"type"), sized(&entries.concat()), name(b"id")].concat();
    let too_long = header(1 << 15 | HEADERS | 1 << 7, &properties);
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
        let bytes = [tune(offered), too_long.clone()].concat();
        let frames = parsed(read(&bytes, &[usize::MAX], 1 << 20, wanted));
        let headers = read_headers(&frames[1]);
        let marked: Vec<_> = ["c", "b", "a", "d"]
            .into_iter()
            .filter(|name| headers[*name] == mark)
            .collect();
        let count = headers.as_object().unwrap().len();
        assert_eq!((count, marked), (4, cut), "{offered} {wanted}");
        let id = properties_of(&frames[1]).message_id().as_ref();
        assert_eq!(id.unwrap().as_str(), "id");
    }
}

#[test]
fn the_last_of_too_many_short_headers_are_left_out() {
    let entries: Vec<u8> = (0..2000)
        .flat_map(|n: i32| [name(n.to_string().as_bytes()), value(1)].concat())
        .collect();
    let too_long = header(HEADERS, &sized(&entries));
    let got = read(&too_long, &[usize::MAX], 1 << 20, 4096);
    assert!(got.len() <= 4096 && got.len() > 4000, "{}", got.len());
    let headers = read_headers(&parsed(got)[0]);
    assert_eq!(headers.get("0"), Some(&json!("v")));
    assert_eq!(headers.get("1999"), None);
}

/// A frame that is too long for the client ends the connection.
#[test]
fn whatever_the_headers_the_client_gets_no_longer_frame() {
    let ids = [name(b"messageId"), value(250)].concat().repeat(40);
    let id = [name(b"messageId"), value(9000)].concat();
    for table in [&ids, &id, &[ids.clone(), id.clone()].concat()] {
        let too_long = header(HEADERS, &sized(table));
        let got = read(&too_long, &[usize::MAX], 1 << 20, 4096);
        assert!(got.len() <= 4096, "{}", got.len());
        assert_eq!(parsed(got).len(), 1);
    }
}
