//! Checks the guard below the AMQP client with arbitrary bytes. The guard's own files, in `src/broker/amqp/guard/`, are
//! compiled into this crate.

#[allow(dead_code, missing_docs)]
#[path = "../../src/broker/amqp/guard/acks.rs"]
mod acks;
#[allow(dead_code, missing_docs)]
#[path = "../../src/broker/amqp/guard/frames.rs"]
mod frames;
#[allow(dead_code, missing_docs)]
#[path = "../../src/broker/amqp/guard/tables.rs"]
mod tables;

use amq_protocol::frame::parse_frame;
use frames::Frames;

/// What Rust gives a thread that nobody asked for more.
const STACK: usize = 2 * 1024 * 1024;

/// Any bytes from a broker: nothing panics, and it does not matter in which pieces they come.
pub fn frames(pieces: &[u8], bytes: &[u8]) {
    let (whole, _) = guarded(bytes, &[]);
    let (pieced, _) = guarded(bytes, pieces);
    assert_eq!(whole, pieced);
}

/// Any properties of a message: the client reads the frame, and it is the same frame if the client could read it before.
pub fn header(flags: u16, properties: &[u8]) {
    let payload = [
        &[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        flags.to_be_bytes().as_slice(),
        properties,
    ]
    .concat();
    let frame = [
        &[2, 0, 1],
        (payload.len() as u32).to_be_bytes().as_slice(),
        &payload,
        &[0xCE],
    ]
    .concat();
    let (got, reasons) = guarded(&frame, &[]);
    assert!(got.len() <= frame.len());
    if got == frame {
        assert!(reasons.is_empty());
    } else {
        // The client could not have read it, or only with a larger stack.
        assert!(!reasons.is_empty());
        assert!(reasons == [tables::TOO_DEEP] || !is_readable(&frame, 64 * STACK));
    }
    assert!(is_readable(&got, STACK));
    assert_eq!(guarded(&got, &[]), (got, vec![]));
}

/// Puts so many bytes through the guard, as the stream does with what a broker sends in bulk.
pub fn pass(bytes: &[u8]) {
    let (mut frames, mut rest, mut into) = (Frames::new(131_072), bytes, vec![0; 4 << 20]);
    while !rest.is_empty() {
        let space = frames.space();
        let count = space.len().min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        frames.filled(count);
        while frames.take(&mut into) > 0 {}
    }
    assert!(frames.repaired().is_empty());
}

fn guarded(bytes: &[u8], pieces: &[u8]) -> (Vec<u8>, Vec<&'static str>) {
    let mut frames = Frames::new(0);
    let (mut got, mut reasons, mut into) = (vec![], vec![], [0; 1000]);
    let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(usize::MAX, |size| usize::from(*size).max(1));
        let space = frames.space();
        let count = size.min(space.len()).min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        frames.filled(count);
        reasons.extend(frames.repaired());
        loop {
            let count = frames.take(&mut into);
            if count == 0 {
                break;
            }
            got.extend_from_slice(&into[..count]);
        }
    }
    (got, reasons)
}

/// Whether the client's parser takes the frame as a whole, on a stack of this size.
fn is_readable(frame: &[u8], stack: usize) -> bool {
    // Most frames are flat, and a thread costs more than they do.
    if frame
        .iter()
        .filter(|byte| matches!(byte, b'F' | b'A'))
        .count()
        < 40
    {
        return parse_frame(frame).is_ok_and(|(rest, _)| rest.is_empty());
    }
    std::thread::scope(|scope| {
        let parse = || parse_frame(frame).is_ok_and(|(rest, _)| rest.is_empty());
        std::thread::Builder::new()
            .stack_size(stack)
            .spawn_scoped(scope, parse)
            .unwrap()
            .join()
            .unwrap()
    })
}

/// A table by orders, one a byte, so that deep and nearly right ones are found soon.
pub fn table(orders: &[u8]) -> Vec<u8> {
    // Tables and arrays that are open, by where they begin.
    let mut open: Vec<(usize, bool)> = vec![];
    let mut bytes = vec![0; 4];
    let mut orders = orders.iter().copied();
    while let Some(order) = orders.next() {
        let named = open.last().is_none_or(|(_, named)| *named);
        if named && order < 240 {
            let length = usize::from(order % 3);
            bytes.push(length as u8);
            bytes.extend(orders.by_ref().take(length));
        }
        match order {
            0..40 => {
                bytes.push(if order % 2 == 0 { b'F' } else { b'A' });
                open.push((bytes.len(), order % 2 == 0));
                bytes.extend_from_slice(&[0; 4]);
            }
            // Many at once.
            40..60 => {
                for _ in 0..order {
                    let array = order % 2 == 0 || open.last().is_some_and(|(_, named)| *named);
                    bytes.push(if array { b'A' } else { b'F' });
                    open.push((bytes.len(), !array));
                    bytes.extend_from_slice(&[0; 4]);
                    if !array {
                        bytes.push(0);
                    }
                }
            }
            60..120 => close(&mut bytes, &mut open, 0),
            120..124 => close(&mut bytes, &mut open, i32::from(order) - 122),
            124..160 => {
                let length = usize::from(order - 124);
                bytes.extend_from_slice(&[b'S', 0, 0, 0, length as u8]);
                bytes.extend(orders.by_ref().take(length));
            }
            160..200 => bytes.push(b'V'),
            200..240 => {
                bytes.push(b"tbBsuIilLfdDTxZ"[usize::from(order) % 15]);
                bytes.extend(orders.by_ref().take(8));
            }
            _ => bytes.extend(orders.by_ref().take(usize::from(order - 239))),
        }
    }
    while !open.is_empty() {
        close(&mut bytes, &mut open, 0);
    }
    let length = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn close(bytes: &mut [u8], open: &mut Vec<(usize, bool)>, off: i32) {
    if let Some((at, _)) = open.pop() {
        let length = ((bytes.len() - at - 4) as u32).wrapping_add_signed(off);
        bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
}
