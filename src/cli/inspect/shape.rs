//! The structure of a JSON value: names, types and sizes, without the values.

use serde::Serialize;
use serde_json::Value;

/// How many rows are shown.
const MAX_ROWS: usize = 200;
/// How many levels are shown.
const MAX_DEPTH: usize = 8;

/// One value, by its path.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) path: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// The number of members or items, or of bytes of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) size: Option<usize>,
}

/// The structure of a value, and how many rows are left out. Of a list, only the first item is shown.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) rows: Vec<Row>,
    pub(super) left_out: usize,
}

impl Shape {
    /// Adds a value and what is in it.
    pub(super) fn add(&mut self, path: &str, value: &Value) {
        self.add_at(path, value, 0);
    }

    fn add_at(&mut self, path: &str, value: &Value, depth: usize) {
        if self.rows.len() == MAX_ROWS || depth == MAX_DEPTH {
            self.left_out += 1;
            return;
        }
        if !path.is_empty() {
            let (kind, size) = kind_of(value);
            self.rows.push(Row {
                path: path.to_owned(),
                kind,
                size,
            });
        }
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    self.add_at(&below(path, name), member, depth + 1);
                }
            }
            Value::Array(items) => {
                if let Some(first) = items.first() {
                    self.add_at(&format!("{path}[0]"), first, depth + 1);
                }
            }
            _ => {}
        }
    }
}

/// The type of a value, and its size.
pub(super) fn kind_of(value: &Value) -> (&'static str, Option<usize>) {
    match value {
        Value::Null => ("null", None),
        Value::Bool(_) => ("boolean", None),
        Value::Number(_) => ("number", None),
        Value::String(text) => ("text", Some(text.len())),
        Value::Array(items) => ("list", Some(items.len())),
        Value::Object(members) => ("object", Some(members.len())),
    }
}

/// The path of a member. A name that is no plain word is written as JSON.
fn below(path: &str, name: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(is_word) {
        format!("{path}[{}]", Value::from(name))
    } else if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(value: &Value) -> Vec<String> {
        let mut shape = Shape::default();
        shape.add("", value);
        let line = |row: &Row| format!("{} {} {:?}", row.path, row.kind, row.size);
        shape.rows.iter().map(line).collect()
    }

    #[test]
    fn it_has_names_types_and_sizes_and_no_values() {
        let value = json!({ "name": "secret", "items": [{ "a.b": 77 }, { "c": 1 }], "x": { "y": null, "z": true } });
        assert_eq!(
            lines(&value),
            [
                "items list Some(2)",
                "items[0] object Some(1)",
                "items[0][\"a.b\"] number None",
                "name text Some(6)",
                "x object Some(2)",
                "x.y null None",
                "x.z boolean None",
            ]
        );
    }

    #[test]
    fn large_and_deep_values_are_cut() {
        let mut shape = Shape::default();
        let wide: Vec<(String, Value)> = (0..MAX_ROWS + 5)
            .map(|n| (n.to_string(), n.into()))
            .collect();
        shape.add("", &Value::Object(wide.into_iter().collect()));
        assert_eq!((shape.rows.len(), shape.left_out), (MAX_ROWS, 5));
        let deep = (0..500).fold(Value::Null, |value, _| json!({ "a": value }));
        let mut shape = Shape::default();
        shape.add("", &deep);
        assert_eq!((shape.rows.len(), shape.left_out), (MAX_DEPTH - 1, 1));
    }
}
