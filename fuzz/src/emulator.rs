//! Frames that a client sends to the emulator's broker. The broker's own files are compiled into this crate.

#[allow(dead_code)]
#[path = "../../emulator/src/broker/codec.rs"]
mod codec;
#[allow(dead_code)]
#[path = "../../emulator/src/broker/error.rs"]
mod error;

use amq_protocol::protocol::BasicProperties;
use bytes::BytesMut;
use codec::Frame;

const FRAME_MAX: u32 = 4096;

/// Any bytes, in any pieces: nothing panics, and the pieces do not matter.
pub fn frames(pieces: &[u8], bytes: &[u8]) {
    assert_eq!(read(bytes, &[]), read(bytes, pieces));
}

/// A message that the broker writes is read as it was.
pub fn content(body: &[u8]) {
    let mut written = vec![];
    codec::put_content(
        &mut written,
        1,
        &BasicProperties::default(),
        body,
        FRAME_MAX,
    );
    let mut buffer = BytesMut::from(&written[..]);
    let mut got = vec![];
    while let Some(frame) = codec::take_frame(&mut buffer, FRAME_MAX).expect("it is a frame") {
        match frame {
            Frame::Header(_, header) => assert_eq!(header.body_size, body.len() as u64),
            Frame::Body(_, part) => got.extend_from_slice(&part),
            Frame::Method(..) | Frame::Heartbeat => unreachable!("the broker wrote none"),
        }
    }
    assert_eq!(got, body);
}

/// The frames up to the first error, as texts, and the error.
fn read(bytes: &[u8], pieces: &[u8]) -> Vec<String> {
    let (mut buffer, mut rest, mut got) = (BytesMut::new(), bytes, vec![]);
    let mut sizes = pieces.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| usize::from(*size).max(1));
        let (piece, after) = rest.split_at(size.min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match codec::take_frame(&mut buffer, FRAME_MAX) {
                Ok(Some(frame)) => got.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(error) => {
                    got.push(format!("{error:?}"));
                    return got;
                }
            }
        }
    }
    got
}
