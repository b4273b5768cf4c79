//! Frames in and out of byte buffers. amq-protocol reads and writes methods and properties. The frames around them are
//! handled here, so that an oversized frame is refused before it is read, and no body is copied twice.

use super::error::{AmqpError, Outcome};
use amq_protocol::{
    frame::{AMQPContentHeader, WriteContext, parsing::parse_content_header},
    protocol::{
        AMQPClass, BasicProperties, basic::gen_properties, constants::FRAME_BODY,
        constants::FRAME_END, constants::FRAME_HEADER, constants::FRAME_HEARTBEAT,
        constants::FRAME_METHOD, gen_class, parse_class,
    },
    types::ShortString,
};
use bytes::{Buf, Bytes, BytesMut};

/// The first bytes of a client.
pub(super) const PROTOCOL_HEADER: [u8; 8] = *b"AMQP\0\0\x09\x01";

/// Type, channel and length before the payload, end mark after it.
const FRAME_OVERHEAD: usize = 8;
const BASIC_CLASS: u16 = 60;

/// The methods of AMQP 0-9-1 with RabbitMQ's extensions, to distinguish unknown ones from damaged ones.
const METHODS: [(u16, &[u16]); 8] = [
    (
        10,
        &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61, 70, 71],
    ),
    (20, &[10, 11, 20, 21, 40, 41]),
    (30, &[10, 11]),
    (40, &[10, 11, 20, 21, 30, 31, 40, 51]),
    (50, &[10, 11, 20, 21, 30, 31, 40, 41, 50, 51]),
    (
        60,
        &[
            10, 11, 20, 21, 30, 31, 40, 50, 60, 70, 71, 72, 80, 90, 100, 110, 111, 120,
        ],
    ),
    (85, &[10, 11]),
    (90, &[10, 11, 20, 21, 30, 31]),
];

/// A frame that a client sent.
#[derive(Debug)]
pub(super) enum Frame {
    Method(u16, AMQPClass),
    Header(u16, AMQPContentHeader),
    Body(u16, Bytes),
    Heartbeat,
}

/// Removes the next complete frame from the buffer; none when it has not arrived yet.
pub(super) fn take_frame(buffer: &mut BytesMut, frame_max: u32) -> Outcome<Option<Frame>> {
    let Some(&[kind, c1, c0, l3, l2, l1, l0]) = buffer.first_chunk() else {
        return Ok(None);
    };
    let channel = u16::from_be_bytes([c1, c0]);
    let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
    // RabbitMQ accepts clients that do not count the overhead.
    if length > frame_max as usize {
        let allowed = frame_max as usize - FRAME_OVERHEAD;
        return Err(AmqpError::frame(format!(
            "type {kind}: {{frame_too_large,{length},{allowed}}}"
        )));
    }
    if buffer.len() < length + FRAME_OVERHEAD {
        return Ok(None);
    }
    let mut frame = buffer.split_to(length + FRAME_OVERHEAD);
    if frame.last() != Some(&FRAME_END) {
        return Err(AmqpError::frame(format!(
            "type {kind}: invalid frame end marker"
        )));
    }
    frame.advance(7);
    frame.truncate(length);
    let frame = match kind {
        FRAME_METHOD => Frame::Method(channel, read_method(&frame)?),
        FRAME_HEADER => Frame::Header(channel, read_header(&frame)?),
        FRAME_BODY => Frame::Body(channel, frame.freeze()),
        FRAME_HEARTBEAT => Frame::Heartbeat,
        _ => return Err(AmqpError::frame(format!("unknown frame type {kind}"))),
    };
    Ok(Some(frame))
}

fn read_method(payload: &[u8]) -> Outcome<AMQPClass> {
    let Some(&[c1, c0, m1, m0]) = payload.first_chunk() else {
        return Err(AmqpError::syntax("a method frame without a method"));
    };
    let (class, method) = (u16::from_be_bytes([c1, c0]), u16::from_be_bytes([m1, m0]));
    if !METHODS
        .iter()
        .any(|(id, methods)| *id == class && methods.contains(&method))
    {
        return Err(AmqpError::not_implemented(format!(
            "unknown method {method} of class {class}"
        )));
    }
    match parse_class(payload) {
        Ok(([], method)) => Ok(method),
        _ => Err(AmqpError::syntax(format!(
            "malformed arguments of method {method} of class {class}"
        ))),
    }
}

fn read_header(payload: &[u8]) -> Outcome<AMQPContentHeader> {
    match parse_content_header(payload) {
        Ok(([], header)) if header.class_id == BASIC_CLASS => Ok(header),
        _ => Err(AmqpError::syntax("malformed content header")),
    }
}

/// Appends a method frame.
pub(super) fn put_method(out: &mut Vec<u8>, channel: u16, method: &AMQPClass) {
    put_frame(out, FRAME_METHOD, channel, |out| {
        append(out, gen_class(method));
    });
}

