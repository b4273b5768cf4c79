//! Decrypts a captured body. If that fails, it finds out why: the wrong protocol, a missing end, another password or another
//! vector.

use super::report::Problem;
use crate::protocol::{Cipher, Encoding, EnvelopeError, Json, cipher::decode_base64};
use bytes::Bytes;

/// The length of a block of the cipher.
const BLOCK: usize = 16;

const PASSWORD: &str = "ELASTICIO_MESSAGE_CRYPTO_PASSWORD";
const VECTOR: &str = "ELASTICIO_MESSAGE_CRYPTO_IV";

/// A body that was decrypted.
pub(super) struct Opened {
    pub(super) json: Json,
    pub(super) encoding: Encoding,
}

/// Returns the encoding that a body has by its looks. Of raw bytes, one block in billions has only characters of base64.
pub(super) fn encoding_of(body: &[u8]) -> Encoding {
    let is_base64 = |byte: &u8| {
        byte.is_ascii_alphanumeric() || byte.is_ascii_whitespace() || b"+/-_=".contains(byte)
    };
    if body.iter().all(is_base64) {
        Encoding::Base64
    } else {
        Encoding::Raw
    }
}

/// Decrypts a body.
pub(super) fn open(body: &[u8], encoding: Encoding, cipher: &Cipher) -> Result<Opened, Problem> {
    let opened = open_as(body, encoding, cipher);
    opened.map_err(|problem| {
        // A body that can be read in the other way was sent, or captured, with the wrong version.
        let other = match encoding {
            Encoding::Base64 => Encoding::Raw,
            Encoding::Raw => Encoding::Base64,
        };
        match open_as(body, other, cipher) {
            Ok(_) => Problem::new(
                format!(
                    "the body is not of protocol version {}, but it is a body of protocol version {}",
                    version(encoding),
                    version(other)
                ),
                format!(
                    "name the version with --protocol {}; if it comes from a queue, its sender must write the header \
                     protocolVersion",
                    version(other)
                ),
            ),
            Err(_) => problem,
        }
    })
}

/// The protocol version of an encoding.
pub(super) fn version(encoding: Encoding) -> i64 {
    match encoding {
        Encoding::Base64 => 1,
        Encoding::Raw => 2,
    }
}

fn open_as(body: &[u8], encoding: Encoding, cipher: &Cipher) -> Result<Opened, Problem> {
    if body.is_empty() {
        return Err(Problem::new(
            "the body is empty",
            "capture it again; if the message itself has no body, its sender is at fault",
        ));
    }
    let ciphertext = match encoding {
        Encoding::Raw => body.to_vec(),
        Encoding::Base64 => decode_base64(body).map_err(|_| not_base64(body))?,
    };
    if ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
        return Err(Problem::new(
            format!(
                "the body has {} bytes of ciphertext, which are no whole blocks of {BLOCK}: a part of it is missing",
                ciphertext.len()
            ),
            "capture the whole body, without anything around it",
        ));
    }
    let plain = cipher
        .decrypt(&ciphertext, Encoding::Raw)
        .map_err(|_| undecipherable(&cipher.decrypt_blocks(&ciphertext)))?;
    let json = Json::from_text(Bytes::from(plain))
        .map_err(|error| not_json(&error, &cipher.decrypt_blocks(&ciphertext)))?;
    Ok(Opened { json, encoding })
}

fn not_base64(body: &[u8]) -> Problem {
    let is_base64 = |byte: &u8| encoding_of(&[*byte]) == Encoding::Base64;
    let place = body.iter().position(|byte| !is_base64(byte));
    let what = match place {
        Some(place) => format!("byte {} is none of its characters", place + 1),
        None => "its length is none of base64 text, so a part of it is missing".to_owned(),
    };
    Problem::new(
        format!("the body is not base64 text, as protocol version 1 requires: {what}"),
        "capture the whole body without quotes or anything around it, or give --protocol 2 for raw bytes",
    )
}

/// Says why blocks do not end with a padding. With another password all of them are noise.
fn undecipherable(blocks: &[u8]) -> Problem {
    if is_text(blocks) || is_text(after_first(blocks)) {
        Problem::new(
            "the password fits, but the end of the body is missing or was changed",
            "capture the whole body",
        )
    } else {
        Problem::new(
            format!("the body cannot be decrypted with the password in {PASSWORD}"),
            format!(
                "set {PASSWORD} and {VECTOR} as they are for the step that has sent or received the body; if they are \
                 right, the body is not encrypted by the platform, or was changed"
            ),
        )
    }
}

