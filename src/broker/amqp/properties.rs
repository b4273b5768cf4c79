//! The properties of a message, as AMQP writes them: flags, and the properties that they announce (AMQP 0-9-1, section
//! 4.2.6.1).
//!
//! They go around the client in this form, as bodies do. The client would make a tree of each header table, and a frame of
//! its own could not hold a long one. Whatever the sailor does not change stays byte by byte.

use super::{
    guard::tables::{DELIVERY_MODE, HEADERS, property_len},
    table,
};
use crate::protocol::Headers;
use lapin::{BasicProperties, protocol::basic::gen_properties};
use serde_json::Value;

/// Further properties, by the bits of their flags.
const CONTENT_TYPE: u16 = 15;
const CONTENT_ENCODING: u16 = 14;
const EXPIRATION: u16 = 8;
const USER_ID: u16 = 4;

/// The properties of one message, by the bits of their flags. Those that are absent are empty.
pub(super) struct Properties<'a>([&'a [u8]; 16]);

impl<'a> Properties<'a> {
    /// Reads flags and properties. What cannot be read is left out.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let mut properties = Self([&[]; 16]);
        let Some((flags, mut rest)) = bytes.split_first_chunk() else {
            return properties;
        };
        let flags = u16::from_be_bytes(*flags);
        for bit in (2..16).rev().filter(|bit| flags & (1 << bit) != 0) {
            let property = property_len(bit, rest).and_then(|length| rest.split_at_checked(length));
            let Some((property, after)) = property else {
                break;
            };
            properties.0[usize::from(bit)] = property;
            rest = after;
        }
        properties
    }

    fn set(&mut self, bit: u16, property: &'a [u8]) {
        self.0[usize::from(bit)] = property;
    }

    /// The header table; empty if there is none.
    pub(super) fn headers(&self) -> &'a [u8] {
        self.0[usize::from(HEADERS)]
    }

    /// Replaces the header table.
    pub(super) fn set_headers(&mut self, table: &'a [u8]) {
        self.set(HEADERS, table);
    }

    /// Makes the message persistent, or not.
    pub(super) fn set_persistent(&mut self, is_persistent: bool) {
        self.set(DELIVERY_MODE, delivery_mode(is_persistent));
    }

    /// Sets the expiration. `short_text` begins with its length.
    pub(super) fn set_expiration(&mut self, short_text: &'a [u8]) {
        self.set(EXPIRATION, short_text);
    }

    /// Leaves out the `user-id` of another user: the broker would close the channel because of it.
    pub(super) fn remove_other_user_id(&mut self, user: &str) {
        let id = self.0[usize::from(USER_ID)];
        if id.get(1..) != Some(user.as_bytes()) {
            self.set(USER_ID, &[]);
        }
    }

    /// Writes flags and properties.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes =
            Vec::with_capacity(2 + self.0.iter().map(|property| property.len()).sum::<usize>());
        let present = (2..16_u16).filter(|bit| !self.0[usize::from(*bit)].is_empty());
        let flags: u16 = present.map(|bit| 1 << bit).sum();
        bytes.extend_from_slice(&flags.to_be_bytes());
        self.0
            .iter()
            .rev()
            .for_each(|property| bytes.extend_from_slice(property));
        bytes
    }
}

/// Writes the properties of an event: these and no others.
///
/// # Errors
/// Returns an error if AMQP does not allow the name of a header.
pub(super) fn of_event(headers: &Headers, is_persistent: bool) -> Result<Vec<u8>, String> {
    const FLAGS: u16 =
        1 << CONTENT_TYPE | 1 << CONTENT_ENCODING | 1 << HEADERS | 1 << DELIVERY_MODE;
    table::check_names(headers)?;
    let mut bytes = Vec::with_capacity(512);
    bytes.extend_from_slice(&FLAGS.to_be_bytes());
    bytes.extend_from_slice(b"\x10application/json");
    bytes.extend_from_slice(b"\x04utf8");
    table::write(&mut bytes, headers);
    bytes.extend_from_slice(delivery_mode(is_persistent));
    Ok(bytes)
}

/// 2 is persistent, 1 is not.
fn delivery_mode(is_persistent: bool) -> &'static [u8] {
    if is_persistent { &[2] } else { &[1] }
}

/// Reads the headers as JSON.
pub(super) fn headers(properties: &[u8]) -> Headers {
    table::to_json(Properties::read(properties).headers())
}

/// The header `messageId`; empty if there is none.
pub(super) fn message_id(properties: &[u8]) -> String {
    let headers = Properties::read(properties).headers();
    match table::get(headers, "messageId") {
        Some(Value::String(id)) => id,
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    }
}

/// Writes properties that did not go around the client.
pub(super) fn of_client(properties: &BasicProperties) -> Vec<u8> {
    let written = gen_properties(properties)(Vec::new().into());
    let written = written.expect("writing into memory does not fail");
    written.into_inner().0
}

/// Reads properties as the client does.
#[cfg(test)]
pub(super) fn for_client(properties: &[u8]) -> BasicProperties {
    let read = lapin::protocol::basic::parse_properties(properties);
    read.expect("the properties are well-formed").1
}

#[cfg(test)]
mod tests;
