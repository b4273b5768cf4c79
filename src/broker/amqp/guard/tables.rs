//! The payload of one frame: short texts, header tables, and the arrays in them. It is read without recursion, and
//! repaired if the client cannot read it.
//!
//! One walk both checks and repairs. Most frames are only checked ([`TableCheck`]); a frame that needs a repair is
//! written again ([`TableRewrite`]). A cut value is replaced by a text that says so, if there is room: a frame never
//! grows.

use std::str;

/// How deep tables and arrays can be nested, the header table included. The client and the sailor read and write them by
/// recursion; in a build without optimisation this depth takes 1.7 MB of a stack of 2 MB.
pub(crate) const DEPTH: usize = 128;

/// Why something was repaired.
pub(crate) const TOO_DEEP: &str = "nested deeper than 128 levels";
pub(crate) const UNREADABLE: &str = "not readable";
pub(crate) const TOO_LONG: &str = "headers longer than a frame";
pub(crate) const NO_TEXT: &str = "bytes that are not UTF-8";

/// Properties by the bits of their flags, as far as they are no short texts.
pub(crate) const HEADERS: u16 = 13;
pub(crate) const DELIVERY_MODE: u16 = 12;
const PRIORITY: u16 = 11;
const TIMESTAMP: u16 = 6;

/// Class, weight, body size and flags precede the properties.
const PROPERTIES_AT: usize = 14;

/// Returns whether the client can read the payload of a content header.
pub(crate) fn is_good_header(payload: &[u8]) -> bool {
    let mut check = TableCheck(true);
    walk_header(payload, &mut check);
    check.0
}

/// Returns whether the client can read all texts and tables of a method.
pub(crate) fn is_good_method(payload: &[u8]) -> bool {
    let mut check = TableCheck(true);
    walk_method(payload, &mut check);
    check.0
}

/// Returns the payload of a content header as the client can read it, at most `limit` bytes long, and what was
/// repaired.
pub(crate) fn repair_header(payload: &[u8], limit: usize) -> (Vec<u8>, Vec<&'static str>) {
    let mut rewrite = TableRewrite::for_payload(payload);
    walk_header(payload, &mut rewrite);
    if rewrite.bytes.len() > limit.max(PROPERTIES_AT) {
        rewrite.bytes = shortened(&rewrite.bytes, limit);
        rewrite.found(TOO_LONG);
    }
    (rewrite.bytes, rewrite.reasons)
}

/// Returns the payload of a method as the client can read it, and what was repaired.
pub(crate) fn repair_method(payload: &[u8]) -> (Vec<u8>, Vec<&'static str>) {
    let mut rewrite = TableRewrite::for_payload(payload);
    walk_method(payload, &mut rewrite);
    (rewrite.bytes, rewrite.reasons)
}

