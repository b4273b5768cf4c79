//! Blocks of data, JSON, TOML and YAML, and of JavaScript.

use serde_json::{Map, Value, json};
use std::{fs, process::Command};

/// The members of component.json that only it has.
const OF_COMPONENT_JSON: [&str; 3] = ["actions", "triggers", "credentials"];

/// Parses JSON, also members without the object around them, and without `…` where something is left out. What is a
/// component.json, or a part of one, has to keep its rules.
pub(super) fn json(text: &str) -> Result<(), String> {
    let whole = text.replace(", …", "").replace("…,", "").replace('…', "");
    let value: Value = match serde_json::from_str(&whole) {
        Ok(value) => value,
        Err(error) => serde_json::from_str(&format!("{{{whole}}}"))
            .map_err(|_| format!("is not JSON, and not members of an object either: {error}"))?,
    };
    match value {
        Value::Object(members)
            if OF_COMPONENT_JSON
                .iter()
                .any(|name| members.contains_key(*name)) =>
        {
            descriptor(members)
        }
        _ => Ok(()),
    }
}

/// Checks a component.json by its rules. What a part does not have is added.
fn descriptor(members: Map<String, Value>) -> Result<(), String> {
    let mut whole = json!({ "title": "T", "version": "1.0.0" });
    if !members.contains_key("actions") && !members.contains_key("triggers") {
        whole["actions"] = json!({ "act": { "title": "Act", "main": "./act.rs" } });
    }
    for (name, member) in members {
        whole[&name] = member;
    }
    let issues = sailor::lint::lint(whole.to_string().as_bytes());
    let errors: Vec<_> = issues
        .iter()
        .filter(|issue| issue.is_error())
        .map(ToString::to_string)
        .collect();
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors.join("; "))
    }
}

pub(super) fn toml(text: &str) -> Result<(), String> {
    text.parse::<toml_edit::DocumentMut>()
        .map(|_| ())
        .map_err(|error| format!("is not TOML: {error}"))
}

pub(super) fn yaml(text: &str) -> Result<(), String> {
    serde_yaml_ng::from_str::<serde_yaml_ng::Value>(text)
        .map(|_| ())
        .map_err(|error| format!("is not YAML: {error}"))
}

/// Checks the syntax with Node, where it is installed.
pub(super) fn javascript(text: &str) -> Result<(), String> {
    let file = tempfile::Builder::new().suffix(".cjs").tempfile().unwrap();
    fs::write(file.path(), text).unwrap();
    let Ok(output) = Command::new("node")
        .arg("--check")
        .arg(file.path())
        .output()
    else {
        return Ok(());
    };
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let reason = reason.lines().find(|line| line.contains("Error"));
    Err(format!("is not JavaScript: {}", reason.unwrap_or_default()))
}
