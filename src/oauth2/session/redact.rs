//! Removes tokens from texts that are logged or shown.

use super::super::TokenRecord;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Shorter texts are not tokens, and could be part of any text.
const MIN_TOKEN_LEN: usize = 8;

/// What a form or a query escapes (RFC 3986 section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Returns `text` without the tokens of these records. Some servers escape slashes in JSON, or repeat a form.
pub(super) fn without_tokens<'a>(
    mut text: String,
    records: impl IntoIterator<Item = &'a TokenRecord>,
) -> String {
    for record in records {
        let tokens = [record.access_token(), record.refresh_token()];
        for token in tokens.into_iter().flatten() {
            text = without(text, token);
            text = without(text, &token.replace('/', "\\/"));
            let encoded = utf8_percent_encode(token, ESCAPED).to_string();
            text = without(text, &encoded);
        }
    }
    text
}

/// Returns `text` without a token. A text that was cut can end with the beginning of a token; that is removed too.
fn without(text: String, token: &str) -> String {
    if token.len() < MIN_TOKEN_LEN {
        return text;
    }
    let mut text = text.replace(token, "[token]");
    let ends = (MIN_TOKEN_LEN..token.len()).rev();
    let mut beginnings = ends.filter_map(|end| token.get(..end));
    if let Some(beginning) = beginnings.find(|beginning| text.ends_with(beginning)) {
        text.truncate(text.len() - beginning.len());
        text.push_str("[token]");
    }
    text
}
