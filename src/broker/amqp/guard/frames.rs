//! Reads frames from the broker and gives the client only what it can read.
//!
//! The contents of deliveries go around the client: it gets their frames without properties and with an empty body, after the
//! [`Deliveries`] have taken them over. So a body is copied once, into memory of its own size. A body that there is no room
//! for is left out.

use super::{
    acks::{Unsettled, fetched_tag},
    tables,
};
use bytes::{Buf, Bytes};
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

/// Type, channel and size precede the payload of a frame; one octet follows it.
pub(super) const HEAD: usize = 7;
pub(super) const AROUND: usize = HEAD + 1;
pub(super) const METHOD: u8 = 1;
pub(super) const HEADER: u8 = 2;
pub(super) const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
pub(super) const END: u8 = 0xCE;
/// Class and weight begin a content header. The size of the body follows, and then the flags.
pub(super) const BASIC: [u8; 4] = [0, 60, 0, 0];
const FLAGS_AT: usize = BASIC.len() + 8;

/// How often the client gets a heartbeat while bytes go around it.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How many bytes are read from the broker at once. The buffer grows only for a longer frame that must be checked as a
/// whole.
const CAPACITY: usize = 64 * 1024;
/// The smallest frame size that AMQP allows.
const MIN_FRAME: usize = 4096;

/// Takes the contents of deliveries, which go around the client. A delivery has a tag, which grows from one to the next.
pub(crate) trait Deliveries: Send + Sync {
    /// Returns whether the body of a delivery is read, by its tag and the size of its body.
    fn admit(&self, tag: u64, size: u64) -> bool;

    /// Takes what the client does not get of a delivery. The client gets the delivery after this.
    fn take(&self, tag: u64, contents: Contents);
}

/// What goes around the client of a message.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Flags and properties, as AMQP writes them.
    pub(crate) properties: Bytes,
    /// The body; empty if it is left out of a delivery.
    pub(crate) body: Bytes,
}

impl fmt::Debug for Contents {
    /// Without the bytes, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents")
            .field("properties", &self.properties.len())
            .field("body", &self.body.len())
            .finish()
    }
}

/// Holds frames of methods and content headers until they are complete and checked, and takes the contents of deliveries out.
/// Everything else passes through.
pub(crate) struct Frames {
    /// What came from the broker: `at..end` is not processed yet.
    buffer: Vec<u8>,
    at: usize,
    end: usize,
    within: Within,
    /// What the client can read: `taken..` is not taken yet.
    ready: Vec<u8>,
    taken: usize,
    /// The client has got nothing since bytes arrived that go around it.
    is_silent: bool,
    /// When a heartbeat was made.
    heartbeat: Option<Instant>,
    /// The longest frame that the client accepts, and believes to have agreed on; 0 for any length.
    client_frame: usize,
    /// The longest frame that is agreed on with the broker; 0 for any length. What is too long for the client goes around it.
    longest: usize,
    /// Why frames were repaired since the last call of `repaired`.
    repaired: Vec<&'static str>,
    /// Without it, all contents go to the client.
    deliveries: Option<Arc<dyn Deliveries>>,
    /// The deliveries that the client has not settled.
    unsettled: Unsettled,
    /// The channel and the tag of a delivery whose content header follows.
    announced: Option<(Channel, u64)>,
    /// Bodies of deliveries that are not complete: at most one for each channel.
    arriving: Vec<Arriving>,
}

pub(super) type Channel = [u8; 2];

/// The frame that the next bytes are in.
enum Within {
    /// A new one begins.
    None,
    /// So many bytes of it go to the client.
    Passed(usize),
    /// So many bytes of its payload go to the client on this channel, in as many frames as they need.
    Split(Channel, usize),
    /// So many bytes of it belong to this channel's body, the octet that ends the frame included.
    Body(Channel, usize),
}

/// The body of a delivery, which does not go to the client.
struct Arriving {
    channel: Channel,
    tag: u64,
    size: u64,
    /// How many bytes are still to come.
    rest: u64,
    /// `None` if the body is left out, and the client has got the content header.
    kept: Option<Kept>,
}

/// What is there of a delivery's contents.
struct Kept {
    properties: Bytes,
    body: Vec<u8>,
}

