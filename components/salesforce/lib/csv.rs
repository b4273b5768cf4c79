//! CSV as Bulk API 2.0 writes it: a header row, commas, quotes that are doubled (RFC 4180).

use super::api::Record;

/// The rows by the names in the header.
pub fn records(text: &str) -> Vec<Record> {
    let mut rows = rows(text).into_iter();
    let header = rows.next().unwrap_or_default();
    let record = |row: Vec<String>| {
        header
            .iter()
            .cloned()
            .zip(row.into_iter().map(Into::into))
            .collect()
    };
    rows.map(record).collect()
}

fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, quoted) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => cell.push('"'),
            ('"', true) => quoted = false,
            (character, true) => cell.push(character),
            ('"', false) => quoted = true,
            (',', false) => row.push(std::mem::take(&mut cell)),
            ('\r', false) if characters.peek() == Some(&'\n') => {}
            ('\n', false) => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            (character, false) => cell.push(character),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::records;
    use serde_json::json;

    #[test]
    fn quoted_cells_are_parsed() {
        let read = records("\"Id\",\"Name\"\n\"1\",\"say \"\"x\"\", twice\"\r\n2,\"two\nlines\"\n");
        assert_eq!(
            json!(read),
            json!([{ "Id": "1", "Name": "say \"x\", twice" }, { "Id": "2", "Name": "two\nlines" }])
        );
        assert!(records("").is_empty());
        assert_eq!(json!(records("A,B\n1,")), json!([{ "A": "1", "B": "" }]));
    }
}
