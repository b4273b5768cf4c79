//! CSV as Bulk API 2.0 writes it.

use crate::{api::Record, csv_layout::delimiter};
use ::csv::{ReaderBuilder, StringRecord};

/// The rows, with the names of the header.
///
/// # Errors
/// Returns an error if the text is not CSV.
pub fn records(text: &str) -> anyhow::Result<Vec<Record>> {
    // A row may be shorter than the header.
    let mut reader = ReaderBuilder::new()
        .flexible(true)
        .delimiter(delimiter(text))
        .from_reader(text.as_bytes());
    let header = reader.headers()?.clone();
    let rows = reader.records();
    rows.map(|row| Ok(record(&header, &row?))).collect()
}

fn record(header: &StringRecord, row: &StringRecord) -> Record {
    let names = header.iter().map(str::to_owned);
    names.zip(row.iter().map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use super::records;
    use serde_json::json;

    #[test]
    fn rows_are_records_with_the_names_of_the_header() {
        for (text, expected) in [
            (
                "\"Id\",\"Name\"\n\"1\",\"say \"\"x\"\", twice\"\r\n2,\"two\nlines\"\n",
                json!([{ "Id": "1", "Name": "say \"x\", twice" }, { "Id": "2", "Name": "two\nlines" }]),
            ),
            ("", json!([])),
            ("A,B\n", json!([])),
            (
                "\"A\";\"B\"\r\n1;\"2,5\"\r\n",
                json!([{ "A": "1", "B": "2,5" }]),
            ),
            ("A,B\n1,", json!([{ "A": "1", "B": "" }])),
            ("A,B\n1\n", json!([{ "A": "1" }])),
        ] {
            assert_eq!(json!(records(text).unwrap()), expected, "{text}");
        }
    }
}
