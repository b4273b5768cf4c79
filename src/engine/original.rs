//! The body of an incoming message as it was delivered, for error events and rebounds.
//!
//! Few messages need it, and it is as large as the message. So the body is decrypted in place, and made again when it is
//! needed: the platform encrypts with one key and one vector, so the same payload always makes the same body.

use crate::protocol::{Cipher, CipherError, Encoding};
use bytes::Bytes;

pub(super) enum Original {
    /// The body itself, because it cannot be decrypted or made again.
    Body(Bytes),
    /// The payload, which makes the body when it is encrypted.
    Payload(Bytes),
    /// The body was too large to be read.
    Withheld,
}

impl Original {
    /// Decrypts a body. Returns its payload too.
    pub(super) fn open(
        cipher: &Cipher,
        body: Bytes,
        encoding: Encoding,
    ) -> (Self, Result<Bytes, CipherError>) {
        match cipher.open(body, encoding) {
            Ok((payload, Some(body))) => (Self::Body(body), Ok(payload)),
            Ok((payload, None)) => (Self::Payload(payload.clone()), Ok(payload)),
            Err((error, body)) => (Self::Body(body), Err(error)),
        }
    }

    /// Returns the body as it was delivered.
    pub(super) fn body(&self, cipher: &Cipher, encoding: Encoding) -> Bytes {
        match self {
            Self::Body(body) => body.clone(),
            Self::Payload(payload) => cipher.encrypt(to_encrypt(payload), encoding).into(),
            Self::Withheld => Bytes::new(),
        }
    }

    /// Returns the body as it is in an error event, and its encoding. Without a body there is none.
    pub(super) fn for_error_event(
        &self,
        cipher: &Cipher,
        encoding: Encoding,
    ) -> Option<(Bytes, Encoding)> {
        match self {
            Self::Body(body) => Some((body.clone(), encoding)),
            // In an error event it is base64 in any case.
            Self::Payload(_) => Some((self.body(cipher, Encoding::Base64), Encoding::Base64)),
            Self::Withheld => None,
        }
    }

    /// Returns the length that the body has in an error event.
    pub(super) fn text_len(&self, encoding: Encoding) -> usize {
        match self {
            Self::Body(body) => encoding.text_len(body.len()),
            Self::Payload(payload) => Encoding::Base64.encrypted_len(payload.len()),
            Self::Withheld => 0,
        }
    }
}

/// Copies a payload into a buffer with room for the padding of the cipher.
fn to_encrypt(payload: &[u8]) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(payload.len() + 16);
    buffer.extend_from_slice(payload);
    buffer
}
