//! What the payload of one frame holds: short texts, header tables, arrays in them. Read without recursion, and mended
//! where the client would fail on it.
//!
//! One walk does both. Most frames are only looked at ([`Look`]); one that needs mending is written anew ([`Mended`]).
//! What is cut becomes a text that says so, as far as the room of what was there goes: a frame never grows.

use std::str;

/// How deep tables and arrays may be nested, the header table included. The client reads, copies and writes them by
/// recursion; in a build without any optimisation this many take 1.7 MB of a stack of 2 MB.
pub(crate) const DEPTH: usize = 128;

/// Why something is not handed on as it came.
pub(crate) const TOO_DEEP: &str = "nested deeper than 128 levels";
pub(crate) const UNREADABLE: &str = "not readable";
pub(crate) const TOO_LONG: &str = "headers longer than a frame";
pub(crate) const NO_TEXT: &str = "bytes that are not UTF-8";

/// Class, weight, size of the body and flags stand before the properties.
const PROPERTIES_AT: usize = 14;

/// Whether the client reads the payload of a content header as it is.
pub(crate) fn is_good_header(payload: &[u8]) -> bool {
    let mut look = Look(true);
    walk_header(payload, &mut look);
    look.0
}

/// Whether the client finds every text and table of a method as it wants them.
pub(crate) fn is_good_method(payload: &[u8]) -> bool {
    let mut look = Look(true);
    walk_method(payload, &mut look);
    look.0
}

/// The payload of a content header as the client reads it, at most `limit` bytes long, and what was wrong with it.
pub(crate) fn mend_header(payload: &[u8], limit: usize) -> (Vec<u8>, Vec<&'static str>) {
    let mut mended = Mended::for_payload(payload);
    walk_header(payload, &mut mended);
    if mended.bytes.len() > limit.max(PROPERTIES_AT) {
        mended.bytes = shortened(&mended.bytes, limit);
        mended.found(TOO_LONG);
    }
    (mended.bytes, mended.reasons)
}

/// The payload of a method with its texts and tables as the client reads them, and what was wrong with it.
pub(crate) fn mend_method(payload: &[u8]) -> (Vec<u8>, Vec<&'static str>) {
    let mut mended = Mended::for_payload(payload);
    walk_method(payload, &mut mended);
    (mended.bytes, mended.reasons)
}

/// What a walk does with what it meets.
trait Visit {
    /// Something without any danger.
    fn bytes(&mut self, bytes: &[u8]);
    /// A short text, without its length.
    fn text(&mut self, text: &[u8]);
    /// The length of a table or an array, whose contents follow. Returns where it stands.
    fn open(&mut self) -> usize;
    /// The end of what was opened.
    fn close(&mut self, at: usize);
    /// A value of `room` bytes that cannot be handed on.
    fn cut(&mut self, room: usize, reason: &'static str);
    /// Something that is left out.
    fn found(&mut self, reason: &'static str);
    /// The flags of a content header, now that it is known which properties could be read.
    fn flags(&mut self, flags: u16);
}

/// Only looks whether all is well.
struct Look(bool);

impl Visit for Look {
    fn bytes(&mut self, _: &[u8]) {}

    fn text(&mut self, text: &[u8]) {
        self.0 &= str::from_utf8(text).is_ok();
    }

    fn open(&mut self) -> usize {
        0
    }

    fn close(&mut self, _: usize) {}

    fn cut(&mut self, _: usize, _: &'static str) {
        self.0 = false;
    }

    fn found(&mut self, _: &'static str) {
        self.0 = false;
    }

    fn flags(&mut self, _: u16) {}
}

/// Writes the payload anew.
struct Mended {
    bytes: Vec<u8>,
    reasons: Vec<&'static str>,
}

impl Mended {
    fn for_payload(payload: &[u8]) -> Self {
        Self {
            bytes: Vec::with_capacity(payload.len()),
            reasons: Vec::new(),
        }
    }
}

impl Visit for Mended {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.push(text.len() as u8);
        for chunk in text.utf8_chunks() {
            self.bytes.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.bytes
                    .resize(self.bytes.len() + chunk.invalid().len(), b'?');
                self.found(NO_TEXT);
            }
        }
    }

    fn open(&mut self) -> usize {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        at
    }

