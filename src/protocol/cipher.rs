//! Encryption of payloads: AES-256-CBC with one key and one initialisation vector for the whole platform.
//!
//! The key is the SHA-256 of the password's UTF-8 bytes, the vector is the 16 bytes of its text, and the padding is PKCS#7
//! (wire-contract: Encryption). Nothing authenticates a payload: only its padding or its JSON can reveal a change.

use crate::codes::{self, Code};
use aes::cipher::{
    BlockModeDecrypt, BlockModeEncrypt, KeyIvInit,
    block_padding::{NoPadding, Pkcs7},
};
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

/// How a message body contains the ciphertext (wire-contract: Encodings by protocol version).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protocol version 1, or no version: base64 text, standard alphabet, padded.
    Base64,
    /// Protocol version 2 and above: the bytes themselves.
    Raw,
}

impl Encoding {
    /// Returns the encoding of a `protocolVersion`.
    ///
    /// ```
    /// use sailor::protocol::Encoding;
    ///
    /// assert_eq!(Encoding::of(1), Encoding::Base64);
    /// assert_eq!(Encoding::of(2), Encoding::Raw);
    /// ```
    #[must_use]
    pub fn of(protocol_version: i64) -> Self {
        if protocol_version < 2 {
            Self::Base64
        } else {
            Self::Raw
        }
    }

    /// Returns the length of the message body for a payload of `plain` bytes.
    pub(crate) fn encrypted_len(self, plain: usize) -> usize {
        // PKCS#7 adds 1 to 16 bytes.
        let ciphertext = (plain / 16 + 1) * 16;
        match self {
            Self::Base64 => ciphertext.div_ceil(3) * 4,
            Self::Raw => ciphertext,
        }
    }

    /// Returns the length of the text that an error event contains for a message body of `len` bytes.
    pub(crate) fn text_len(self, len: usize) -> usize {
        match self {
            Self::Base64 => len,
            Self::Raw => len.div_ceil(3) * 4,
        }
    }
}

/// A payload cannot be decrypted, or a cipher cannot be created.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CipherError {
    /// The initialisation vector's text is not 16 bytes long.
    #[error("the initialisation vector must be 16 bytes of text, but it has {0}")]
    VectorLength(usize),
    /// The body is not base64, although its protocol version requires it.
    #[error("the payload is not base64 text")]
    NotBase64,
    /// The ciphertext is empty, has an incomplete block, or has wrong padding.
    #[error(
        "the payload cannot be decrypted with this platform's password ({0} bytes of ciphertext): compare \
         ELASTICIO_MESSAGE_CRYPTO_PASSWORD and ELASTICIO_MESSAGE_CRYPTO_IV with those of the step before"
    )]
    Undecipherable(usize),
}

impl CipherError {
    /// Returns the code of this error, for log lines and error events.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::VectorLength(_) => codes::INVALID_SETTINGS,
            Self::NotBase64 | Self::Undecipherable(_) => codes::DECRYPTION_FAILED,
        }
    }
}

/// Encrypts and decrypts payloads. Its `Debug` output does not contain the key.
#[derive(Clone)]
pub struct Cipher {
    key: [u8; 32],
    iv: [u8; 16],
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher([redacted])")
    }
}

impl Cipher {
    /// Creates a cipher from `MESSAGE_CRYPTO_PASSWORD` and `MESSAGE_CRYPTO_IV`.
    ///
    /// # Errors
    /// Returns [`CipherError::VectorLength`] if `iv` is not 16 bytes.
    ///
    /// ```
    /// use sailor::protocol::{Cipher, Encoding};
    /// let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols")?;
    /// let body = cipher.encrypt(b"{}".to_vec(), Encoding::Base64);
    /// assert_eq!(body, b"YnVkti0G1RRGkx6HZNFCcg==");
    /// assert_eq!(cipher.decrypt(&body, Encoding::Base64)?, b"{}");
    /// # Ok::<(), sailor::protocol::CipherError>(())
    /// ```
    pub fn new(password: &str, iv: &str) -> Result<Self, CipherError> {
        let iv = iv
            .as_bytes()
            .try_into()
            .map_err(|_| CipherError::VectorLength(iv.len()))?;
        Ok(Self {
            key: Sha256::digest(password.as_bytes()).into(),
            iv,
        })
    }