/// What a walk does with the parts of a payload.
trait Visit {
    /// Bytes that the client can read.
    fn bytes(&mut self, bytes: &[u8]);
    /// A short text, without its length.
    fn text(&mut self, text: &[u8]);
    /// The length of a table or an array, whose contents follow. Returns its position.
    fn open(&mut self) -> usize;
    /// The end of the table or array whose length is at this position.
    fn close(&mut self, at: usize);
    /// A value of `room` bytes that the client cannot read.
    fn cut(&mut self, room: usize, reason: &'static str);
    /// Something is left out.
    fn found(&mut self, reason: &'static str);
    /// The flags of a content header, for the properties that could be read.
    fn flags(&mut self, flags: u16);
}

/// Checks whether the client can read everything.
struct TableCheck(bool);

impl Visit for TableCheck {
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

/// Writes the payload again.
struct TableRewrite {
    bytes: Vec<u8>,
    reasons: Vec<&'static str>,
}

impl TableRewrite {
    fn for_payload(payload: &[u8]) -> Self {
        Self {
            bytes: Vec::with_capacity(payload.len()),
            reasons: Vec::new(),
        }
    }
}

impl Visit for TableRewrite {
    fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    fn text(&mut self, text: &[u8]) {
        self.bytes.push(text.len() as u8);
        for chunk in text.utf8_chunks() {
            self.bytes.extend_from_slice(chunk.valid().as_bytes());
            let invalid = chunk.invalid().len();
            if invalid > 0 {
                self.bytes.resize(self.bytes.len() + invalid, b'?');
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

/// A text in place of a value of `room` bytes, or no value if there is no room for a text.
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

/// The length of a property, by its bit. `None` if it is not complete.
pub(crate) fn property_len(bit: u16, bytes: &[u8]) -> Option<usize> {
    match bit {
        HEADERS => bytes_of(bytes, 0),
        DELIVERY_MODE | PRIORITY => Some(1),
        TIMESTAMP => Some(8),
        _ => Some(1 + usize::from(*bytes.first()?)),
    }
}

/// The properties of a content header, from `content-type` to `cluster-id`.
fn walk_header<V: Visit>(payload: &[u8], visit: &mut V) {
    let Some((head, mut rest)) = payload.split_at_checked(PROPERTIES_AT) else {
        return visit.bytes(payload);
    };
    visit.bytes(head);
    let flags = u16::from_be_bytes([head[12], head[13]]);
    for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
        let read = match bit {
            HEADERS => walk_table(rest, visit),
            DELIVERY_MODE | PRIORITY | TIMESTAMP => {
                property_len(bit, rest).and_then(|length| fixed(rest, length, visit))
            }
            _ => text(rest, visit),
        };
        let Some(after) = read else {
            // The end of this property is unknown, so all later properties are lost too.
            visit.found(UNREADABLE);
            return visit.flags(flags & !(u16::MAX >> (15 - bit)));
        };
        rest = after;
    }
    if !rest.is_empty() {
        visit.found(UNREADABLE);
    }
}

/// The arguments of a method, if texts or tables are among them: `s` is a short text, `l` a long one, `t` a table, and a
/// digit a number of bytes. A method with other arguments is left to the client, because no message can cause it.
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

/// Visits this many bytes; returns what follows.
fn fixed<'a, V: Visit>(bytes: &'a [u8], length: usize, visit: &mut V) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    visit.bytes(taken);
    Some(rest)
}

/// Visits a short text; returns what follows.
fn text<'a, V: Visit>(bytes: &'a [u8], visit: &mut V) -> Option<&'a [u8]> {
    let (taken, rest) = short_text(bytes)?;
    visit.text(taken);
    Some(rest)
}

/// A short text without its length, and what follows.
pub(crate) fn short_text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The length of something whose own length is after `before` bytes, these included. `None` if it is not complete.
fn bytes_of(bytes: &[u8], before: usize) -> Option<usize> {
    let length = bytes.get(before..)?.first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length))
        .ok()?
        .checked_add(before + 4)?;
    (length <= bytes.len()).then_some(length)
}

/// The length of a value with its type. `None` if the client does not know the type, or the value is not complete.
pub(crate) fn value_len(bytes: &[u8]) -> Option<usize> {
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
struct OpenTable {
    end: usize,
    /// Tables have names, arrays do not.
    named: bool,
    /// The position of its length in what is written.
    at: usize,
}

/// Visits a table with everything in it; returns what follows. An unreadable value ends the innermost table around it.
fn walk_table<'a, V: Visit>(bytes: &'a [u8], visit: &mut V) -> Option<&'a [u8]> {
    let end = bytes_of(bytes, 0)?;
    let mut table = OpenTable {
        end,
        named: true,
        at: visit.open(),
    };
    let mut outer: Vec<OpenTable> = Vec::new();
    let mut at = 4;
    loop {
        if at == table.end {
            visit.close(table.at);
            match outer.pop() {
                Some(parent) => table = parent,
                None => return Some(&bytes[end..]),
            }
            continue;
        }
        let Some((value, length)) = next_value(&bytes[at..table.end], table.named, visit) else {
            at = table.end;
            continue;
        };
        at = table.end - value.len();
        if !matches!(value[0], b'F' | b'A') {
            visit.bytes(&value[..length]);
        } else if outer.len() + 1 < DEPTH {
            visit.bytes(&value[..1]);
            let inner = OpenTable {
                end: at + length,
                named: value[0] == b'F',
                at: visit.open(),
            };
            outer.push(std::mem::replace(&mut table, inner));
            // Type and length.
            at += 5;
            continue;
        } else {
            visit.cut(length, TOO_DEEP);
        }
        at += length;
    }
}

