//! Takes tokens out of texts that are shown.

use super::super::TokenRecord;

/// A shorter text is not a token, and can be part of any text.
const MIN_TOKEN_LEN: usize = 8;

/// `text` without the tokens of these records. Some servers escape slashes when they write JSON.
pub(super) fn without_tokens<'a>(
    mut text: String,
    records: impl IntoIterator<Item = &'a TokenRecord>,
) -> String {
    for record in records {
        let tokens = [record.access_token(), record.refresh_token()];
        for token in tokens.into_iter().flatten() {
            text = without(text, token);
            text = without(text, &token.replace('/', "\\/"));
        }
    }
    text
}

/// `text` without a token, and without the beginning of one at its end.
fn without(text: String, token: &str) -> String {
    if token.len() < MIN_TOKEN_LEN {
        return text;
    }
    let mut text = text.replace(token, "[token]");
    let cut_off = (MIN_TOKEN_LEN..token.len())
        .rev()
        .filter_map(|end| token.get(..end))
        .find(|beginning| text.ends_with(beginning));
    if let Some(beginning) = cut_off {
        text.truncate(text.len() - beginning.len());
        text.push_str("[token]");
    }
    text
}
