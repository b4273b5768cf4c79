//! The CSV of Bulk API 2.0 (RFC 4180, with a header row).

/// The rows of a text, with its header. Line ends may be LF or CRLF.
pub(super) fn read(text: &str) -> Result<Vec<Vec<String>>, String> {
    let (mut rows, mut row, mut cell) = (vec![], vec![], String::new());
    let mut characters = text.chars().peekable();
    let mut quoted = false;
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => cell.extend(characters.next()),
            '"' if quoted => quoted = false,
            '"' if cell.is_empty() => quoted = true,
            character if quoted => cell.push(character),
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\n' => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            character => cell.push(character),
        }
    }
    if quoted {
        return Err("a quote is not closed".into());
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    Ok(rows)
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
        let row = ["a,b", "say \"x\"", "two\nlines", ""];
        assert_eq!(read(&line(row)), Ok(vec![row.map(str::to_owned).to_vec()]));
        assert_eq!(read("A,B\r\n1,\r\n").unwrap(), [["A", "B"], ["1", ""]]);
        assert!(read("\"open").is_err());
    }
}
