//! The messages that every contestant gets.

use sailor::protocol::{Cipher, Encoding, Headers};
use serde_json::json;

/// `ELASTICIO_MESSAGE_CRYPTO_PASSWORD` of every contestant.
pub const CRYPTO_PASSWORD: &str = "testCryptoPassword";
/// `ELASTICIO_MESSAGE_CRYPTO_IV` of every contestant.
pub const CRYPTO_IV: &str = "iv=any16_symbols";

/// The cipher of these two.
///
/// # Panics
/// Never: the initialization vector has 16 bytes.
#[must_use]
pub fn cipher() -> Cipher {
    Cipher::new(CRYPTO_PASSWORD, CRYPTO_IV).expect("the initialization vector has 16 bytes")
}

/// Message `number` with a body of about `bytes` bytes, encrypted for `protocol`.
#[must_use]
pub fn message(cipher: &Cipher, number: usize, bytes: usize, protocol: i64) -> Vec<u8> {
    let message = json!({
        "id": format!("message-{number}"),
        "headers": {},
        "attachments": {},
        "body": { "number": number, "text": "x".repeat(bytes) },
    });
    cipher.encrypt(message.to_string().into_bytes(), Encoding::of(protocol))
}

/// The header table of message `number`, as an earlier step writes it.
#[must_use]
pub fn headers(number: usize, protocol: i64) -> Headers {
    let members = json!({
        "execId": "execution",
        "taskId": "flow",
        "userId": "user",
        "stepId": "step_1",
        "threadId": format!("thread-{number}"),
        "messageId": format!("message-{number}"),
        "protocolVersion": protocol,
    });
    match members {
        serde_json::Value::Object(headers) => headers,
        _ => Headers::new(),
    }
}