    fn close(&mut self, at: usize) {
        let length = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn cut(&mut self, room: usize, reason: &'static str) {
        write_mark(&mut self.bytes, room, reason);
        self.found(reason);
    }

    fn found(&mut self, reason: &'static str) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    fn flags(&mut self, flags: u16) {
        self.bytes[PROPERTIES_AT - 2..PROPERTIES_AT].copy_from_slice(&flags.to_be_bytes());
    }
}

/// A text in the place of a value that had `room` bytes, or no value where there is no room for a text.
fn write_mark(bytes: &mut Vec<u8>, room: usize, reason: &str) {
    let Some(room) = room.checked_sub(5) else {
        return bytes.push(b'V');
    };
    let text = format!("[cut: {reason}]");
    let text = &text[..text.len().min(room)];
    bytes.push(b'S');
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The properties of a content header, from `content-type` to `cluster-id`: short texts but for these.
fn walk_header<V: Visit>(payload: &[u8], visit: &mut V) {
    let Some((head, mut rest)) = payload.split_at_checked(PROPERTIES_AT) else {
        return visit.bytes(payload);
    };
    visit.bytes(head);
    let flags = u16::from_be_bytes([head[12], head[13]]);
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        let read = match bit {
            13 => walk_table(rest, visit),
            12 | 11 => fixed(rest, 1, visit),
            6 => fixed(rest, 8, visit),
            _ => text(rest, visit),
        };
        let Some(after) = read else {
            // Where this one ends nobody knows, so the later ones are lost with it.
            visit.found(UNREADABLE);
            return visit.flags(flags & !(u16::MAX >> (15 - bit)));
        };
        rest = after;
    }
    if !rest.is_empty() {
        visit.found(UNREADABLE);
    }
}

/// The arguments of what a broker sends, where texts or tables are among them: `s` is a short text, `l` a long one, `t` a
/// table, a digit stands for so many bytes. What does not keep to it is for the client to refuse: no message is to blame.
fn walk_method<V: Visit>(payload: &[u8], visit: &mut V) {
    let Some((ids, mut rest)) = payload.split_at_checked(4) else {
        return visit.bytes(payload);
    };
    visit.bytes(ids);
    let arguments = match (
        u16::from_be_bytes([ids[0], ids[1]]),
        u16::from_be_bytes([ids[2], ids[3]]),
    ) {
        (10, 10) => "2tll",             // connection.start
        (10, 50) | (20, 40) => "2s4",   // connection.close, channel.close
        (10, 41 | 60) => "s",           // connection.open-ok, connection.blocked
        (50, 11) => "s8",               // queue.declare-ok
        (60, 21 | 30 | 31 | 72) => "s", // basic.consume-ok, basic.cancel, basic.cancel-ok, basic.get-empty
        (60, 50) => "2sss",             // basic.return
        (60, 60) => "s9ss",             // basic.deliver
        (60, 71) => "9ss4",             // basic.get-ok
        _ => "",
    };
    for argument in arguments.bytes() {
        let read = match argument {
            b's' => text(rest, visit),
            b't' => walk_table(rest, visit),
            b'l' => bytes_of(rest, 0).and_then(|length| fixed(rest, length, visit)),
            digit => fixed(rest, usize::from(digit - b'0'), visit),
        };
        let Some(after) = read else { break };
        rest = after;
    }
    visit.bytes(rest);
}

/// So many bytes; returns what follows.
fn fixed<'a, V: Visit>(bytes: &'a [u8], length: usize, visit: &mut V) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    visit.bytes(taken);
    Some(rest)
}

/// A short text; returns what follows.
fn text<'a, V: Visit>(bytes: &'a [u8], visit: &mut V) -> Option<&'a [u8]> {
    let (taken, rest) = short(bytes)?;
    visit.text(taken);
    Some(rest)
}

/// A short text without its length, and what follows.
fn short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// How many bytes something has, `before` and its length included, if they are all there.
fn bytes_of(bytes: &[u8], before: usize) -> Option<usize> {
    let length = bytes.get(before..)?.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length))
        .ok()?
        .checked_add(before + 4)?;
    (length <= bytes.len()).then_some(length)
}

