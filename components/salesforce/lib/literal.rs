//! Values as literals of SOQL: always of their field's type, and never more than one literal.

use crate::{
    describe::Field,
    soql::{instant, is_date, text},
};
use jiff::civil;
use serde_json::Value;

/// A value as a literal that this field can be compared with.
///
/// # Errors
/// Returns an error that names the field if its type has no such value.
pub fn literal(field: &Field, value: &Value) -> anyhow::Result<String> {
    let given = match value {
        Value::Null => return Ok("null".to_owned()),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(_) | Value::Object(_) => {
            anyhow::bail!("`{}` must be a single value", field.name)
        }
    };
    ensure_searchable(field)?;
    let trimmed = given.trim();
    let (literal, expected) = match field.kind.as_str() {
        "boolean" => (boolean(trimmed), "true or false"),
        "date" => (date(trimmed), "a date such as 2024-01-31"),
        "time" => (time(trimmed), "a time of day such as 12:00:00Z"),
        "datetime" => (datetime(trimmed), "a time such as 2024-01-31T12:00:00Z"),
        "int" | "long" | "double" | "currency" | "percent" => (number(trimmed), "a number"),
        _ => return Ok(text(&given)),
    };
    literal.ok_or_else(|| {
        anyhow::anyhow!(
            "`{}` is of type {}: it must be {expected}",
            field.name,
            field.kind
        )
    })
}

fn ensure_searchable(field: &Field) -> anyhow::Result<()> {
    match field.kind.as_str() {
        "base64" | "address" | "location" => anyhow::bail!(
            "`{}` is of type {}, which cannot be searched",
            field.name,
            field.kind
        ),
        "textarea" if !field.filterable => {
            anyhow::bail!("`{}` is a long text, which cannot be searched", field.name)
        }
        _ => Ok(()),
    }
}

fn boolean(text: &str) -> Option<String> {
    matches!(text, "true" | "false").then(|| text.to_owned())
}

fn date(text: &str) -> Option<String> {
    (is_date(text) || is_relative(text)).then(|| text.to_owned())
}

fn datetime(text: &str) -> Option<String> {
    if is_relative(text) {
        Some(text.to_owned())
    } else {
        instant(text).ok()
    }
}

fn time(text: &str) -> Option<String> {
    let time = text.strip_suffix('Z')?;
    civil::Time::strptime("%H:%M:%S%.f", time).ok()?;
    Some(text.to_owned())
}

fn number(text: &str) -> Option<String> {
    let is_plain = text
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    let is_number = is_plain && text.parse::<f64>().is_ok_and(f64::is_finite);
    is_number.then(|| text.to_owned())
}

/// TODAY, LAST_N_DAYS:5
fn is_relative(text: &str) -> bool {
    let (word, number) = text.split_once(':').unwrap_or((text, "1"));
    !word.is_empty()
        && word.starts_with(|c: char| c.is_ascii_uppercase())
        && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn field(kind: &str) -> Field {
        Field {
            name: "F__c".into(),
            kind: kind.into(),
            filterable: true,
            ..Field::default()
        }
    }

    proptest! {
        #[test]
        fn a_value_for_a_non_text_field_is_never_quoted(
            value in any::<String>(),
            kind in prop::sample::select(vec!["boolean", "int", "double", "currency", "date", "datetime", "time"]),
        ) {
            if let Ok(literal) = literal(&field(kind), &value.into()) {
                prop_assert!(
                    !literal.is_empty()
                        && literal.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b':' | b'.' | b'_')),
                    "{}", literal
                );
            }
        }
    }

    #[test]
    fn a_literal_follows_the_field_type() {
        for (kind, value, wanted) in [
            ("string", json!("O'Hara"), r"'O\'Hara'"),
            ("string", json!(5), "'5'"),
            ("picklist", json!(true), "'true'"),
            ("id", json!("001"), "'001'"),
            ("int", json!("5"), "5"),
            ("currency", json!(-1.5), "-1.5"),
            ("boolean", json!("true"), "true"),
            ("date", json!("2024-01-31"), "2024-01-31"),
            ("date", json!("TODAY"), "TODAY"),
            ("datetime", json!("LAST_N_DAYS:5"), "LAST_N_DAYS:5"),
            (
                "datetime",
                json!("2024-01-31T12:00:00+0200"),
                "2024-01-31T12:00:00.000+02:00",
            ),
            ("datetime", json!("2024-01-31"), "2024-01-31T00:00:00.000Z"),
            ("time", json!("12:30:00.000Z"), "12:30:00.000Z"),
            ("string", json!(null), "null"),
        ] {
            assert_eq!(
                literal(&field(kind), &value).unwrap(),
                wanted,
                "{kind} {value}"
            );
        }
    }

    #[test]
    fn a_value_of_the_wrong_type_names_field_and_type() {
        for (kind, value, expected) in [
            ("int", json!("5 OR Id != null"), "a number"),
            ("double", json!("NaN"), "a number"),
            ("boolean", json!("yes"), "true or false"),
            ("date", json!("31.01.2024"), "2024-01-31"),
            (
                "datetime",
                json!("2024-01-31T12:00"),
                "2024-01-31T12:00:00Z",
            ),
            ("time", json!("noon"), "12:00:00Z"),
            ("string", json!(["a"]), "a single value"),
            ("base64", json!("x"), "cannot be searched"),
        ] {
            let error = literal(&field(kind), &value).unwrap_err().to_string();
            assert!(
                error.contains("F__c") && error.contains(expected),
                "{error}"
            );
        }
    }
}
