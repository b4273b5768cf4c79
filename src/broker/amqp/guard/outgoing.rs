//! Writes frames to the broker, and puts the contents of messages where the client has written tickets.
//!
//! The client copies a body into frames, and these into its buffer. So it gets a ticket instead, which is a body of eight
//! bytes, and no properties. Both go around it.

use super::{
    acks::{Acks, Unsettled},
    frames::{AROUND, BASIC, BODY, Channel, Contents, END, HEAD, HEADER, METHOD, payload_of},
};
use bytes::Bytes;
use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

/// The first octet of the protocol header, and its length.
const PROTOCOL: u8 = b'A';
const PROTOCOL_LEN: usize = 8;
/// The ids of the method `connection.tune-ok`.
const TUNE_OK: [u8; 4] = [0, 10, 0, 31];
/// Parts of bodies that are shorter than this are copied, so that small messages are written as a whole.
const SHORT: usize = 4096;
/// How many parts are written at once.
const PARTS: usize = 16;
/// How many bytes may wait. What the client sends besides, such as its close, waits behind them.
const MOST_WAITING: usize = 1 << 20;

/// A body that stands for the contents of a message.
pub(in crate::broker::amqp) type Ticket = [u8; 8];

/// The contents that are published on one connection and not written yet.
#[derive(Debug)]
pub(in crate::broker::amqp) struct Outbox {
    waiting: Mutex<HashMap<Ticket, Contents>>,
    next: AtomicU64,
    /// The longest frame that the broker accepts.
    frame_max: AtomicUsize,
}

impl Outbox {
    pub(in crate::broker::amqp) fn new() -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            next: AtomicU64::new(0),
            frame_max: AtomicUsize::new(0),
        })
    }

    /// Takes the contents of a message, and returns the ticket to publish in their place.
    pub(in crate::broker::amqp) fn deposit(&self, contents: Contents) -> Ticket {
        let ticket = self.next.fetch_add(1, Relaxed).to_be_bytes();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(ticket, contents);
        ticket
    }

    /// Takes contents back.
    pub(in crate::broker::amqp) fn withdraw(&self, ticket: &[u8]) -> Option<Contents> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(ticket)
    }

    /// Returns the longest frame that the broker accepts, in bytes.
    pub(in crate::broker::amqp) fn frame_max(&self) -> usize {
        self.frame_max.load(Relaxed)
    }

    /// Sets the longest frame that the broker accepts, in bytes.
    pub(in crate::broker::amqp) fn set_frame_max(&self, longest: usize) {
        self.frame_max.store(longest, Relaxed);
    }
}

/// Frames on their way to the broker.
pub(crate) struct Outgoing {
    /// What is published; without it, no contents are exchanged.
    outbox: Option<Arc<Outbox>>,
    /// The longest frame that the broker accepts; 0 for any length.
    longest: usize,
    /// The beginning of a frame that is not complete.
    begun: Vec<u8>,
    /// A content header is read, and its ticket follows.
    is_ticket_next: bool,
    /// Acknowledgements that may be merged with those that follow.
    acks: Acks,
    /// What can be written: of the first part, `written` bytes are.
    parts: VecDeque<Part>,
    written: usize,
    /// How many bytes the parts have.
    waiting: usize,
}

enum Part {
    Copied(Vec<u8>),
    Body(Bytes),
}

impl Part {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Body(bytes) => bytes,
        }
    }
}

impl Outgoing {
    pub(crate) fn new(outbox: Option<Arc<Outbox>>) -> Self {
        Self {
            outbox,
            longest: 0,
            begun: Vec::new(),
            is_ticket_next: false,
            acks: Acks::default(),
            parts: VecDeque::new(),
            written: 0,
            waiting: 0,
        }
    }

    /// Takes bytes of the client, and returns how many: not all, if too much waits to be written. Call it only if nothing
    /// waits. `longest` is the longest frame that can be agreed on with the broker; 0 for any length.
    ///
    /// # Errors
    /// Returns an error for a message whose contents are not known. Nothing may be written after that.
    pub(crate) fn accept(
        &mut self,
        bytes: &[u8],
        longest: usize,
        unsettled: &mut Unsettled,
    ) -> io::Result<usize> {
        let begun = self.begun.len();
        let joined;
        let all = if begun == 0 {
            bytes
        } else {
            self.begun.extend_from_slice(bytes);
            joined = std::mem::take(&mut self.begun);
            &joined
        };
        let mut taken = self.accept_frames(all, longest, unsettled)?;
        self.write_acks(unsettled);
        if self.waiting < MOST_WAITING {
            // The rest is the beginning of a frame.
            self.begun.extend_from_slice(&all[taken..]);
            taken = all.len();
        }
        // What had begun is complete, or it would be taken now.
        Ok(taken - begun)
    }

