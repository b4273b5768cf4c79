//! The `Content-Disposition` header (RFC 6266), which names files.

use super::charset::decode_text_lossy;
use encoding_rs::Encoding;
use percent_encoding::percent_decode;
use reqwest::header::HeaderValue;

/// The parameters of the header (RFC 6266, RFC 2183), and `name` as in forms.
const PARAMETERS: [&str; 8] = [
    "filename",
    "filename*",
    "name",
    "name*",
    "size",
    "creation-date",
    "modification-date",
    "read-date",
];

/// Returns the name of the file: `filename*` (RFC 8187) if it can be decoded, and otherwise `filename`.
///
/// Bytes outside of ASCII in `filename` are UTF-8, or otherwise Latin-1. Encoded words (RFC 2047), which belong into mail,
/// are decoded as well. The name has no path: a server could name a file above the folder of the receiver.
///
/// ```
/// use reqwest::header::HeaderValue;
/// use sailor::http::file_name;
///
/// let header = HeaderValue::from_bytes(b"attachment; filename=\"M\xfcller.pdf\"").unwrap();
/// assert_eq!(file_name(&header).as_deref(), Some("Müller.pdf"));
/// ```
#[must_use]
pub fn file_name(disposition: &HeaderValue) -> Option<String> {
    let parameters = parameters(disposition.as_bytes());
    let find = |wanted: &str| {
        let found = parameters
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| &value[..])
    };
    let name = find("filename*").and_then(extended).or_else(|| {
        let name = decode_text_lossy(find("filename")?, None).into_owned();
        Some(decode_words(&name).unwrap_or(name))
    })?;
    last_segment(&name)
}

/// The name after its path, without control characters; `None` if nothing is left.
fn last_segment(name: &str) -> Option<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    let name = name.trim();
    (!matches!(name, "" | "." | "..")).then(|| name.to_owned())
}

/// The parameters of a header with their unquoted values.
fn parameters(header: &[u8]) -> Vec<(String, Vec<u8>)> {
    split_parameters(header)
        .into_iter()
        .skip(1)
        .filter_map(|part| {
            let equals = part.iter().position(|byte| *byte == b'=')?;
            let name = String::from_utf8_lossy(part[..equals].trim_ascii()).into_owned();
            Some((name, unquoted(part[equals + 1..].trim_ascii())))
        })
        .collect()
}

/// The header between its semicolons outside of quotes.
fn split_parameters(header: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let (mut parts, mut start) = (vec![], 0);
    for (at, byte) in header.iter().enumerate() {
        let is_quote = *byte == b'"' && (!escaped || is_end_of_value(&header[at + 1..]));
        quoted ^= is_quote;
        escaped = quoted && *byte == b'\\' && !escaped;
        if *byte == b';' && !quoted {
            parts.push(&header[start..at]);
            start = at + 1;
        }
    }
    parts.push(&header[start..]);
    parts
}

/// Whether a quote before this ends a value, although a backslash is before it: some servers send the path of a folder, and do
/// not double its backslashes. Then the header ends here, or another parameter follows.
fn is_end_of_value(rest: &[u8]) -> bool {
    let rest = rest.trim_ascii_start();
    let Some(next) = rest.strip_prefix(b";") else {
        return rest.is_empty();
    };
    let next = next.trim_ascii_start();
    let length = next.iter().position(|byte| *byte == b'=');
    length.is_some_and(|length| {
        let name = next[..length].trim_ascii();
        PARAMETERS
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    })
}

/// A value without its quotes, and without the backslashes before quotes. Other backslashes are those of paths.
fn unquoted(value: &[u8]) -> Vec<u8> {
    let Some(inner) = value.strip_prefix(b"\"") else {
        return value.to_vec();
    };
    let inner = inner.strip_suffix(b"\"").unwrap_or(inner);
    let mut unquoted = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().peekable();
    while let Some(byte) = bytes.next() {
        match bytes.peek() {
            Some(next @ (b'"' | b'\\')) if *byte == b'\\' => {
                unquoted.push(**next);
                bytes.next();
            }
            _ => unquoted.push(*byte),
        }
    }
    unquoted
}

/// A value such as `UTF-8''%C3%A4.csv`.
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _, text) = (parts.next()?, parts.next()?, parts.next()?);
    let text: Vec<u8> = percent_decode(text).collect();
    let text =
        Encoding::for_label(charset)?.decode_without_bom_handling_and_without_replacement(&text)?;
    Some(text.into_owned()).filter(|name| !name.is_empty())
}