impl Frames {
    /// `frame_max` is what the client asks for; 0 if it leaves that to the broker.
    pub(crate) fn new(frame_max: u32) -> Self {
        Self {
            buffer: vec![0; CAPACITY],
            at: 0,
            end: 0,
            within: Within::None,
            ready: Vec::new(),
            taken: 0,
            is_silent: false,
            heartbeat: None,
            client_frame: frame_max as usize,
            longest: frame_max as usize,
            repaired: Vec::new(),
            deliveries: None,
            unsettled: Unsettled::default(),
            announced: None,
            arriving: Vec::new(),
        }
    }

    /// Copies bytes that the client can read. Returns 0 only if there are none.
    pub(crate) fn take(&mut self, into: &mut [u8]) -> usize {
        let ready = &self.ready[self.taken..];
        let count = into.len().min(ready.len());
        into[..count].copy_from_slice(&ready[..count]);
        self.taken += count;
        if self.taken == self.ready.len() {
            self.ready.clear();
            self.taken = 0;
        }
        self.is_silent &= count == 0;
        count
    }

    /// Makes a heartbeat, if bytes arrived that go around the client and it got nothing since: at most one per second. Without
    /// it the client would take the connection for dead while a large body arrives slowly. Returns whether it did.
    pub(crate) fn keep_alive(&mut self) -> bool {
        let is_due = || {
            let last = self.heartbeat.map(|last| last.elapsed());
            last.is_none_or(|since| since >= HEARTBEAT_INTERVAL)
        };
        if !self.is_silent || !is_due() {
            return false;
        }
        self.is_silent = false;
        self.heartbeat = Some(Instant::now());
        self.ready
            .extend_from_slice(&frame_of(HEARTBEAT, [0, 0], &[]));
        true
    }

