//! How a CSV file is written: its separator, its line ends, and what stands before its header row.

/// The separators that Bulk API 2.0 takes, with their names.
const DELIMITERS: [(u8, &str); 6] = [
    (b',', "COMMA"),
    (b';', "SEMICOLON"),
    (b'\t', "TAB"),
    (b'|', "PIPE"),
    (b'^', "CARET"),
    (b'`', "BACKQUOTE"),
];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a CSV file is not uploaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("the CSV file is empty")]
    Empty,
    #[error(
        "the CSV file is in UTF-16, and Salesforce takes UTF-8: in Excel, save it as \"CSV UTF-8\""
    )]
    Utf16,
    #[error(
        "the CSV file is not in UTF-8 (byte {0}), which Salesforce takes: in Excel, save it as \"CSV UTF-8\""
    )]
    NotUtf8(u64),
    #[error("the CSV file is not a text (byte {0} is zero)")]
    Binary(u64),
    #[error("the header row of the CSV file does not end within its first {0} KB")]
    LongHeader(usize),
    #[error(
        "the lines of the CSV file end with a carriage return alone: save it with line ends of Windows or Unix"
    )]
    CarriageReturn,
    #[error("the CSV file is larger than the {0} MB that Salesforce takes: split it")]
    TooLarge(usize),
}

/// How a CSV file is written, as Bulk API 2.0 names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many bytes stand before the header row: a byte order mark, and Excel's line `sep=;`.
    pub skipped: usize,
    pub column_delimiter: &'static str,
    pub line_ending: &'static str,
}

impl Layout {
    /// Reads the start of a file; `is_whole` says that it is the whole file. Names of fields contain no separator, so the
    /// first one outside of quotes is the file's.
    pub fn of(start: &[u8], is_whole: bool) -> Result<Self, FileError> {
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(FileError::Utf16);
        }
        Utf8Check::default().push(start)?;
        let mark = if start.starts_with(BYTE_ORDER_MARK) {
            BYTE_ORDER_MARK.len()
        } else {
            0
        };
        let hint = hint(&start[mark..]);
        let skipped = mark + hint.map_or(0, |(_, length)| length);
        let rows = &start[skipped..];
        if rows.is_empty() {
            return Err(FileError::Empty);
        }
        let end = outside_quotes(rows).find(|(_, byte)| *byte == b'\n');
        let end = end.map(|(at, _)| at);
        if end.is_none() && !is_whole {
            return Err(FileError::LongHeader(start.len() >> 10));
        }
        let header = &rows[..end.unwrap_or(rows.len())];
        let is_crlf = end.is_some() && header.ends_with(b"\r");
        let header = header.strip_suffix(b"\r").unwrap_or(header);
        if outside_quotes(header).any(|(_, byte)| byte == b'\r') {
            return Err(FileError::CarriageReturn);
        }
        let hinted = hint.and_then(|(byte, _)| named(byte));
        let found = || outside_quotes(header).find_map(|(_, byte)| named(byte));
        Ok(Self {
            skipped,
            column_delimiter: hinted.or_else(found).unwrap_or(DELIMITERS[0]).1,
            line_ending: if is_crlf { "CRLF" } else { "LF" },
        })
    }
}

/// The separator of the rows, by the start of their text. The results of a job may have that of its file.
pub fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default().as_bytes();
    let found = outside_quotes(header).find_map(|(_, byte)| named(byte));
    found.unwrap_or(DELIMITERS[0]).0
}

fn named(byte: u8) -> Option<(u8, &'static str)> {
    DELIMITERS.into_iter().find(|(known, _)| *known == byte)
}

/// Excel's first line `sep=;`: the separator, and the length of the line.
fn hint(start: &[u8]) -> Option<(u8, usize)> {
    let (word, rest) = start.split_at_checked(4)?;
    if !word.eq_ignore_ascii_case(b"sep=") {
        return None;
    }
    match rest {
        [byte, b'\r', b'\n', ..] => Some((*byte, 7)),
        [byte, b'\n', ..] => Some((*byte, 6)),
        _ => None,
    }
}