    /// Takes frames that are complete. Returns how many bytes they have.
    fn accept_frames(
        &mut self,
        bytes: &[u8],
        longest: usize,
        unsettled: &mut Unsettled,
    ) -> io::Result<usize> {
        let mut taken = 0;
        while self.waiting < MOST_WAITING || self.is_ticket_next {
            let Some(&[kind, one, two, size @ ..]) = bytes[taken..].first_chunk::<HEAD>() else {
                break;
            };
            let length = match kind {
                PROTOCOL => PROTOCOL_LEN,
                _ => (u32::from_be_bytes(size) as usize).saturating_add(AROUND),
            };
            let Some(frame) = bytes[taken..].get(..length) else {
                break;
            };
            if kind == METHOD {
                self.accept_method([one, two], frame, longest, unsettled);
            } else {
                self.write_acks(unsettled);
                self.accept_other(kind, [one, two], frame)?;
            }
            taken += length;
        }
        Ok(taken)
    }

    fn accept_method(
        &mut self,
        channel: Channel,
        frame: &[u8],
        longest: usize,
        unsettled: &mut Unsettled,
    ) {
        let payload = &frame[HEAD..frame.len() - 1];
        if self.acks.add(channel, payload) {
            return;
        }
        self.write_acks(unsettled);
        unsettled.sent(channel, payload);
        if payload.starts_with(&TUNE_OK) {
            self.tune(frame, longest);
        } else {
            self.copy(frame);
        }
    }

    /// Writes acknowledgements before anything else.
    fn write_acks(&mut self, unsettled: &mut Unsettled) {
        if !self.acks.is_empty() {
            let frames = self.acks.take(unsettled);
            self.copy(&frames);
        }
    }

    fn accept_other(&mut self, kind: u8, channel: Channel, frame: &[u8]) -> io::Result<()> {
        match (kind, &self.outbox) {
            (HEADER, Some(_)) if !self.is_ticket_next => self.is_ticket_next = true,
            (HEADER | BODY, Some(outbox)) => {
                let ticket = &frame[HEAD..frame.len() - 1];
                let contents = outbox.withdraw(ticket);
                let (Some(contents), true) = (contents, std::mem::take(&mut self.is_ticket_next))
                else {
                    return Err(io::Error::other("a message without contents is published"));
                };
                self.write_contents(channel, contents);
            }
            _ => self.copy(frame),
        }
        Ok(())
    }

    /// Asks the broker for longer frames than the client does.
    fn tune(&mut self, frame: &[u8], longest: usize) {
        /// The ids of the method and the number of channels precede the longest frame.
        const FRAME_MAX_AT: usize = HEAD + 6;
        self.longest = longest;
        if let Some(outbox) = &self.outbox {
            outbox.set_frame_max(longest);
        }
        let mut frame = frame.to_vec();
        let most = frame.get_mut(FRAME_MAX_AT..);
        if let Some(most) = most.and_then(<[u8]>::first_chunk_mut) {
            *most = (longest as u32).to_be_bytes();
        }
        self.copy(&frame);
    }

    fn write_contents(&mut self, channel: Channel, contents: Contents) {
        let Contents {
            properties,
            body: mut rest,
        } = contents;
        self.begin_frame(HEADER, channel, BASIC.len() + 8 + properties.len());
        self.copy(&BASIC);
        self.copy(&(rest.len() as u64).to_be_bytes());
        self.copy(&properties);
        self.copy(&[END]);
        let most = payload_of(self.longest);
        while !rest.is_empty() {
            let piece = rest.split_to(most.min(rest.len()));
            self.begin_frame(BODY, channel, piece.len());
            if piece.len() < SHORT {
                self.copy(&piece);
            } else {
                self.waiting += piece.len();
                self.parts.push_back(Part::Body(piece));
            }
            self.copy(&[END]);
        }
    }

    fn begin_frame(&mut self, kind: u8, [one, two]: Channel, length: usize) {
        let [a, b, c, d] = (length as u32).to_be_bytes();
        self.copy(&[kind, one, two, a, b, c, d]);
    }

    /// Adds bytes to the last part.
    fn copy(&mut self, bytes: &[u8]) {
        self.waiting += bytes.len();
        if let Some(Part::Copied(last)) = self.parts.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.parts.push_back(Part::Copied(bytes.to_vec()));
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What is to be written next; empty if there is nothing.
    pub(crate) fn to_write(&self) -> Vec<IoSlice<'_>> {
        let parts = self.parts.iter().take(PARTS).map(Part::bytes);
        let skipped = std::iter::once(self.written).chain(std::iter::repeat(0));
        parts
            .zip(skipped)
            .map(|(part, skipped)| IoSlice::new(&part[skipped..]))
            .collect()
    }

    /// Records that so many bytes were written.
    pub(crate) fn wrote(&mut self, count: usize) {
        self.waiting -= count;
        self.written += count;
        while let Some(first) = self.parts.front() {
            let Some(after) = self.written.checked_sub(first.bytes().len()) else {
                break;
            };
            self.written = after;
            self.parts.pop_front();
        }
    }
}
