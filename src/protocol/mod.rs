//! The bytes on the wire: encryption, the message envelope, headers and error reports, for any program that talks to
//! the platform. It does not depend on the broker, the configuration or modules, and does no I/O.
//!
//! The rules are those of the platform's other sailors, so that every sailor writes the same bytes.

pub mod cipher;
pub mod envelope;
pub mod error_report;
pub mod headers;
mod json_text;
mod outgoing;
mod value_size;

pub use cipher::{Cipher, CipherError, Encoding};
pub use envelope::{EnvelopeError, Json, Object};
pub use error_report::{ErrorReport, error_body};
pub use headers::{Headers, IncomingHeaders, StepIdentity};
pub(crate) use json_text::{read_value, without_lone_surrogates};
pub(crate) use outgoing::Outgoing;

use std::borrow::Cow;

/// How many bytes of an id are logged. The ids of incoming messages can have any length.
pub(crate) const MAX_LOGGED_ID: usize = 1024;

/// Shortens a text to at most `limit` bytes of whole characters, and a `…` for the rest.
pub(crate) fn truncated(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() > limit {
        format!("{}…", &text[..text.floor_char_boundary(limit)]).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_truncated_between_characters() {
        for (text, limit, expected) in [
            ("short", 5, "short"),
            ("longer", 5, "longe…"),
            ("äöü", 3, "ä…"),
            ("€", 2, "…"),
            ("€", 3, "€"),
            ("", 0, ""),
        ] {
            assert_eq!(truncated(text, limit), expected, "{text} {limit}");
        }
    }
}