/// The bytes that do not stand in quotes, with their places.
fn outside_quotes(text: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let mut is_quoted = false;
    let bytes = text.iter().copied().enumerate();
    bytes.filter(move |(_, byte)| {
        is_quoted ^= *byte == b'"';
        !is_quoted
    })
}

/// Checks that a text is UTF-8 while its parts arrive.
#[derive(Debug, Default)]
pub struct Utf8Check {
    /// The bytes so far, without those of `open`.
    read: u64,
    /// The start of a character whose end has not arrived.
    open: Vec<u8>,
}

impl Utf8Check {
    /// Checks the next part.
    pub fn push(&mut self, part: &[u8]) -> Result<(), FileError> {
        let mut rest = part;
        while !self.open.is_empty()
            && let Some((byte, after)) = rest.split_first()
        {
            self.open.push(*byte);
            rest = after;
            match std::str::from_utf8(&self.open) {
                Ok(_) => {
                    self.read += self.open.len() as u64;
                    self.open.clear();
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(FileError::NotUtf8(self.read)),
            }
        }
        let valid = match std::str::from_utf8(rest) {
            Ok(_) => rest.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(error) => return Err(FileError::NotUtf8(self.read + error.valid_up_to() as u64)),
        };
        if let Some(zero) = rest.iter().position(|byte| *byte == 0) {
            return Err(FileError::Binary(self.read + zero as u64));
        }
        self.read += valid as u64;
        self.open.extend_from_slice(&rest[valid..]);
        Ok(())
    }

    /// Checks that the text does not end within a character.
    pub fn end(&self) -> Result<(), FileError> {
        if self.open.is_empty() {
            Ok(())
        } else {
            Err(FileError::NotUtf8(self.read))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_layout_is_told_from_the_header_row() {
        for (start, skipped, column_delimiter, line_ending) in [
            ("Id,Name\n1,a;b\n", 0, "COMMA", "LF"),
            ("\u{feff}Id;Name\r\n1;a,b\r\n", 3, "SEMICOLON", "CRLF"),
            ("Id\tName\r\n", 0, "TAB", "CRLF"),
            ("Id|Name\n", 0, "PIPE", "LF"),
            ("Id^Name\n", 0, "CARET", "LF"),
            ("Id`Name\n", 0, "BACKQUOTE", "LF"),
            ("Id\n1,2\r\n", 0, "COMMA", "LF"),
            ("\"Id\";\"Na,me\"\n", 0, "SEMICOLON", "LF"),
            ("\"I,\nd\";Name\r\n", 0, "SEMICOLON", "CRLF"),
            ("sep=;\r\nId\r\n", 7, "SEMICOLON", "CRLF"),
            ("\u{feff}SEP=|\nId,Name\n", 9, "PIPE", "LF"),
            ("Id;Name", 0, "SEMICOLON", "LF"),
            ("Id", 0, "COMMA", "LF"),
        ] {
            let layout = Layout {
                skipped,
                column_delimiter,
                line_ending,
            };
            assert_eq!(Layout::of(start.as_bytes(), true), Ok(layout), "{start:?}");
        }
    }

    #[test]
    fn other_files_are_refused() {
        for (start, is_whole, error) in [
            (&b""[..], true, FileError::Empty),
            (b"\xef\xbb\xbf", true, FileError::Empty),
            (b"\xff\xfeI\0d\0", true, FileError::Utf16),
            (b"\xfe\xff\0I\0d", true, FileError::Utf16),
            (b"Id,Name\r1,a\r", true, FileError::CarriageReturn),
            (&[b'x'; 2048], false, FileError::LongHeader(2)),
        ] {
            assert_eq!(Layout::of(start, is_whole), Err(error));
        }
    }

    proptest! {
        #[test]
        fn parts_are_utf8_if_the_whole_is(
            text in prop_oneof![any::<String>().prop_map(String::into_bytes), any::<Vec<u8>>()],
            size in 1..5_usize,
        ) {
            let mut check = Utf8Check::default();
            let parts = text.chunks(size).try_for_each(|part| check.push(part));
            let is_text = std::str::from_utf8(&text).is_ok() && !text.contains(&0);
            prop_assert_eq!(parts.and_then(|()| check.end()).is_ok(), is_text);
        }
    }
}
