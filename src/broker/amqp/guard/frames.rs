//! Buffers the bytes from the broker, frame by frame, and gives the client only what it can read. A body that there is no
//! room for is left out: the client gets its delivery with an empty body.

use super::tables;
use std::sync::Arc;

/// Type, channel and size precede the payload of a frame; one octet follows it.
const HEAD: usize = 7;
const AROUND: usize = HEAD + 1;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// How many bytes are read from the broker at once. The buffer grows only for a longer frame that must be checked as a
/// whole.
const CAPACITY: usize = 64 * 1024;
/// The smallest frame size that AMQP allows.
const MIN_FRAME: usize = 4096;

/// Decides whether the body of a delivery is read, by the delivery's tag and the size of the body.
pub(crate) type Admit = Arc<dyn Fn(u64, u64) -> bool + Send + Sync>;

/// Holds frames of methods and content headers until they are complete and checked. Everything else passes through.
pub(crate) struct Frames {
    buffer: Vec<u8>,
    /// `..start` is taken, `start..checked` can be taken, and `checked..end` is the beginning of a frame.
    start: usize,
    checked: usize,
    end: usize,
    /// How many bytes after `checked` need no check.
    free: usize,
    /// The longest frame that the client accepts, as agreed with the broker; 0 for any length.
    frame_max: usize,
    /// Why frames were repaired since the last call of `repaired`.
    repaired: Vec<&'static str>,
    /// Without it, every body is read.
    admit: Option<Admit>,
    /// The channel and the tag of a delivery whose content header follows.
    announced: Option<(Channel, u64)>,
    /// The channel of a body that is left out, and how many of its bytes are still to come.
    left_out: Option<(Channel, u64)>,
    /// How many bytes after `checked` are left out.
    skip: usize,
}

type Channel = [u8; 2];

impl Frames {
    /// `frame_max` is what the client asks for; 0 if it leaves that to the broker.
    pub(crate) fn new(frame_max: u32) -> Self {
        Self {
            buffer: vec![0; CAPACITY],
            start: 0,
            checked: 0,
            end: 0,
            free: 0,
            frame_max: frame_max as usize,
            repaired: Vec::new(),
            admit: None,
            announced: None,
            left_out: None,
            skip: 0,
        }
    }

    /// Lets `admit` decide whether the body of a delivery is read.
    pub(crate) fn with_admission(self, admit: Admit) -> Self {
        Self {
            admit: Some(admit),
            ..self
        }
    }

