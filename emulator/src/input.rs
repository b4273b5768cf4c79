//! The files of the command line: messages, configuration, snapshot.

use crate::platform::kind_of;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::{io::Read, path::Path};

/// Why a file cannot be used: a mistake of the user, not of the component.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct InputError(String);

impl InputError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Reads JSON from a file, or from standard input for `-`.
pub(crate) fn read_json(what: &str, path: &Path) -> Result<Value, InputError> {
    let text = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let path = path.display();
    let text = text
        .map_err(|error| InputError(format!("the {what} file {path} cannot be read: {error}")))?;
    serde_json::from_str(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default();
        InputError(format!(
            "the {what} file {path} is not JSON: line {line}, column {column}: {why}"
        ))
    })
}

/// Reads a file into a type.
pub(crate) fn read_as<T: DeserializeOwned>(what: &str, path: &Path) -> Result<T, InputError> {
    let value = read_object(what, path)?;
    serde_json::from_value(value.into()).map_err(|error| {
        InputError(format!(
            "the {what} file {} cannot be used: {error}",
            path.display()
        ))
    })
}

/// Reads a file that must hold an object.
pub(crate) fn read_object(what: &str, path: &Path) -> Result<Map<String, Value>, InputError> {
    match read_json(what, path)? {
        Value::Object(object) => Ok(object),
        other => {
            let (path, kind) = (path.display(), kind_of(&other));
            Err(InputError(format!(
                "the {what} file {path} must hold a JSON object, but it holds {kind}"
            )))
        }
    }
}

/// Reads a message. An object with a member `body` is the message; any other object is the body.
pub(crate) fn read_message(path: &Path) -> Result<Value, InputError> {
    let object = read_object("message", path)?;
    Ok(if object.contains_key("body") {
        object.into()
    } else {
        json!({"body": object})
    })
}
