//! The bytes on the wire, as pure functions: for anyone who wants to speak to the platform.
//!
//! Nothing here does I/O. The rules are those of the platform's existing sailors, so that messages, error reports and
//! header tables are the same byte for byte whichever sailor made them.

pub mod cipher;
pub mod envelope;
pub mod error_report;
pub mod headers;
mod text;

pub use cipher::{Cipher, CipherError, Encoding};
pub use envelope::{EnvelopeError, Json, Object};
pub use error_report::{ErrorReport, error_body};
pub use headers::{Headers, IncomingHeaders, StepIdentity};
pub(crate) use text::{read_value, without_lone_surrogates};

use std::borrow::Cow;

/// How much is shown of an id that came with a message: nobody bounds those.
pub(crate) const MAX_LOGGED_ID: usize = 1024;

/// The first `limit` bytes of a text or a little less, up to the end of a character; the rest becomes `…`.
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
    fn a_text_is_cut_between_characters_and_says_so() {
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
