//! The text that a sender signs: the body, or a template such as `v0:{header:X-Slack-Request-Timestamp}:{body}`.

use super::webhook_request::{Received, is_header_name};
use std::str::FromStr;

/// A template of the signed text.
#[derive(Debug)]
pub struct SignedText(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Literal(String),
    /// `{body}`: the bytes of the body.
    Body,
    /// `{header:NAME}`: the value of another header.
    Header(String),
    /// `{NAME}`: the value after `NAME=` in the header with the signature.
    Element(String),
}

impl Default for SignedText {
    fn default() -> Self {
        Self(vec![Part::Body])
    }
}

impl SignedText {
    /// The signed bytes, in pieces. `signature` is the header with the signature.
    ///
    /// # Errors
    /// Returns what the request does not have.
    pub fn pieces<'a>(
        &'a self,
        request: &'a Received,
        signature: &'a str,
    ) -> Result<Vec<&'a [u8]>, String> {
        let piece = |part: &'a Part| match part {
            Part::Literal(text) => Ok(text.as_bytes()),
            Part::Body => Ok(&request.raw[..]),
            named => named.value(request, signature).map(str::as_bytes),
        };
        self.0.iter().map(piece).collect()
    }

    /// The times among the signed values, as they are written: `{t}`, `{ts}`, `{time}`, `{timestamp}`, and headers whose
    /// names end in `timestamp`.
    ///
    /// # Errors
    /// Returns what the request does not have.
    pub fn times<'a>(
        &'a self,
        request: &'a Received,
        signature: &'a str,
    ) -> Result<Vec<&'a str>, String> {
        let times = self.0.iter().filter(|part| part.is_time());
        times.map(|part| part.value(request, signature)).collect()
    }
}

impl Part {
    fn is_time(&self) -> bool {
        match self {
            Self::Literal(_) | Self::Body => false,
            Self::Header(name) => name.to_lowercase().ends_with("timestamp"),
            Self::Element(name) => {
                ["t", "ts", "time", "timestamp"].contains(&&*name.to_lowercase())
            }
        }
    }

    /// The value of a header or of an element.
    fn value<'a>(&self, request: &'a Received, signature: &'a str) -> Result<&'a str, String> {
        match self {
            Self::Header(name) => {
                let value = request.header(name).next().map(str::trim);
                value.ok_or_else(|| format!("it has no header {name}"))
            }
            Self::Element(name) => {
                let mut elements = elements(signature).filter_map(|token| token.split_once('='));
                let value = elements.find(|(element, _)| element == name);
                value
                    .map(|(_, value)| value)
                    .ok_or_else(|| format!("its signature has no {name}="))
            }
            Self::Literal(_) | Self::Body => Ok(""),
        }
    }
}

/// The elements of a header with signatures, such as `t=…`, `v1=…`, or signatures alone. The header has no quotation marks.
pub fn elements(signature: &str) -> impl Iterator<Item = &str> {
    signature
        .split([',', ';', '&', ' ', '\t'])
        .filter(|token| !token.is_empty())
}

impl FromStr for SignedText {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "a text with {body}, and {NAME} or {header:NAME} for other parts";
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, end) = after.split_once('}').ok_or(EXPECTED)?;
            parts.extend([
                Part::Literal(before.to_owned()),
                placeholder(name).ok_or(EXPECTED)?,
            ]);
            rest = end;
        }
        parts.push(Part::Literal(rest.to_owned()));
        parts.retain(|part| *part != Part::Literal(String::new()));
        let is_closed = |part: &Part| !matches!(part, Part::Literal(text) if text.contains('}'));
        if parts.contains(&Part::Body) && parts.iter().all(is_closed) {
            Ok(Self(parts))
        } else {
            Err(EXPECTED)
        }
    }
}

fn placeholder(name: &str) -> Option<Part> {
    match name.split_once(':') {
        Some(("header", name)) => is_header_name(name).then(|| Part::Header(name.to_owned())),
        Some(_) => None,
        None if name == "body" => Some(Part::Body),
        None => is_header_name(name).then(|| Part::Element(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_without_the_body_or_with_open_braces_is_refused() {
        for text in [
            "",
            "{t}",
            "body",
            "{body",
            "{body}}",
            "{}{body}",
            "{a b}{body}",
            "{header:}{body}",
            "{query:a}{body}",
            "{body}{",
            "{{body}}",
            "{header:a b}.{body}",
        ] {
            assert!(text.parse::<SignedText>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_template_is_read_part_by_part() {
        let SignedText(parts) = "v0:{header:X-Time}:{t}{body}.".parse().unwrap();
        let literal = |text: &str| Part::Literal(text.to_owned());
        assert_eq!(
            parts,
            [
                literal("v0:"),
                Part::Header("X-Time".to_owned()),
                literal(":"),
                Part::Element("t".to_owned()),
                Part::Body,
                literal(".")
            ]
        );
    }
}