    /// Copies bytes that the client can read. Returns 0 only if there are none.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.checked - self.start);
        into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        count
    }

    /// Returns how many bytes can go directly from the broker to the client, because the buffer is empty.
    pub(crate) fn free(&self) -> usize {
        if self.start == self.end { self.free } else { 0 }
    }

    /// Records that this many bytes went directly.
    pub(crate) fn passed(&mut self, count: usize) {
        self.free -= count;
    }

    /// The space for the next bytes from the broker.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.checked -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Records that this many bytes were written into the space, and checks what is complete.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        while self.checked < self.end {
            if self.free > 0 {
                let count = self.free.min(self.end - self.checked);
                self.checked += count;
                self.free -= count;
                continue;
            }
            if self.skip > 0 {
                self.remove_skipped();
                continue;
            }
            let Some(&head) = self.buffer[self.checked..self.end].first_chunk::<HEAD>() else {
                break;
            };
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize + AROUND;
            match head[0] {
                METHOD | HEADER if length > self.end - self.checked => break,
                METHOD => self.method(length),
                HEADER => self.header(length),
                BODY if self.is_left_out([head[1], head[2]], length - AROUND) => self.skip = length,
                BODY | HEARTBEAT => self.free = length,
                // This is not a frame, so no frame follows. The client will report that it is not AMQP.
                _ => self.free = usize::MAX,
            }
        }
    }

    /// Why frames were repaired since the last call.
    pub(crate) fn repaired(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.repaired)
    }

    fn method(&mut self, length: usize) {
        let payload = &self.buffer[self.checked + HEAD..self.checked + length - 1];
        if let Some([0, 10, 0, 30, _, _, most @ ..]) = payload.first_chunk::<10>() {
            self.frame_max = agreed(self.frame_max, u32::from_be_bytes(*most) as usize);
        }
        if let (Some(_), Some(tag)) = (&self.admit, delivery_tag(payload)) {
            self.announced = Some((self.channel(), tag));
        }
        if tables::is_good_method(payload) {
            self.checked += length;
        } else {
            let (payload, reasons) = tables::repair_method(payload);
            self.replace(length, &payload, reasons);
        }
    }

    fn header(&mut self, length: usize) {
        self.admit_body(length);
        let payload = &self.buffer[self.checked + HEAD..self.checked + length - 1];
        let limit = if self.frame_max == 0 {
            usize::MAX
        } else {
            self.frame_max.saturating_sub(AROUND)
        };
        if payload.len() <= limit && tables::is_good_header(payload) {
            self.checked += length;
        } else {
            let (payload, reasons) = tables::repair_header(payload, limit);
            self.replace(length, &payload, reasons);
        }
    }

    /// The channel of the frame after `checked`.
    fn channel(&self) -> Channel {
        [self.buffer[self.checked + 1], self.buffer[self.checked + 2]]
    }

    /// If the body of a delivery is not admitted, writes into its content header that it is empty.
    fn admit_body(&mut self, length: usize) {
        /// Class and weight precede the size of the body.
        const SIZE_AT: usize = HEAD + 4;
        let channel = self.channel();
        let Some((_, tag)) = self.announced.take_if(|(of, _)| *of == channel) else {
            return;
        };
        let frame = &mut self.buffer[self.checked..self.checked + length];
        let size = frame.get_mut(SIZE_AT..).and_then(<[u8]>::first_chunk_mut);
        let (Some(size), Some(admit)) = (size, &self.admit) else {
            return;
        };
        let body = u64::from_be_bytes(*size);
        if !admit(tag, body) && body > 0 {
            *size = [0; 8];
            self.left_out = Some((channel, body));
        }
    }

    /// Returns whether a frame of `length` bytes belongs to the body that is left out, and counts these bytes.
    fn is_left_out(&mut self, channel: Channel, length: usize) -> bool {
        let Some((_, rest)) = self.left_out.take_if(|(of, _)| *of == channel) else {
            return false;
        };
        let rest = rest.saturating_sub(length as u64);
        self.left_out = (rest > 0).then_some((channel, rest));
        true
    }

    fn remove_skipped(&mut self) {
        let count = self.skip.min(self.end - self.checked);
        self.buffer
            .copy_within(self.checked + count..self.end, self.checked);
        self.end -= count;
        self.skip -= count;
    }

    /// Replaces the payload of a frame with one that is not longer.
    fn replace(&mut self, length: usize, payload: &[u8], reasons: Vec<&'static str>) {
        let at = self.checked;
        let shorter = length - AROUND - payload.len();
        self.buffer[at + 3..at + HEAD].copy_from_slice(&(payload.len() as u32).to_be_bytes());
        self.buffer[at + HEAD..at + HEAD + payload.len()].copy_from_slice(payload);
        self.buffer
            .copy_within(at + length - 1..self.end, at + length - 1 - shorter);
        self.end -= shorter;
        self.checked += length - shorter;
        self.repaired.extend(reasons);
    }
}

/// Returns the tag of the delivery that a method announces (`basic.deliver`).
fn delivery_tag(payload: &[u8]) -> Option<u64> {
    let arguments = payload.strip_prefix(&[0, 60, 0, 60])?;
    let (consumer_tag, rest) = arguments.split_first()?;
    let tag = rest.get(usize::from(*consumer_tag)..)?.first_chunk()?;
    Some(u64::from_be_bytes(*tag))
}

/// Returns the longest frame that client and broker agree on, as the client computes it; 0 for any length.
fn agreed(wanted: usize, offered: usize) -> usize {
    match (wanted, offered) {
        (wanted, 0) => wanted,
        (0, offered) => offered.max(MIN_FRAME),
        (wanted, offered) if offered < wanted => offered.max(MIN_FRAME),
        (wanted, _) => wanted,
    }
}