/// Decodes the encoded words of a text, such as `=?UTF-8?Q?M=C3=BCller?=`. White space between two of them is dropped.
/// Returns `None` if there are none.
fn decode_words(text: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut rest = text;
    let mut is_after_word = false;
    while let Some((before, word, after)) = next_word(rest) {
        if !(is_after_word && before.trim().is_empty()) {
            decoded.push_str(before);
        }
        decoded.push_str(&word);
        rest = after;
        is_after_word = true;
    }
    is_after_word.then(|| decoded + rest)
}

/// The text before the next encoded word, the decoded word, and the text after it.
fn next_word(text: &str) -> Option<(&str, String, &str)> {
    text.match_indices("=?").find_map(|(start, _)| {
        let mut parts = text[start + 2..].splitn(3, '?');
        let (charset, kind, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let (content, after) = rest.split_once("?=")?;
        let bytes = match kind {
            "Q" | "q" => percent_decode(
                content
                    .replace('%', "%25")
                    .replace('=', "%")
                    .replace('_', " ")
                    .as_bytes(),
            )
            .collect(),
            "B" | "b" => base64_simd::forgiving_decode_to_vec(content.as_bytes()).ok()?,
            _ => return None,
        };
        // RFC 2231 allows a language after the character set.
        let charset = charset.split('*').next().unwrap_or_default();
        let word = Encoding::for_label(charset.as_bytes())?
            .decode(&bytes)
            .0
            .into_owned();
        Some((&text[..start], word, after))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_from_content_disposition() {
        for (disposition, name) in [
            (&b"attachment; filename=\"a;b.csv\""[..], Some("a;b.csv")),
            (b"attachment; FileName=a.csv", Some("a.csv")),
            (b"attachment; filename = a b.csv ; size=3", Some("a b.csv")),
            (
                b"attachment; filename=\"x\"; filename*=UTF-8''%C3%A4%20b.csv",
                Some("ä b.csv"),
            ),
            (
                b"attachment; filename*=iso-8859-1'de'%E4.csv",
                Some("ä.csv"),
            ),
            (b"attachment; filename*=utf-16x''a; filename=b", Some("b")),
            (b"attachment; filename*=UTF-8''%FF; filename=b", Some("b")),
            (
                b"attachment; filename=\"M\xc3\xbcller.pdf\"",
                Some("Müller.pdf"),
            ),
            (
                b"attachment; filename=\"M\xfcller.pdf\"",
                Some("Müller.pdf"),
            ),
            (
                b"attachment; filename=\"M\xfcller.pdf\"; filename*=UTF-8''M%C3%BCller.pdf",
                Some("Müller.pdf"),
            ),
            (
                b"attachment; filename=\"=?UTF-8?Q?M=C3=BCller_100%.pdf?=\"",
                Some("Müller 100%.pdf"),
            ),
            (
                b"attachment; filename=\"=?utf-8?B?TcO8bGxlcg==?= =?iso-8859-1*de?q?=E4.pdf?=\"",
                Some("Müllerä.pdf"),
            ),
            (
                b"attachment; filename=\"=?klingon?Q?a?=\"",
                Some("=?klingon?Q?a?="),
            ),
            (
                b"attachment; filename=\"a \\\"b\\\".txt\"",
                Some("a \"b\".txt"),
            ),
            (b"attachment; filename=\"..\\..\\a.txt\"", Some("a.txt")),
            (
                b"attachment; filename=\"C:\\temp\\\"; filename*=UTF-8''%C3%A4.txt",
                Some("ä.txt"),
            ),
            (
                b"attachment; filename=\"a\\\" ; Size=3; FileName*=UTF-8''b.txt",
                Some("b.txt"),
            ),
            (b"attachment; filename*=UTF-8''; filename=\"a\\", None),
            (b"attachment; filename=\"a\\\"; b.txt\"", Some("a\"; b.txt")),
            (b"attachment; filename=\"../../etc/passwd\"", Some("passwd")),
            (
                b"attachment; filename*=UTF-8''..%2F..%2Fa%0D%0A.txt",
                Some("a.txt"),
            ),
            (b"attachment; filename=\"open", Some("open")),
            (b"inline", None),
            (b"attachment; filename=\"\"", None),
            (b"attachment; filename=..", None),
        ] {
            let header = HeaderValue::from_bytes(disposition).unwrap();
            assert_eq!(
                file_name(&header).as_deref(),
                name,
                "{}",
                disposition.escape_ascii()
            );
        }
    }

    #[test]
    fn any_header_is_read_without_a_panic() {
        proptest::proptest!(|(header in "(attachment; filename\\*?=)?[a=?'\"\\\\%;QB/é*-]{0,32}")| {
            if let Ok(header) = HeaderValue::from_bytes(header.as_bytes()) {
                let _ = file_name(&header);
            }
        });
    }
}
