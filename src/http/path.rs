//! Texts as parts of a path.

use crate::clients::http;

/// A text that cannot be one segment of a path: it is empty, `.` or `..`.
///
/// ```
/// let error = sailor::http::path_segment("..").unwrap_err();
/// assert_eq!(error.to_string(), "\"..\" cannot be part of a path");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be part of a path")]
pub struct InvalidSegment(String);

/// Encodes a text as one segment of a path (RFC 3986, section 3.3). All characters except letters, digits and `-._~`
/// are percent-encoded.
///
/// ```
/// use sailor::http::path_segment;
///
/// assert_eq!(path_segment("AAMk/+=")?, "AAMk%2F%2B%3D");
/// assert!(path_segment("..").is_err());
/// # Ok::<(), sailor::http::InvalidSegment>(())
/// ```
///
/// # Errors
/// Returns an error for an empty text, `.` and `..`: no encoding preserves them. For example, `/messages/..` becomes
/// `/`.
pub fn path_segment(text: &str) -> Result<String, InvalidSegment> {
    if matches!(text, "" | "." | "..") {
        Err(InvalidSegment(text.to_owned()))
    } else {
        Ok(http::segment(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_only_unreserved_characters() {
        for (text, segment) in [
            ("a-b_c.d~1", "a-b_c.d~1"),
            ("a/b?c#d%", "a%2Fb%3Fc%23d%25"),
            ("...", "..."),
            ("ü ", "%C3%BC%20"),
        ] {
            assert_eq!(path_segment(text).unwrap(), segment);
        }
        for text in ["", ".", ".."] {
            let error = path_segment(text).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }
}
