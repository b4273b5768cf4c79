//! Removes tokens from texts that are logged or shown.

use super::segment;

/// Shorter texts are not tokens, and could be part of any text.
const MIN_TOKEN_LEN: usize = 8;

/// Returns `text` without these tokens. Some servers escape slashes in JSON, or repeat a form.
pub(crate) fn without_tokens<'a>(
    text: String,
    tokens: impl IntoIterator<Item = &'a str>,
) -> String {
    tokens.into_iter().fold(text, |text, token| {
        let text = without(text, token);
        let text = without(text, &token.replace('/', "\\/"));
        without(text, &segment(token))
    })
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
