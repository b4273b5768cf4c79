//! References to the inline files of a message.

/// The longest character reference that is decoded, without its `&`.
const MAX_REFERENCE: usize = 10;

/// Whether a text refers to an inline file with a `cid:` URL (RFC 2392).
///
/// Senders write it in any case, with or without quotes, and with characters encoded as in HTML (`cid&#58;`) or URLs
/// (`cid%3A`). Graph converts such a picture of an HTML message to `[cid:…]` in plain text. A word that only ends with
/// `cid:` is no reference.
pub fn has_reference(text: &str) -> bool {
    let mut last = [' '; 4];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (decoded, length) = decoded(rest).unwrap_or((first, first.len_utf8()));
        rest = &rest[length..];
        // Parsers of URLs skip them (WHATWG URL, section 4.4).
        if matches!(decoded, '\t' | '\r' | '\n') {
            continue;
        }
        if decoded == ':' && last[1..] == ['c', 'i', 'd'] && !last[0].is_alphanumeric() {
            return true;
        }
        last.rotate_left(1);
        last[3] = decoded.to_ascii_lowercase();
    }
    false
}

/// The encoded character that a text begins with, and the length of its code.
fn decoded(text: &str) -> Option<(char, usize)> {
    if let Some(digits) = text.strip_prefix('%') {
        let code = u8::from_str_radix(digits.get(..2)?, 16).ok()?;
        return Some((code.into(), 3));
    }
    let reference = text.strip_prefix('&')?;
    if reference.starts_with("colon;") {
        return Some((':', 7));
    }
    let number = reference.strip_prefix('#')?;
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let end = digits
        .find(|c: char| !c.is_digit(radix))
        .unwrap_or(digits.len());
    let code = u32::from_str_radix(digits.get(..end.min(MAX_REFERENCE))?, radix).ok()?;
    let end = text.len() - digits.len() + end;
    let has_semicolon = text[end..].starts_with(';');
    Some((char::from_u32(code)?, end + usize::from(has_semicolon)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_in_any_notation() {
        for text in [
            r#"<img src="cid:image001.png@01D26CD8.6C05F070">"#,
            "<IMG SRC='CID:a'>",
            "<img src=cid:a>",
            "<img src= Cid:a>",
            "<td style=\"background:url(cid:a)\">",
            "<img src=\"cid&#58;a\">",
            "<img src=\"cid&#x3A;a\">",
            "<img src=\"cid&#0058a\">",
            "<img src=\"cid&colon;a\">",
            "<img src=\"&#99;&#x69;d:a\">",
            "<img src=\"cid%3Aa\">",
            "<img src=\"cid%3aa\">",
            "<img src=\"c\r\nid:a\">",
            "[cid:image001.png@01D26CD8.6C05F070]",
            "cid:a",
        ] {
            assert!(has_reference(text), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_references() {
        for text in [
            "",
            "<img src=\"https://example.com/cid.png\">",
            "Placid: calm",
            "acid%3A",
            "äcid:",
            "cid",
            "c id:",
            "cid&#5",
            "cid%3",
            "&#xFFFFFFFFFFFF;cid&#xD800;",
            "cid%ä:",
            "&",
            "%",
            "&#",
            "&#x",
        ] {
            assert!(!has_reference(text), "{text}");
        }
    }
}