    /// Encrypts `plain`. Reuses its buffer if that has room for 16 bytes more.
    #[must_use]
    pub fn encrypt(&self, plain: Vec<u8>, encoding: Encoding) -> Vec<u8> {
        let mut buffer = plain;
        let len = buffer.len();
        buffer.resize(len + 16 - len % 16, 0);
        cbc::Encryptor::<aes::Aes256>::new(&self.key.into(), &self.iv.into())
            .encrypt_padded::<Pkcs7>(&mut buffer, len)
            .expect("the buffer has room for the padding");
        match encoding {
            Encoding::Raw => buffer,
            Encoding::Base64 => base64_simd::STANDARD.encode_type(&buffer),
        }
    }

    /// Decrypts `body`. Base64 may contain white space, use the URL-safe alphabet and lack padding, as in Node.
    ///
    /// # Errors
    /// Returns [`CipherError::NotBase64`] or [`CipherError::Undecipherable`]. Neither contains any of the payload.
    ///
    /// ```
    /// use sailor::protocol::{Cipher, CipherError, Encoding};
    ///
    /// let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols")?;
    /// let payload = cipher.encrypt(b"{}".to_vec(), Encoding::Raw);
    /// assert_eq!(cipher.decrypt(&payload, Encoding::Raw)?, b"{}");
    ///
    /// let other = Cipher::new("another password", "iv=any16_symbols")?;
    /// assert_eq!(other.decrypt(&payload, Encoding::Raw), Err(CipherError::Undecipherable(16)));
    /// # Ok::<(), CipherError>(())
    /// ```
    pub fn decrypt(&self, body: &[u8], encoding: Encoding) -> Result<Vec<u8>, CipherError> {
        let mut buffer = match encoding {
            Encoding::Raw => body.to_vec(),
            Encoding::Base64 => decode_base64(body)?,
        };
        let len = self
            .decrypt_in_place(&mut buffer)
            .ok_or(CipherError::Undecipherable(body.len()))?;
        buffer.truncate(len);
        Ok(buffer)
    }

    /// Decrypts a body without a second copy of it. Encrypting the payload again makes the same body, because key and vector
    /// never change; if it would not, because the body is unusual base64, the body is returned too.
    ///
    /// # Errors
    /// Returns the same errors as [`decrypt`](Self::decrypt), with the body as it was.
    pub(crate) fn open(
        &self,
        body: Bytes,
        encoding: Encoding,
    ) -> Result<(Bytes, Option<Bytes>), (CipherError, Bytes)> {
        let undecipherable = CipherError::Undecipherable(body.len());
        match encoding {
            Encoding::Raw => {
                let mut buffer = body
                    .try_into_mut()
                    .unwrap_or_else(|shared| BytesMut::from(&*shared));
                match self.decrypt_in_place(&mut buffer) {
                    Some(len) => {
                        buffer.truncate(len);
                        Ok((buffer.freeze(), None))
                    }
                    None => Err((undecipherable, buffer.freeze())),
                }
            }
            Encoding::Base64 => {
                let is_usual = is_canonical_base64(&body);
                match self.decrypt(&body, encoding) {
                    Ok(plain) => Ok((plain.into(), (!is_usual).then_some(body))),
                    Err(error) => Err((error, body)),
                }
            }
        }
    }

    /// Decrypts the whole blocks of `ciphertext`, whatever its padding. It is for a report about a body that cannot be
    /// decrypted: with another password every block is noise, with another vector only the first one is.
    pub(crate) fn decrypt_blocks(&self, ciphertext: &[u8]) -> Vec<u8> {
        let mut blocks = ciphertext[..ciphertext.len() / 16 * 16].to_vec();
        cbc::Decryptor::<aes::Aes256>::new(&self.key.into(), &self.iv.into())
            .decrypt_padded::<NoPadding>(&mut blocks)
            .expect("whole blocks need no padding");
        blocks
    }

