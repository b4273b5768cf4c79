//! The CSV of Bulk API 2.0 (RFC 4180, with a header row).

use ::csv::ReaderBuilder;

/// The rows of a text, with its header and this separator. Line ends may be LF or CRLF.
///
/// # Errors
/// Returns an error if a row has more or fewer cells than the header.
pub(super) fn read(text: &str, delimiter: u8) -> Result<Vec<Vec<String>>, ::csv::Error> {
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    reader.deserialize().collect()
}

/// One row with its line end. Every cell is quoted, as in Salesforce.
pub(super) fn line<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let cells = cells
        .into_iter()
        .map(|cell| format!("\"{}\"", cell.as_ref().replace('"', "\"\"")));
    cells.collect::<Vec<_>>().join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_cells_are_parsed() {
        let row = ["a,b", "say \"x\"", "two\nlines", "", "007"];
        assert_eq!(read(&line(row), b',').unwrap(), [row]);
        assert_eq!(
            read("A,B\r\n1,\r\n", b',').unwrap(),
            [["A", "B"], ["1", ""]]
        );
    }

    #[test]
    fn a_row_with_another_number_of_cells_is_an_error() {
        for text in ["A,B\n1\n", "A\n1,2\n"] {
            assert!(read(text, b',').is_err(), "{text}");
        }
    }
}
