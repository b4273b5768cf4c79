//! The guard, checked with the parser that the client uses, on a stack as small as any thread has.

mod acks;
mod any_bytes;
mod contents;
mod headers;
mod publishing;
mod text;

use super::{super::properties, tables::*, *};
use amq_protocol::{
    frame::{AMQPContentHeader, AMQPFrame, gen_frame, parse_frame},
    protocol::{AMQPClass, basic, channel, connection, queue},
    types::{AMQPValue, DecimalValue, FieldArray, FieldTable},
};
use serde_json::{Value, json};
use std::collections::VecDeque;

/// The default stack of a thread in Rust.
const STACK: usize = 2 * 1024 * 1024;

/// A connection that gives its bytes in pieces of these sizes, again and again. A size of 0 means that nothing has arrived.
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

/// What the client gets from pieces of these sizes, with `wanted` bytes per read. `frame_max` is what it asks for.
fn read(bytes: &[u8], sizes: &[usize], wanted: usize, frame_max: u32) -> Vec<u8> {
    read_with(bytes, sizes, wanted, |stream| {
        stream.frames = Frames::new(frame_max);
    })
}

/// The same through a stream that `prepare` has changed.
fn read_with(
    bytes: &[u8],
    sizes: &[usize],
    wanted: usize,
    prepare: impl FnOnce(&mut GuardedStream<Pieces>),
) -> Vec<u8> {
    let pieces = Pieces {
        bytes: bytes.iter().copied().collect(),
        sizes: sizes.to_vec(),
        at: 0,
    };
    let mut stream = GuardedStream::new(pieces, 0);
    prepare(&mut stream);
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

/// The frames as the client reads them. Each one is read, copied, written and dropped on a small stack.
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
                // The sailor reads the same as the client.
                let raw = &rest[frames::HEAD + 12..rest.len() - after.len() - 1];
                let headers = properties::headers(&properties::of_client(&header.properties));
                assert_eq!(properties::headers(raw), headers);
                properties::of_event(&headers, true).unwrap();
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

/// A content header with these flags and properties.
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

/// A value in `depth` tables (`F`) or arrays (`A`), whose kinds alternate.
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
fn json_of(properties: &lapin::BasicProperties) -> Value {
    Value::Object(properties::headers(&properties::of_client(properties)))
}

fn headers_of(bytes: &[u8]) -> Value {
    let frames = parsed(guarded(bytes));
    let [AMQPFrame::Header(_, header)] = frames.as_slice() else {
        panic!("{frames:?}")
    };
    let headers = header.properties.headers().as_ref();
    headers.map_or(Value::Null, |_| json_of(&header.properties))
}
