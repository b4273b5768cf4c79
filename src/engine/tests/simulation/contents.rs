//! Reads what the simulated step publishes.

use crate::protocol::{Cipher, Encoding};
use bytes::Bytes;
use serde_json::{Value, json};

/// The number of a run, and of one event of it.
pub(super) type EventId = (usize, u32);

/// How the body begins that nobody can decrypt.
const GARBAGE: &str = "garbage ";

/// Reads and writes bodies.
#[derive(Clone)]
pub(super) struct Contents {
    cipher: Cipher,
    /// The classes whose messages cannot be read.
    garbage: Vec<u32>,
}

impl Contents {
    pub(super) fn new(cipher: Cipher, garbage: Vec<u32>) -> Self {
        Self { cipher, garbage }
    }

    pub(super) fn is_garbage(&self, class: u32) -> bool {
        self.garbage.contains(&class)
    }

    /// Encrypts a message.
    pub(super) fn message(&self, body: &Value) -> Bytes {
        let plain = json!({ "headers": {}, "body": body }).to_string();
        self.cipher.encrypt(plain.into(), Encoding::Raw).into()
    }

    pub(super) fn garbage(class: u32) -> Bytes {
        format!("{GARBAGE}{class}").into()
    }

    /// The class of an incoming message.
    pub(super) fn class(&self, body: &[u8]) -> Option<u32> {
        if let Ok(text) = std::str::from_utf8(body)
            && let Some(class) = text.strip_prefix(GARBAGE)
        {
            return class.parse().ok();
        }
        let class = self.read(body, Encoding::Raw)?["body"]["class"].as_u64()?;
        u32::try_from(class).ok()
    }

    /// The class of the message whose error event this is.
    pub(super) fn failed_class(&self, body: &[u8]) -> Option<u32> {
        let event: Value = serde_json::from_slice(body).ok()?;
        let input = event["errorInput"].as_str()?;
        let raw = base64_simd::STANDARD.decode_to_vec(input).ok()?;
        self.class(&raw)
    }

    /// The event of a module; none if it is one of the runtime's own.
    pub(super) fn event(&self, key: &str, body: &[u8]) -> Option<EventId> {
        let event = match key {
            "data" | "custom" => self.read(body, Encoding::Raw)?["body"].take(),
            "snapshot" => serde_json::from_slice(body).ok()?,
            "keys" => self.read(body, Encoding::Raw)?["keys"].take(),
            _ => return None,
        };
        let run = usize::try_from(event["run"].as_u64()?).ok()?;
        Some((run, u32::try_from(event["index"].as_u64()?).ok()?))
    }

    fn read(&self, body: &[u8], encoding: Encoding) -> Option<Value> {
        let plain = self.cipher.decrypt(body, encoding).ok()?;
        serde_json::from_slice(&plain).ok()
    }
}
