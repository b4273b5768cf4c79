//! Salesforce's checks of the fields of every write.

use super::{
    error::ErrorResponse,
    schema::{Field, Object},
    state::Record,
};
use serde_json::Value;

/// The checked fields of a request's body. With `create`, required fields must be present.
pub(super) fn checked(object: &Object, body: Value, create: bool) -> Result<Record, ErrorResponse> {
    let Value::Object(body) = body else {
        return Err(ErrorResponse::new(
            400,
            "JSON_PARSER_ERROR",
            "The HTTP entity body must be a JSON object",
        ));
    };
    let mut record = Record::new();
    for (name, value) in body {
        if name == "attributes" {
            continue;
        }
        let field = object.field(&name).ok_or_else(|| {
            let message = format!("No such column '{name}' on sobject of type {}", object.name);
            ErrorResponse::new(400, "INVALID_FIELD", message)
        })?;
        if !field.createable {
            let message = format!(
                "Unable to create/update fields: {}. Please check the security settings of this field and verify that \
                 it is read/write for your profile or permission set.",
                field.name
            );
            return Err(ErrorResponse::of_fields(
                400,
                "INVALID_FIELD_FOR_INSERT_UPDATE",
                message,
                &[&field.name],
            ));
        }
        check(field, &value)?;
        let value = if value == Value::String(String::new()) {
            Value::Null
        } else {
            value
        };
        record.insert(field.name.clone(), value);
    }
    check_required(object, &record, create)?;
    Ok(record)
}

fn check_required(object: &Object, record: &Record, create: bool) -> Result<(), ErrorResponse> {
    let is_missing = |field: &&Field| {
        let given = record.get(&field.name);
        let must_be_there = !field.nillable && !field.defaulted_on_create;
        must_be_there && (given.is_some_and(Value::is_null) || (create && given.is_none()))
    };
    let missing: Vec<&str> = object
        .fields
        .iter()
        .filter(is_missing)
        .map(|field| field.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    Err(ErrorResponse::of_fields(
        400,
        "REQUIRED_FIELD_MISSING",
        message,
        &missing,
    ))
}

fn check(field: &Field, value: &Value) -> Result<(), ErrorResponse> {
    let fits = match (field.kind.as_str(), value) {
        (_, Value::Null) => true,
        ("boolean", value) => {
            value.is_boolean() || matches!(value.as_str(), Some("true" | "false"))
        }
        ("int", Value::String(text)) => text.is_empty() || text.parse::<i64>().is_ok(),
        ("int", value) => value.is_i64(),
        ("currency" | "double" | "percent", Value::String(text)) => {
            text.is_empty() || text.parse::<f64>().is_ok()
        }
        ("currency" | "double" | "percent", value) => value.is_number(),
        ("date", Value::String(text)) => text.is_empty() || is_shaped(text, "0000-00-00"),
        ("datetime", Value::String(text)) => {
            text.is_empty() || is_shaped(text, "0000-00-00T00:00:00")
        }
        ("base64", Value::String(text)) => base64_simd::STANDARD.check(text.as_bytes()).is_ok(),
        (_, Value::String(text)) => text.len() <= 255,
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let message = format!(
        "Cannot deserialize instance of {} from the value given for {}",
        field.kind, field.name
    );
    Err(ErrorResponse::of_fields(
        400,
        "JSON_PARSER_ERROR",
        message,
        &[&field.name],
    ))
}

/// Whether a text starts like the pattern, in which 0 means any digit.
fn is_shaped(text: &str, pattern: &str) -> bool {
    text.len() >= pattern.len()
        && text.bytes().zip(pattern.bytes()).all(|(t, p)| {
            if p == b'0' {
                t.is_ascii_digit()
            } else {
                t == p
            }
        })
}
