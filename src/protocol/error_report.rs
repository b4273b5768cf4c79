//! The bodies of error events and error replies (wire-contract: Error event body).

use super::{Cipher, Encoding, truncated};
use crate::codes::Code;
use serde::Serialize;
use std::borrow::Cow;

/// An error in the three members that the platform shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorReport {
    /// The kind of error; `Error` if there is no better name.
    pub name: String,
    /// One sentence for the user.
    pub message: String,
    /// The code of the error if it has one, and the chain of causes; or `Not Available`.
    pub stack: String,
}

impl ErrorReport {
    /// Creates a report named `Error` without a stack.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            name: "Error".into(),
            message: message.into(),
            stack: "Not Available".into(),
        }
    }

    /// Creates the report of an error: the message contains its causes in one line, the stack has a line for each. Both are
    /// truncated to 64 KiB, because a broker limits the size of messages.
    ///
    /// ```
    /// use anyhow::Context as _;
    /// use sailor::protocol::ErrorReport;
    ///
    /// let error = "x".parse::<u32>().context("reading the amount").unwrap_err();
    /// let report = ErrorReport::from_error(&error);
    /// assert_eq!(report.message, "reading the amount: invalid digit found in string");
    /// assert!(report.stack.contains("Caused by"));
    /// ```
    #[must_use]
    pub fn from_error(error: &anyhow::Error) -> Self {
        Self {
            name: "Error".into(),
            message: shortened(format!("{error:#}")),
            stack: shortened(format!("Error: {error:?}")),
        }
    }

    /// Names the code of the error in the first line of the stack, as Node does for its own errors: `Error [code]: …`. The
    /// end of a long stack may be cut off.
    #[must_use]
    pub(crate) fn with_code(mut self, code: Code) -> Self {
        let stack = self.stack.strip_prefix("Error: ").unwrap_or(&self.message);
        self.stack = format!("{} [{code}]: {stack}", self.name);
        self
    }

    /// Encrypts the report as base64 text, in every protocol version. This is the body of an error reply.
    #[must_use]
    pub fn encrypt(&self, cipher: &Cipher) -> String {
        let plain = serde_json::to_vec(self).expect("texts can be written as JSON");
        String::from_utf8(cipher.encrypt(plain, Encoding::Base64)).expect("base64 is ASCII")
    }
}

fn shortened(text: String) -> String {
    const LIMIT: usize = 64 * 1024;
    if text.len() > LIMIT {
        truncated(&text, LIMIT).into_owned()
    } else {
        text
    }
}

/// Returns the body of an error event: the encrypted report, and the message that has caused the error, if any.
///
/// The body of that message is copied unchanged if it is base64 text, and as base64 if it is raw ciphertext.
///
/// ```
/// use sailor::protocol::{Cipher, Encoding, ErrorReport, error_body};
///
/// let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols")?;
/// let report = ErrorReport::new("no such order").encrypt(&cipher);
/// let body = error_body(&report, Some((b"YnVkti0G1RRGkx6HZNFCcg==", Encoding::Base64)));
/// assert_eq!(body, format!(r#"{{"error":"{report}","errorInput":"YnVkti0G1RRGkx6HZNFCcg=="}}"#).as_bytes());
/// # Ok::<(), sailor::protocol::CipherError>(())
/// ```
#[must_use]
pub fn error_body(encrypted_report: &str, input: Option<(&[u8], Encoding)>) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        error: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        error_input: Option<Cow<'a, str>>,
    }
    let error_input = input.map(|(body, encoding)| match encoding {
        Encoding::Base64 => String::from_utf8_lossy(body),
        Encoding::Raw => Cow::Owned(base64_simd::STANDARD.encode_to_string(body)),
    });
    let length = error_input.as_ref().map_or(0, |input| input.len());
    let mut text = Vec::with_capacity(encrypted_report.len() + length + 64);
    let body = Body {
        error: encrypted_report,
        error_input,
    };
    serde_json::to_writer(&mut text, &body).expect("texts can be written as JSON");
    text
}
