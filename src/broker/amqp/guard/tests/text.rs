//! Names and properties that are not UTF-8, and bytes that are not AMQP.

use super::*;

#[test]
fn invalid_utf8_in_header_names_becomes_question_marks() {
    let entries = [
        name(b"caf\xe9"),
        long(b"\xff\xfe"),
        name(b"\xc3\xa9\xf0\x9f"),
        long(b"2"),
    ]
    .concat();
    let headers = headers_of(&header(HEADERS, &sized(&entries)));
    // A long text can be any bytes.
    assert_eq!(headers, json!({"caf?": "\u{fffd}\u{fffd}", "é??": "2"}));
    let inner = [
        b"F".as_slice(),
        &sized(&[name(b"\xe9"), long(b"1")].concat()),
    ]
    .concat();
    assert_eq!(headers_of(&with_value(&inner))["h"], json!({"?": "1"}));
}

#[test]
fn invalid_utf8_in_properties_becomes_question_marks() {
    // content-type, content-encoding, headers, delivery-mode, priority, then texts and a timestamp.
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
fn invalid_utf8_in_methods_becomes_question_marks() {
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
fn bytes_that_are_no_frame_reach_the_client_unchanged() {
    for bytes in [
        b"AMQP\0\x01\x00\x09".as_slice(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x01\0\x01\0",
    ] {
        let whole = bytes.len() >= 7;
        assert_eq!(guarded(bytes), if whole { bytes } else { b"" });
    }
}