/// Visits the name of the next value, if values have names. Returns everything from the value on, and the value's length;
/// `None` if it cannot be read.
fn next_value<'a, V: Visit>(
    mut rest: &'a [u8],
    named: bool,
    visit: &mut V,
) -> Option<(&'a [u8], usize)> {
    if named {
        match short_text(rest) {
            Some((name, value)) if !value.is_empty() => {
                visit.text(name);
                rest = value;
            }
            _ => {
                visit.found(UNREADABLE);
                return None;
            }
        }
    }
    let length = value_len(rest);
    if length.is_none() {
        visit.cut(rest.len(), UNREADABLE);
    }
    Some((rest, length?))
}

/// Shortens a well-formed content header to `limit` bytes: cuts its longest headers one by one, and then leaves out the
/// last ones. The id of the message goes last, because a returned event is recognized by it.
fn shortened(payload: &[u8], limit: usize) -> Vec<u8> {
    const ID: &[u8] = b"\x09messageId";
    let Some((start, end)) = header_table(payload) else {
        return payload.to_vec();
    };
    let mut headers = split_headers(&payload[start + 4..end]);
    // Of headers with the same name, the last one counts.
    let id = headers.iter().rfind(|(name, _)| *name == ID).copied();
    headers.retain(|(name, _)| *name != ID);
    headers.splice(..0, id);
    let others = usize::from(id.is_some());
    let length_of = |(name, value): &(&[u8], &[u8])| name.len() + value.len();
    let mut length = start + 4 + headers.iter().map(length_of).sum::<usize>() + payload.len() - end;
    let mut mark = Vec::new();
    write_mark(&mut mark, usize::MAX, TOO_LONG);
    let mut longest: Vec<usize> = (others..headers.len()).collect();
    longest.sort_by_key(|n| std::cmp::Reverse(headers[*n].1.len()));
    for n in longest {
        if length <= limit || headers[n].1.len() <= mark.len() {
            break;
        }
        length -= headers[n].1.len() - mark.len();
        headers[n].1 = &mark;
    }
    while length > limit
        && let Some(last) = headers.pop()
    {
        length -= length_of(&last);
    }
    let table: Vec<&[u8]> = headers
        .into_iter()
        .flat_map(|(name, value)| [name, value])
        .collect();
    let table = table.concat();
    let length = (table.len() as u32).to_be_bytes();
    [
        &payload[..start],
        length.as_slice(),
        table.as_slice(),
        &payload[end..],
    ]
    .concat()
}

/// Where the header table of a well-formed content header begins and ends, if there is one.
fn header_table(payload: &[u8]) -> Option<(usize, usize)> {
    let flags = u16::from_be_bytes([payload[12], payload[13]]);
    if flags & (1 << 13) == 0 {
        return None;
    }
    let mut start = PROPERTIES_AT;
    for _ in 0..(flags >> 14).count_ones() {
        start += 1 + usize::from(payload[start]);
    }
    let length = bytes_of(&payload[start..], 0).unwrap_or_default();
    Some((start, start + length))
}

/// The names and values of a well-formed header table. Names include their length, values their type.
fn split_headers(mut table: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut headers = Vec::new();
    while let Some((name, _)) = short_text(table) {
        let (name, rest) = table.split_at(1 + name.len());
        let (value, after) = rest.split_at(value_len(rest).unwrap_or(rest.len()));
        headers.push((name, value));
        table = after;
    }
    headers
}