    /// The space for the next bytes from the broker.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        // What is left is the beginning of a frame.
        self.buffer.copy_within(self.at..self.end, 0);
        self.end -= self.at;
        self.at = 0;
        if self.end == self.buffer.len() {
            self.buffer.resize(2 * self.end, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Records that this many bytes were written into the space, and processes what is complete.
    pub(crate) fn filled(&mut self, count: usize) {
        self.end += count;
        while self.at < self.end {
            match self.within {
                Within::Passed(rest) => self.pass(rest),
                Within::Body(channel, rest) => self.fill_body(channel, rest),
                Within::Split(channel, rest) => {
                    if !self.split(channel, rest) {
                        break;
                    }
                }
                Within::None => {
                    if !self.begin_frame() {
                        break;
                    }
                }
            }
        }
    }

    /// Lets contents go around the client, in frames of up to `longest` bytes; 0 for any length.
    pub(crate) fn with_contents(
        self,
        longest: u32,
        deliveries: Option<Arc<dyn Deliveries>>,
    ) -> Self {
        Self {
            longest: longest as usize,
            deliveries,
            ..self
        }
    }

    /// The longest frame that the guard and the broker agree on; 0 for any length.
    pub(crate) fn longest(&self) -> usize {
        self.longest
    }

    /// The deliveries that the client has not settled.
    pub(crate) fn unsettled(&mut self) -> &mut Unsettled {
        &mut self.unsettled
    }

    /// Why frames were repaired since the last call.
    pub(crate) fn repaired(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.repaired)
    }

    /// Begins with the next frame. Returns false if more bytes are needed for that.
    fn begin_frame(&mut self) -> bool {
        let waiting = &self.buffer[self.at..self.end];
        let Some(&[kind, one, two, size @ ..]) = waiting.first_chunk::<HEAD>() else {
            return false;
        };
        let (channel, size) = ([one, two], u32::from_be_bytes(size) as usize);
        let length = size + AROUND;
        match kind {
            METHOD | HEADER if length > waiting.len() => return false,
            METHOD => self.method(channel, length),
            HEADER => self.header(channel, length),
            BODY if self.arriving_on(channel).is_some() => {
                self.at += HEAD;
                self.within = Within::Body(channel, size + 1);
            }
            BODY if self.client_frame > 0 && length > self.client_frame => {
                self.at += HEAD;
                self.within = Within::Split(channel, size + 1);
            }
            BODY | HEARTBEAT => self.within = Within::Passed(length),
            // This is not a frame, so no frame follows. The client will report that it is not AMQP.
            _ => self.within = Within::Passed(usize::MAX),
        }
        true
    }

    /// Gives the client what is there of a frame.
    fn pass(&mut self, rest: usize) {
        let count = rest.min(self.end - self.at);
        self.ready
            .extend_from_slice(&self.buffer[self.at..self.at + count]);
        self.at += count;
        self.within = match rest - count {
            0 => Within::None,
            rest => Within::Passed(rest),
        };
    }

    /// Gives the client the next piece of a frame that is longer than its own. `rest` counts the octet that ends the frame.
    /// Returns false if more bytes are needed for that.
    fn split(&mut self, channel: Channel, rest: usize) -> bool {
        let piece = payload_of(self.client_frame).max(1).min(rest - 1);
        let is_last = piece + 1 == rest;
        let length = piece + usize::from(is_last);
        if self.end - self.at < length {
            return false;
        }
        let payload = &self.buffer[self.at..self.at + piece];
        self.ready
            .extend_from_slice(&frame_of(BODY, channel, payload));
        self.at += length;
        self.within = match rest - length {
            0 => Within::None,
            rest => Within::Split(channel, rest),
        };
        true
    }

    fn method(&mut self, channel: Channel, length: usize) {
        self.give_up_body(channel);
        let payload = &self.buffer[self.at + HEAD..self.at + length - 1];
        if let Some([0, 10, 0, 30, _, _, most @ ..]) = payload.first_chunk::<10>() {
            let offered = u32::from_be_bytes(*most) as usize;
            self.client_frame = agreed(self.client_frame, offered);
            self.longest = agreed(self.longest, offered);
        }
        self.announced.take_if(|(of, _)| *of == channel);
        if self.deliveries.is_some() {
            let announced = delivery_tag(payload);
            if let Some(tag) = announced {
                self.announced = Some((channel, tag));
            }
            if let Some(tag) = announced.or_else(|| fetched_tag(payload)) {
                self.unsettled.add(channel, tag);
            }
        }
        if tables::is_good_method(payload) {
            return self.pass(length);
        }
        let (payload, reasons) = tables::repair_method(payload);
        self.repaired.extend(reasons);
        self.ready
            .extend_from_slice(&frame_of(METHOD, channel, &payload));
        self.at += length;
    }

    fn header(&mut self, channel: Channel, length: usize) {
        self.give_up_body(channel);
        let announced = self.announced.take_if(|(of, _)| *of == channel);
        // What is too long is cut.
        let limit = match announced {
            None => payload_of(self.client_frame),
            Some(_) => payload_of(self.longest),
        };
        let payload = &self.buffer[self.at + HEAD..self.at + length - 1];
        let is_good = payload.len() <= limit && tables::is_good_header(payload);
        let header = match announced {
            None if is_good => return self.pass(length),
            Some(_) if is_good => Bytes::copy_from_slice(payload),
            _ => {
                // What is too long for the client alone is a returned event, whose contents are known here.
                let is_returned = limit < payload_of(self.longest);
                let (header, reasons) = tables::repair_header(payload, limit);
                let told = |reason: &&str| !(is_returned && *reason == tables::TOO_LONG);
                self.repaired.extend(reasons.into_iter().filter(told));
                header.into()
            }
        };
        self.at += length;
        match announced {
            Some((_, tag)) => self.delivery(channel, tag, header),
            None => {
                let frame = frame_of(HEADER, channel, &header);
                self.ready.extend_from_slice(&frame);
            }
        }
    }

    /// Processes the content header of a delivery. The client gets it without properties, and with an empty body.
    fn delivery(&mut self, channel: Channel, tag: u64, header: Bytes) {
        let (Some(size), Some(deliveries)) = (body_size(&header), &self.deliveries) else {
            let frame = frame_of(HEADER, channel, &header);
            return self.ready.extend_from_slice(&frame);
        };
        let is_admitted = deliveries.admit(tag, size);
        let mut properties = header;
        properties.advance(FLAGS_AT);
        let mut body = Vec::new();
        let needed = usize::try_from(size).unwrap_or(usize::MAX);
        let is_kept = is_admitted && size > 0 && body.try_reserve_exact(needed).is_ok();
        let kept = if is_kept {
            Some(Kept { properties, body })
        } else {
            let body = Bytes::new();
            deliveries.take(tag, Contents { properties, body });
            // A body that there is not enough memory for is left to the client.
            let left = if is_admitted { size } else { 0 };
            self.ready.extend_from_slice(&bare_header(channel, left));
            None
        };
        if size > 0 && (is_kept || !is_admitted) {
            self.arriving.push(Arriving {
                channel,
                tag,
                size,
                rest: size,
                kept,
            });
        }
    }

    fn arriving_on(&self, channel: Channel) -> Option<usize> {
        self.arriving
            .iter()
            .position(|body| body.channel == channel)
    }

    /// Adds what is there of a frame to the channel's body. `rest` counts the octet that ends the frame.
    fn fill_body(&mut self, channel: Channel, rest: usize) {
        let there = &self.buffer[self.at..self.end];
        let count = rest.min(there.len());
        self.at += count;
        self.is_silent = true;
        self.within = match rest - count {
            0 => Within::None,
            rest => Within::Body(channel, rest),
        };
        let Some(index) = self.arriving_on(channel) else {
            return;
        };
        let body = &mut self.arriving[index];
        // More than the content header announces does not belong to the body.
        let most = usize::try_from(body.rest).unwrap_or(usize::MAX);
        let count = count.min(rest - 1).min(most);
        body.rest -= count as u64;
        if let Some(kept) = &mut body.kept {
            kept.body.extend_from_slice(&there[..count]);
        }
        if let (0, Within::None) = (body.rest, &self.within) {
            self.finish_body(index);
        }
    }

    /// Hands over a body that is complete, and gives the client the content header.
    fn finish_body(&mut self, index: usize) {
        let arrived = self.arriving.swap_remove(index);
        let (Some(Kept { properties, body }), Some(deliveries)) = (arrived.kept, &self.deliveries)
        else {
            return;
        };
        let body = body.into();
        deliveries.take(arrived.tag, Contents { properties, body });
        self.ready
            .extend_from_slice(&bare_header(arrived.channel, 0));
    }

    /// Something else follows on a channel before its body is complete. The client gets the content header, so that it drops
    /// the delivery.
    fn give_up_body(&mut self, channel: Channel) {
        if let Some(index) = self.arriving_on(channel) {
            let given_up = self.arriving.swap_remove(index);
            if given_up.kept.is_some() {
                self.ready
                    .extend_from_slice(&bare_header(channel, given_up.size));
            }
        }
    }
}

/// The longest payload of a frame of this length; 0 is any length.
pub(super) fn payload_of(frame_max: usize) -> usize {
    match frame_max {
        0 => usize::MAX,
        most => most.saturating_sub(AROUND),
    }
}

pub(super) fn frame_of(kind: u8, channel: Channel, payload: &[u8]) -> Vec<u8> {
    let [one, two] = channel;
    let size = (payload.len() as u32).to_be_bytes();
    [&[kind, one, two], size.as_slice(), payload, &[END]].concat()
}

/// The size of the body, in the payload of a content header.
fn body_size(header: &[u8]) -> Option<u64> {
    let size = header.get(BASIC.len()..FLAGS_AT + 2)?.first_chunk()?;
    Some(u64::from_be_bytes(*size))
}

/// The frame of a content header without properties.
fn bare_header(channel: Channel, size: u64) -> Vec<u8> {
    let payload = [BASIC.as_slice(), &size.to_be_bytes(), &[0, 0]].concat();
    frame_of(HEADER, channel, &payload)
}

/// Returns the tag of the delivery that a method announces (`basic.deliver`).
fn delivery_tag(payload: &[u8]) -> Option<u64> {
    let arguments = payload.strip_prefix(&[0, 60, 0, 60])?;
    let (consumer_tag, rest) = arguments.split_first()?;
    let tag = rest.get(usize::from(*consumer_tag)..)?.first_chunk()?;
    Some(u64::from_be_bytes(*tag))
}

/// Returns the longest frame that client and broker agree on, as the client computes it; 0 for any length.
pub(super) fn agreed(wanted: usize, offered: usize) -> usize {
    match (wanted, offered) {
        (wanted, 0) => wanted,
        (0, offered) => offered.max(MIN_FRAME),
        (wanted, offered) if offered < wanted => offered.max(MIN_FRAME),
        (wanted, _) => wanted,
    }
}