    /// Returns the length of the payload, or `None` if the body cannot be decrypted. Then it is as it was.
    fn decrypt_in_place(&self, body: &mut [u8]) -> Option<usize> {
        let (key, iv) = (self.key.into(), self.iv.into());
        let decrypted = cbc::Decryptor::<aes::Aes256>::new(&key, &iv)
            .decrypt_padded::<Pkcs7>(body)
            .map(<[u8]>::len);
        let len = body.len();
        if decrypted.is_err() && len.is_multiple_of(16) {
            cbc::Encryptor::<aes::Aes256>::new(&key, &iv)
                .encrypt_padded::<NoPadding>(body, len)
                .expect("whole blocks need no padding");
        }
        decrypted.ok()
    }
}

/// Returns whether encoding the decoded bytes makes the same text. Only the padding at the end can differ.
fn is_canonical_base64(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<4>() else {
        return text.is_empty();
    };
    base64_simd::STANDARD.check(text).is_ok()
        && base64_simd::STANDARD
            .decode_to_vec(last)
            .is_ok_and(|end| base64_simd::STANDARD.encode_to_string(end).as_bytes() == last)
}

/// Decodes base64 as [`Cipher::decrypt`] does.
pub(crate) fn decode_base64(text: &[u8]) -> Result<Vec<u8>, CipherError> {
    if let Ok(bytes) = base64_simd::STANDARD.decode_to_vec(text) {
        return Ok(bytes);
    }
    let mut cleaned = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'-' => cleaned.push(b'+'),
            b'_' => cleaned.push(b'/'),
            b'=' => break,
            byte if byte.is_ascii_whitespace() => {}
            byte => cleaned.push(byte),
        }
    }
    if cleaned.len() % 4 == 1 {
        return Err(CipherError::NotBase64);
    }
    base64_simd::forgiving_decode_to_vec(&cleaned).map_err(|_| CipherError::NotBase64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bodies as they are sent: encrypted, damaged, and base64 that is written in other ways.
    fn bodies() -> impl Strategy<Value = (Vec<u8>, Encoding)> {
        let encoding = prop_oneof![Just(Encoding::Raw), Just(Encoding::Base64)];
        let plain = prop::collection::vec(any::<u8>(), 0..100);
        (plain, encoding, 0..6_usize, any::<prop::sample::Index>()).prop_map(
            |(plain, encoding, change, index)| {
                let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap();
                let mut body = cipher.encrypt(plain, encoding);
                let at = index.index(body.len());
                match change {
                    0 => body[at] ^= 1,
                    1 => body.truncate(at),
                    2 => body.insert(at, b'\n'),
                    3 => while body.pop_if(|byte| *byte == b'=').is_some() {},
                    _ => {}
                }
                (body, encoding)
            },
        )
    }

    proptest! {
        #[test]
        fn an_opened_body_can_be_made_again((body, encoding) in bodies()) {
            let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap();
            let decrypted = cipher.decrypt(&body, encoding);
            match cipher.open(body.clone().into(), encoding) {
                Ok((plain, original)) => {
                    let again = original.unwrap_or_else(|| cipher.encrypt(plain.to_vec(), encoding).into());
                    prop_assert_eq!(again, body);
                    prop_assert_eq!(decrypted, Ok(plain.to_vec()));
                }
                Err((error, original)) => {
                    prop_assert_eq!(original, body);
                    prop_assert_eq!(decrypted, Err(error));
                }
            }
        }

        #[test]
        fn lengths_are_known_before_encryption(plain in prop::collection::vec(any::<u8>(), 0..4096)) {
            let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap();
            for encoding in [Encoding::Raw, Encoding::Base64] {
                prop_assert_eq!(cipher.encrypt(plain.clone(), encoding).len(), encoding.encrypted_len(plain.len()));
            }
            prop_assert_eq!(Encoding::Raw.text_len(plain.len()), base64_simd::STANDARD.encode_to_string(&plain).len());
        }
    }
}
