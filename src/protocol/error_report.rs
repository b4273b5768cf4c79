//! The bodies of error events and of error replies (wire-contract: Error event body).

use super::{Cipher, Encoding, truncated};
use serde::Serialize;

/// What went wrong, in the three members that the platform shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// The kind of error, `Error` when there is nothing better to say.
    pub name: String,
    /// One sentence for the user.
    pub message: String,
    /// The chain of causes, or `Not Available`.
    pub stack: String,
}

impl ErrorReport {
    /// An error named `Error` without a stack.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            name: "Error".into(),
            message: message.into(),
            stack: "Not Available".into(),
        }
    }

    /// The report of a chain of errors: all messages in one line, and each on its own in the stack. Texts beyond
    /// 64 KB are truncated: a broker takes only so much.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        Self {
            name: "Error".into(),
            message: cut_text(format!("{error:#}")),
            stack: cut_text(format!("Error: {error:?}")),
        }
    }

    /// The report, encrypted, in base64 whatever protocol version is spoken. This alone is the body of an error reply.
    #[must_use]
    pub fn encrypt(&self, cipher: &Cipher) -> String {
        let plain = serde_json::to_vec(self).expect("three strings are JSON");
        String::from_utf8(cipher.encrypt(plain, Encoding::Base64)).expect("base64 is ASCII")
    }
}

fn cut_text(text: String) -> String {
    const LIMIT: usize = 64 * 1024;
    if text.len() > LIMIT {
        truncated(&text, LIMIT).into_owned()
    } else {
        text
    }
}

/// The body of an error event: the sealed report, and the message that caused it where there was one.
///
/// The input goes out as it came in: base64 text as it is, raw ciphertext as base64.
#[must_use]
pub fn error_body(sealed_report: &str, input: Option<(&[u8], Encoding)>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_input: Option<String>,
    }
    let error_input = input.map(|(body, encoding)| match encoding {
        Encoding::Base64 => String::from_utf8_lossy(body).into_owned(),
        Encoding::Raw => base64_simd::STANDARD.encode_to_string(body),
    });
    serde_json::to_vec(&Body {
        error: sealed_report,
        error_input,
    })
    .expect("strings are JSON")
}
