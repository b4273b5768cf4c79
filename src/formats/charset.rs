//! Bytes as text, in the character set that they are in.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::borrow::Cow;

/// Decodes a text. Its encoding is, in this order: that of a byte order mark, that of the `charset` parameter of
/// `content_type`, and UTF-8. The byte order mark is removed.
///
/// Returns `None` if the bytes are not text of that encoding, or if the character set is unknown.
///
/// ```
/// use sailor::http::decode_text;
///
/// let text = decode_text(b"M\xfcller", Some("text/csv; charset=iso-8859-1"));
/// assert_eq!(text.as_deref(), Some("Müller"));
/// assert_eq!(decode_text(b"M\xfcller", None), None);
/// ```
#[must_use]
pub fn decode_text<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Option<Cow<'a, str>> {
    let (encoding, bytes) = match (Encoding::for_bom(bytes), charset(content_type)) {
        (Some((encoding, length)), _) => (encoding, &bytes[length..]),
        (None, Some(label)) => (Encoding::for_label(label.as_bytes())?, bytes),
        (None, None) => (UTF_8, bytes),
    };
    encoding.decode_without_bom_handling_and_without_replacement(bytes)
}

/// Decodes a text as [`decode_text`] does, and any other bytes as well as possible.
///
/// Without a usable character set, bytes are UTF-8 if they have one character of it outside of ASCII, and Windows-1252,
/// which includes Latin-1, otherwise. What fits neither becomes U+FFFD.
///
/// ```
/// use sailor::http::decode_text_lossy;
///
/// assert_eq!(decode_text_lossy(b"M\xfcller", None), "Müller");
/// assert_eq!(decode_text_lossy(b"M\xc3\xbcller \xff", None), "Müller \u{fffd}");
/// ```
#[must_use]
pub fn decode_text_lossy<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    if let Some(text) = decode_text(bytes, content_type) {
        return text;
    }
    let declared = charset(content_type).and_then(|label| Encoding::for_label(label.as_bytes()));
    let encoding = declared.unwrap_or_else(|| undeclared(bytes));
    encoding.decode(bytes).0
}

/// Decodes a JSON text as [`decode_text_lossy`] does, and recognises UTF-16 by its zeros: a JSON text begins with an ASCII
/// character (RFC 4627, section 3).
pub(super) fn decode_json<'a>(bytes: &'a [u8], content_type: Option<&str>) -> Cow<'a, str> {
    let is_json_start = |unit: u8| unit.is_ascii_graphic() || unit.is_ascii_whitespace();
    let encoding = match bytes {
        [0, unit, ..] if is_json_start(*unit) => UTF_16BE,
        [unit, 0, ..] if is_json_start(*unit) => UTF_16LE,
        _ => return decode_text_lossy(bytes, content_type),
    };
    encoding.decode(bytes).0
}

/// Returns whether a content type declares a character set whose bytes can differ from those of UTF-8.
pub(super) fn is_other_than_utf8(content_type: Option<&str>) -> bool {
    let encoding = charset(content_type).and_then(|label| Encoding::for_label(label.as_bytes()));
    encoding.is_some_and(|encoding| encoding != UTF_8)
}

/// The encoding of bytes that are not valid UTF-8.
fn undeclared(bytes: &[u8]) -> &'static Encoding {
    let has_utf8 = bytes.utf8_chunks().any(|chunk| !chunk.valid().is_ascii());
    if has_utf8 { UTF_8 } else { WINDOWS_1252 }
}

/// The `charset` parameter of a content type.
fn charset(content_type: Option<&str>) -> Option<&str> {
    let parameters = content_type?.split(';').skip(1);
    let mut parameters = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
    let label = value.trim().trim_matches(['"', '\'']);
    // Text that is called ASCII and is not is mostly UTF-8.
    let is_ascii = label.eq_ignore_ascii_case("us-ascii") || label.eq_ignore_ascii_case("ascii");
    (!is_ascii).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATIN: Option<&str> = Some("text/csv; charset=iso-8859-1");

    #[test]
    fn texts_are_decoded_by_mark_then_charset_then_utf8() {
        for (bytes, content_type, text) in [
            (&b"M\xfcller"[..], LATIN, Some("Müller")),
            (b"M\xc3\xbcller", Some("text/plain"), Some("Müller")),
            (
                b"M\xc3\xbcller",
                Some("text/plain; charset=\"UTF-8\""),
                Some("Müller"),
            ),
            (
                b"M\xc3\xbc",
                Some("text/plain;a=b; CHARSET = 'utf-8' "),
                Some("Mü"),
            ),
            (b"\xef\xbb\xbfM\xc3\xbc", LATIN, Some("Mü")),
            (b"\xff\xfeM\0\xfc\0", None, Some("Mü")),
            (b"\xfe\xff\0M\0\xfc", None, Some("Mü")),
            (
                b"\x83n\x83\x8d\x81[",
                Some("text/plain; charset=Shift_JIS"),
                Some("ハロー"),
            ),
            (b"M\xfcller", Some("text/plain"), None),
            (b"M", Some("text/plain; charset=klingon"), None),
            (
                b"M\xc3\xbc",
                Some("text/plain; charset=US-ASCII"),
                Some("Mü"),
            ),
            (b"", None, Some("")),
        ] {
            assert_eq!(
                decode_text(bytes, content_type).as_deref(),
                text,
                "{content_type:?}"
            );
        }
    }

    #[test]
    fn bytes_of_no_charset_are_decoded_as_well_as_possible() {
        for (bytes, content_type, text) in [
            (&b"M\xfcller \x80"[..], None, "Müller €"),
            (b"M\xfcller", Some("text/plain; charset=klingon"), "Müller"),
            (
                b"M\xfcller",
                Some("text/plain; charset=utf-8"),
                "M\u{fffd}ller",
            ),
            (b"\xc3\xbc \xff", None, "ü \u{fffd}"),
            (b"\xff\xfeM\0\xfc", None, "M\u{fffd}"),
        ] {
            assert_eq!(decode_text_lossy(bytes, content_type), text, "{bytes:?}");
        }
    }

    #[test]
    fn decoding_never_panics() {
        proptest::proptest!(|(bytes: Vec<u8>, content_type in "[a-z/;= \"-]{0,24}(charset=[a-z0-9-]{0,12})?")| {
            let _ = decode_text(&bytes, Some(&content_type));
            let _ = decode_text_lossy(&bytes, Some(&content_type));
            decode_json(&bytes, Some(&content_type));
        });
    }
}
