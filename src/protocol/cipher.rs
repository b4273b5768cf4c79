//! Encryption of message payloads: AES-256-CBC with one key and one initialisation vector for the whole platform.
//!
//! The key is the SHA-256 of the password's UTF-8 bytes, the vector is the 16 bytes of its text, padding is PKCS#7
//! (wire-contract: Encryption). There is no authentication: a changed ciphertext shows only by its padding or its JSON.

use aes::cipher::{BlockModeDecrypt, BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use sha2::{Digest, Sha256};

/// How ciphertext stands in a message body (wire-contract: Encodings by protocol version).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Protocol version 1, or no version: base64 text, standard alphabet, padded.
    Base64,
    /// Protocol version 2 and above: the bytes as they are.
    Raw,
}

impl Encoding {
    /// The encoding that a `protocolVersion` stands for.
    #[must_use]
    pub fn of(protocol_version: i64) -> Self {
        if protocol_version < 2 {
            Self::Base64
        } else {
            Self::Raw
        }
    }

    /// How long a payload of `plain` bytes is once it is encrypted and stands in a message body.
    pub(crate) fn encrypted_len(self, plain: usize) -> usize {
        // At least one byte of padding, up to whole blocks.
        let sealed = (plain / 16 + 1) * 16;
        match self {
            Self::Base64 => sealed.div_ceil(3) * 4,
            Self::Raw => sealed,
        }
    }

    /// How long the text is that a message body of `len` bytes becomes in an error event.
    pub(crate) fn text_len(self, len: usize) -> usize {
        match self {
            Self::Base64 => len,
            Self::Raw => len.div_ceil(3) * 4,
        }
    }
}

/// Why a payload could not be decrypted, or a cipher not made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CipherError {
    /// The initialisation vector's text is not 16 bytes long.
    #[error("the initialisation vector must be 16 bytes of text, it is {0}")]
    VectorLength(usize),
    /// The body is not base64, though its protocol version says so.
    #[error("the payload is not base64 text")]
    NotBase64,
    /// The ciphertext is empty, not whole blocks, or its padding is wrong.
    #[error(
        "the payload cannot be decrypted with this platform's password: {0} bytes of ciphertext"
    )]
    Undecipherable(usize),
}

/// Encrypts and decrypts payloads. Cheap to share behind an `Arc`; prints nothing of its key.
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
    /// Makes the cipher of `MESSAGE_CRYPTO_PASSWORD` and `MESSAGE_CRYPTO_IV`.
    ///
    /// # Errors
    /// [`CipherError::VectorLength`] when `iv` is not 16 bytes.
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

    /// Encrypts `plain`, in its own buffer where it has room for the padding.
    #[must_use]
    pub fn encrypt(&self, plain: Vec<u8>, encoding: Encoding) -> Vec<u8> {
        let mut buffer = plain;
        let len = buffer.len();
        buffer.resize(len + 16 - len % 16, 0);
        cbc::Encryptor::<aes::Aes256>::new(&self.key.into(), &self.iv.into())
            .encrypt_padded::<Pkcs7>(&mut buffer, len)
            .expect("the buffer was made large enough for the padding");
        match encoding {
            Encoding::Raw => buffer,
            Encoding::Base64 => base64_simd::STANDARD.encode_type(&buffer),
        }
    }

    /// Decrypts `body`. Base64 is read as leniently as Node reads it: white space, the URL-safe alphabet and missing
    /// padding are accepted.
    ///
    /// # Errors
    /// [`CipherError::NotBase64`] or [`CipherError::Undecipherable`]; neither tells anything of the content.
    pub fn decrypt(&self, body: &[u8], encoding: Encoding) -> Result<Vec<u8>, CipherError> {
        let mut buffer = match encoding {
            Encoding::Raw => body.to_vec(),
            Encoding::Base64 => decode_base64(body)?,
        };
        let len = cbc::Decryptor::<aes::Aes256>::new(&self.key.into(), &self.iv.into())
            .decrypt_padded::<Pkcs7>(&mut buffer)
            .map_err(|_| CipherError::Undecipherable(body.len()))?
            .len();
        buffer.truncate(len);
        Ok(buffer)
    }
}

fn decode_base64(text: &[u8]) -> Result<Vec<u8>, CipherError> {
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

    proptest! {
        #[test]
        fn lengths_are_known_before_anything_is_made(plain in prop::collection::vec(any::<u8>(), 0..4096)) {
            let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap();
            for encoding in [Encoding::Raw, Encoding::Base64] {
                prop_assert_eq!(cipher.encrypt(plain.clone(), encoding).len(), encoding.encrypted_len(plain.len()));
            }
            prop_assert_eq!(Encoding::Raw.text_len(plain.len()), base64_simd::STANDARD.encode_to_string(&plain).len());
        }
    }
}