/// Appends content header and body frames. Only bodies are split at `frame_max`: AMQP cannot split a header, and
/// RabbitMQ sends a larger one too, which clients accept.
pub(super) fn put_content(
    out: &mut Vec<u8>,
    channel: u16,
    properties: &BasicProperties,
    body: &[u8],
    frame_max: u32,
) {
    put_frame(out, FRAME_HEADER, channel, |out| {
        out.extend(BASIC_CLASS.to_be_bytes());
        out.extend([0, 0]);
        out.extend((body.len() as u64).to_be_bytes());
        append(out, gen_properties(properties));
    });
    for chunk in body.chunks(frame_max as usize - FRAME_OVERHEAD) {
        put_frame(out, FRAME_BODY, channel, |out| out.extend_from_slice(chunk));
    }
}

/// Appends a heartbeat.
pub(super) fn put_heartbeat(out: &mut Vec<u8>) {
    put_frame(out, FRAME_HEARTBEAT, 0, |_| {});
}

/// Truncates a text to the 255 bytes of a short string.
pub(super) fn short(text: &str) -> ShortString {
    ShortString::from(&text[..text.floor_char_boundary(255)])
}

fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, payload: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    out.extend(channel.to_be_bytes());
    let length_at = out.len();
    out.extend([0; 4]);
    payload(out);
    let length = (out.len() - length_at - 4) as u32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
    out.push(FRAME_END);
}

fn append(out: &mut Vec<u8>, write: impl amq_protocol::frame::SerializeFn<Vec<u8>>) {
    let written = write(WriteContext::from(std::mem::take(out)));
    // Writing into a Vec does not fail, and there is no other error.
    *out = written
        .expect("writing into memory cannot fail")
        .into_inner()
        .0;
}

#[cfg(test)]
mod tests {
    use super::*;
    use amq_protocol::protocol::basic;

    fn frame(kind: u8, payload: &[u8]) -> BytesMut {
        let mut out = Vec::new();
        put_frame(&mut out, kind, 1, |out| out.extend_from_slice(payload));
        BytesMut::from(&out[..])
    }

    #[test]
    fn half_a_frame_leaves_the_buffer_unchanged() {
        let mut buffer = frame(FRAME_BODY, b"hello");
        let rest = buffer.split_off(9);
        assert!(take_frame(&mut buffer, 4096).unwrap().is_none());
        buffer.unsplit(rest);
        assert!(
            matches!(take_frame(&mut buffer, 4096), Ok(Some(Frame::Body(1, body))) if body == "hello")
        );
    }

    #[test]
    fn a_damaged_frame_has_the_right_reply_code() {
        let mut no_end = frame(FRAME_BODY, b"x");
        no_end[8] = 0;
        let cases = [
            ("larger than frame_max", frame(FRAME_BODY, &[0; 4097]), 501),
            ("no end mark", no_end, 501),
            ("unknown type", frame(9, b""), 501),
            ("unknown class", frame(FRAME_METHOD, &[0, 77, 0, 10]), 540),
            ("unknown method", frame(FRAME_METHOD, &[0, 60, 0, 99]), 540),
            (
                "arguments cut off",
                frame(FRAME_METHOD, &[0, 60, 0, 80, 0]),
                502,
            ),
            ("no method", frame(FRAME_METHOD, &[0]), 502),
            ("bad header", frame(FRAME_HEADER, &[0, 60]), 502),
        ];
        for (name, mut buffer, code) in cases {
            assert_eq!(
                take_frame(&mut buffer, 4096).unwrap_err().code,
                code,
                "{name}"
            );
        }
    }

    #[test]
    fn content_is_split_at_frame_max() {
        let mut out = Vec::new();
        put_content(&mut out, 1, &BasicProperties::default(), &[7; 10_000], 4096);
        let mut buffer = BytesMut::from(&out[..]);
        let mut sizes = Vec::new();
        while let Some(frame) = take_frame(&mut buffer, 4096).unwrap() {
            match frame {
                Frame::Header(1, header) => assert_eq!(header.body_size, 10_000),
                Frame::Body(1, body) => sizes.push(body.len()),
                other => panic!("unexpected {other:?}"),
            }
        }
        assert_eq!(sizes, [4088, 4088, 1824]);
    }

    #[test]
    fn a_method_reads_back_as_written() {
        let method = AMQPClass::Basic(basic::AMQPMethod::Ack(basic::Ack {
            delivery_tag: 7,
            multiple: true,
        }));
        let mut out = Vec::new();
        put_method(&mut out, 3, &method);
        let mut buffer = BytesMut::from(&out[..]);
        assert!(
            matches!(take_frame(&mut buffer, 4096), Ok(Some(Frame::Method(3, read))) if read == method)
        );
    }
}