/// How many bytes a value has, with its type; none if it is of no type that the client knows, or does not end in time.
fn value_len(bytes: &[u8]) -> Option<usize> {
    let length = match bytes.first()? {
        b'V' => 1,
        b't' | b'b' | b'B' => 2,
        b's' | b'U' | b'u' => 3,
        b'I' | b'i' | b'f' => 5,
        b'D' => 6,
        b'l' | b'L' | b'd' | b'T' => 9,
        b'S' | b'x' | b'A' | b'F' => bytes_of(bytes, 1)?,
        _ => return None,
    };
    (length <= bytes.len()).then_some(length)
}

/// A table or an array that is being read.
struct Level {
    end: usize,
    named: bool,
    /// Where its length stands, for who writes.
    at: usize,
}

/// A table with everything in it; returns what follows. What cannot be read in it ends the table that it stands in.
fn walk_table<'a, V: Visit>(bytes: &'a [u8], visit: &mut V) -> Option<&'a [u8]> {
    let end = bytes_of(bytes, 0)?;
    let mut level = Level {
        end,
        named: true,
        at: visit.open(),
    };
    let mut outer: Vec<Level> = Vec::new();
    let mut at = 4;
    loop {
        if at == level.end {
            visit.close(level.at);
            match outer.pop() {
                Some(parent) => level = parent,
                None => return Some(&bytes[end..]),
            }
            continue;
        }
        let mut rest = &bytes[at..level.end];
        if level.named {
            match short(rest) {
                Some((name, value)) if !value.is_empty() => {
                    visit.text(name);
                    at += rest.len() - value.len();
                    rest = value;
                }
                _ => {
                    visit.found(UNREADABLE);
                    at = level.end;
                    continue;
                }
            }
        }
        let Some(length) = value_len(rest) else {
            visit.cut(rest.len(), UNREADABLE);
            at = level.end;
            continue;
        };
        if !matches!(rest[0], b'F' | b'A') {
            visit.bytes(&rest[..length]);
        } else if outer.len() + 1 < DEPTH {
            visit.bytes(&rest[..1]);
            let inner = Level {
                end: at + length,
                named: rest[0] == b'F',
                at: visit.open(),
            };
            outer.push(std::mem::replace(&mut level, inner));
            at += 5;
            continue;
        } else {
            visit.cut(length, TOO_DEEP);
        }
        at += length;
    }
}

/// A content header that is well formed, made to fit `limit`: its longest headers are cut, one after the other, and
/// where that is not enough the last ones are left out.
fn shortened(payload: &[u8], limit: usize) -> Vec<u8> {
    let flags = u16::from_be_bytes([payload[12], payload[13]]);
    let mut start = PROPERTIES_AT;
    for _ in 0..(flags >> 14).count_ones() {
        start += 1 + usize::from(payload[start]);
    }
    if flags & (1 << 13) == 0 {
        return payload.to_vec();
    }
    let end = start + bytes_of(&payload[start..], 0).unwrap_or_default();

    // Each header with its name and its value, which are empty once it is left out.
    let mut headers: Vec<(&[u8], &[u8])> = Vec::new();
    let mut rest = &payload[start + 4..end];
    while let Some((name, value)) = short(rest) {
        let (name, _) = rest.split_at(1 + name.len());
        let (value, after) = value.split_at(value_len(value).unwrap_or(value.len()));
        headers.push((name, value));
        rest = after;
    }
    let mut excess = payload.len().saturating_sub(limit);
    let mut mark = Vec::new();
    write_mark(&mut mark, usize::MAX, TOO_LONG);
    let mut longest: Vec<usize> = (0..headers.len()).collect();
    longest.sort_by_key(|n| std::cmp::Reverse(headers[*n].1.len()));
    for n in longest {
        if excess == 0 || headers[n].1.len() <= mark.len() {
            break;
        }
        excess = excess.saturating_sub(headers[n].1.len() - mark.len());
        headers[n].1 = &mark;
    }
    while excess > 0 {
        let Some((name, value)) = headers.pop() else {
            break;
        };
        excess = excess.saturating_sub(name.len() + value.len());
    }

    let mut bytes = payload[..start].to_vec();
    let length: usize = headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    for (name, value) in headers {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
    }
    bytes.extend_from_slice(&payload[end..]);
    bytes
}
