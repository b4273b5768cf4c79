//! Forms: `a=1&b=two+words`, read strictly.

use http_double::percent_encoded;

/// The pairs in order, or the reason why the text is not a form.
pub(super) fn read(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// Decodes `%XX` and `+`.
pub(super) fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else {
                    return Err("a % is not followed by two hexadecimal digits".into());
                };
                // Two digits make a byte.
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "a text is not UTF-8".into())
}

pub(super) fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let encode = percent_encoded;
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(&value)));
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_names_and_values_are_decoded() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        for (text, pairs) in [
            ("", Ok(vec![])),
            (
                "a=1&b=two+words",
                Ok(vec![pair("a", "1"), pair("b", "two words")]),
            ),
            ("a=%2B%2f%3D&a", Ok(vec![pair("a", "+/="), pair("a", "")])),
            (
                "a=%2",
                Err("a % is not followed by two hexadecimal digits".to_owned()),
            ),
            ("a=%ff", Err("a text is not UTF-8".to_owned())),
        ] {
            assert_eq!(read(text), pairs, "{text}");
        }
        let written = write([("a b", "+/=".to_owned()), ("c", "ä".to_owned())]);
        assert_eq!(read(&written), Ok(vec![pair("a b", "+/="), pair("c", "ä")]));
    }
}