/// Says why blocks that end with a padding are not JSON. One body in 256 has a padding by accident.
fn not_json(error: &EnvelopeError, blocks: &[u8]) -> Problem {
    let rest = after_first(blocks);
    let is_in_first =
        matches!(error, EnvelopeError::NotJson { line: 1, column } if *column <= BLOCK + 1);
    if !is_text(blocks) && !is_text(rest) {
        undecipherable(blocks)
    } else if is_in_first && !rest.is_empty() {
        Problem::new(
            "the password fits, but the first 16 bytes of the body are not JSON: the initialisation vector does not fit, \
             or the sender has written no JSON",
            format!("set {VECTOR} to the vector of the platform that has sent the body"),
        )
    } else {
        Problem::new(
            format!("the body is decrypted, but {error}"),
            "its sender must write JSON",
        )
    }
}

/// The blocks that do not depend on the vector.
fn after_first(blocks: &[u8]) -> &[u8] {
    blocks.get(BLOCK..).unwrap_or_default()
}

/// Whether bytes are text, except for a character that is cut off at the end, and for the padding there.
fn is_text(blocks: &[u8]) -> bool {
    let padding = blocks.last().map_or(0, |last| usize::from(*last));
    let end = match padding {
        1..=BLOCK => blocks.len().saturating_sub(padding),
        _ => blocks.len(),
    };
    let text = match std::str::from_utf8(&blocks[..end]) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&blocks[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR_TEXT: &str = "iv=any16_symbols";
    const PLAIN: &str =
        r#"{"id":"88999c40-a2f4-404e","headers":{},"body":{"name":"größe €","n":25}}"#;

    fn cipher() -> Cipher {
        Cipher::new("testCryptoPassword", VECTOR_TEXT).unwrap()
    }

    fn problem(body: &[u8], encoding: Encoding, cipher: &Cipher) -> Problem {
        match open(body, encoding, cipher) {
            Ok(_) => panic!("it can be read"),
            Err(problem) => problem,
        }
    }

    #[test]
    fn a_body_is_read_in_both_protocols() {
        for encoding in [Encoding::Base64, Encoding::Raw] {
            let body = cipher().encrypt(PLAIN.into(), encoding);
            assert_eq!(encoding_of(&body), encoding);
            let opened =
                open(&body, encoding, &cipher()).unwrap_or_else(|p| panic!("{}", p.problem));
            assert_eq!(opened.json.as_bytes(), PLAIN.as_bytes());
        }
    }

    #[test]
    fn each_cause_of_an_unreadable_body_is_told() {
        let base64 = cipher().encrypt(PLAIN.into(), Encoding::Base64);
        let raw = cipher().encrypt(PLAIN.into(), Encoding::Raw);
        let other_password = Cipher::new("another", VECTOR_TEXT).unwrap();
        let other_vector = Cipher::new("testCryptoPassword", "another_vector_!").unwrap();
        let quoted = [b"\"", &base64[..], b"\""].concat();
        let text = cipher().encrypt(
            b"no JSON at all, although it is text".to_vec(),
            Encoding::Raw,
        );
        let unclosed = PLAIN[..PLAIN.len() - 1].into();
        let unclosed = cipher().encrypt(unclosed, Encoding::Raw);
        for (body, encoding, cipher, expected) in [
            (&base64[..], Encoding::Base64, &other_password, PASSWORD),
            (&raw, Encoding::Raw, &other_password, PASSWORD),
            (&raw, Encoding::Raw, &other_vector, VECTOR),
            (&quoted, Encoding::Base64, &cipher(), "byte 1 "),
            (
                &base64[..41],
                Encoding::Base64,
                &cipher(),
                "a part of it is missing",
            ),
            (
                &base64[..40],
                Encoding::Base64,
                &cipher(),
                "no whole blocks",
            ),
            (&raw[..30], Encoding::Raw, &cipher(), "no whole blocks"),
            (&raw[..48], Encoding::Raw, &cipher(), "the end of the body"),
            (&raw, Encoding::Base64, &cipher(), "--protocol 2"),
            (&base64, Encoding::Raw, &cipher(), "--protocol 1"),
            (b"", Encoding::Raw, &cipher(), "empty"),
            (&text, Encoding::Raw, &cipher(), "no JSON"),
            (&unclosed, Encoding::Raw, &cipher(), "must write JSON"),
        ] {
            let Problem { problem, remedy } = problem(body, encoding, cipher);
            let told = format!("{problem}; {remedy}");
            assert!(told.contains(expected), "{expected}: {told}");
            assert!(
                !told.contains("testCrypto") && !told.contains(VECTOR_TEXT),
                "{told}"
            );
        }
    }
}
