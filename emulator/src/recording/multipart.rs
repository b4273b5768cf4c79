//! The parts of a multipart body.

use std::ops::Range;

/// A part, and where its content is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Part {
    /// The name of the field; empty if it has none.
    pub(super) name: String,
    pub(super) content_type: String,
    pub(super) encoding: String,
    pub(super) content: Range<usize>,
}

impl Part {
    /// Whether the content stands in the body as it is.
    pub(super) fn is_plain(&self) -> bool {
        ["", "7bit", "8bit", "binary"].contains(&&*self.encoding)
    }
}

/// Whether a body of this `Content-Type` has parts.
pub(super) fn is_multipart(content_type: &str) -> bool {
    let content_type = content_type.trim().to_ascii_lowercase();
    content_type.starts_with("multipart/")
}

/// Returns the boundary in a `Content-Type`; nothing if it is none of a multipart body.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let boundary = parameter(content_type, "boundary");
    boundary.filter(|text| is_multipart(content_type) && !text.is_empty())
}

/// Returns the parts; nothing if the body is not what its boundary says.
pub(super) fn parts(body: &[u8], boundary: &str) -> Option<Vec<Part>> {
    let delimiter = format!("--{boundary}");
    let mut parts = Vec::new();
    let (mut begin, mut at) = (None, 0);
    while at < body.len() {
        let line = line(body, at);
        let text = body[line.clone()].trim_ascii_end();
        if let Some(rest) = text.strip_prefix(delimiter.as_bytes())
            && (rest.is_empty() || rest == b"--")
        {
            if let Some(begin) = begin {
                parts.push(part(body, begin..without_line_end(body, begin, at))?);
            }
            if !rest.is_empty() {
                return Some(parts);
            }
            begin = Some(line.end);
        }
        at = line.end;
    }
    None
}

/// The line that begins at a place, with its end.
fn line(body: &[u8], begin: usize) -> Range<usize> {
    let end = body[begin..].iter().position(|byte| *byte == b'\n');
    begin..end.map_or(body.len(), |length| begin + length + 1)
}

/// The end of a line belongs to the delimiter after it.
fn without_line_end(body: &[u8], begin: usize, end: usize) -> usize {
    let content = &body[begin..end];
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    begin + content.strip_suffix(b"\r").unwrap_or(content).len()
}

fn part(body: &[u8], place: Range<usize>) -> Option<Part> {
    let mut part = Part::default();
    let mut at = place.start;
    while at < place.end {
        let line = line(body, at);
        let text = String::from_utf8_lossy(&body[line.clone()]);
        at = line.end;
        if text.trim().is_empty() {
            part.content = at.min(place.end)..place.end;
            return Some(part);
        }
        // A line that continues the one before is out of use.
        if text.starts_with([' ', '\t']) {
            return None;
        }
        let (name, value) = text.split_once(':')?;
        match &*name.trim().to_ascii_lowercase() {
            "content-disposition" => part.name = parameter(value, "name").unwrap_or_default(),
            "content-type" => part.content_type = value.trim().to_owned(),
            "content-transfer-encoding" => part.encoding = value.trim().to_ascii_lowercase(),
            _ => {}
        }
    }
    // An empty part has nothing after its headers, not even the end of a line.
    part.content = place.end..place.end;
    Some(part)
}

/// The value of a parameter in a header such as `form-data; name="a"`.
fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        let key = key.rsplit(';').next().unwrap_or_default();
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
}

/// A text up to its quote, and what comes after it.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_names_types_and_places() {
        let body = b"preamble\r\n--b\r\nContent-Disposition: form-data; name=\"api key\"\r\n\r\nabc\r\n--b\r\n\
            content-disposition: form-data; filename=\"a;name=x\\\".png\"; name=file\r\nContent-Type: image/png\r\n\
            Content-Transfer-Encoding: BASE64\r\n\r\n\xff\n--bc\r\n\r\n--b--\r\nepilogue";
        let parts = parts(body, "b").unwrap();
        let names: Vec<_> = parts.iter().map(|part| &*part.name).collect();
        assert_eq!(names, ["api key", "file"]);
        let contents: Vec<_> = parts
            .iter()
            .map(|part| &body[part.content.clone()])
            .collect();
        assert_eq!(contents, [&b"abc"[..], b"\xff\n--bc\r\n"]);
        assert_eq!(parts[1].content_type, "image/png");
        assert!(parts[0].is_plain() && !parts[1].is_plain());
    }

    #[test]
    fn line_ends_may_be_those_of_unix_and_parts_empty() {
        let body = b"--b\nContent-Disposition: form-data; name=a\n\n1\n--b\nX: y\n\n--b--";
        let parts = parts(body, "b").unwrap();
        let contents: Vec<_> = parts
            .iter()
            .map(|part| &body[part.content.clone()])
            .collect();
        assert_eq!(contents, [&b"1"[..], b""]);
    }

    #[test]
    fn what_is_cut_off_has_no_parts() {
        for body in [
            "",
            "text",
            "--b\r\nX: y\r\n\r\nabc",
            "--b\r\nno header\r\n\r\n--b--",
            "--b\r\nA: b;\r\n c: d\r\n\r\n--b--",
            "--a--",
        ] {
            assert_eq!(parts(body.as_bytes(), "b"), None, "{body}");
        }
        assert_eq!(parts(b"--b--", "b"), Some(vec![]));
    }

    #[test]
    fn the_boundary_is_that_of_a_multipart_type() {
        for (header, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Mixed; charset=utf-8; Boundary=\"a;b\" ",
                Some("a;b"),
            ),
            ("multipart/form-data", None),
            ("text/plain; boundary=abc", None),
        ] {
            assert_eq!(boundary(header).as_deref(), expected, "{header}");
        }
    }
}
