//! What a sailor did in a scenario, with everything replaced that differs from run to run.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

/// One entry of `recorded.json`.
#[derive(Clone, Deserialize)]
pub(super) struct Record {
    /// In the order in which the broker took them.
    pub(super) published: Vec<Published>,
    pub(super) dead_lettered: u32,
    pub(super) left_in_queue: u32,
    pub(super) exited_by_itself: bool,
    /// It ended in time, with status 0.
    pub(super) exit_ok: bool,
    pub(super) api: Vec<Call>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Published {
    pub(super) key: String,
    pub(super) props: Value,
    pub(super) headers: Value,
    pub(super) body: Value,
}

#[derive(Clone, Deserialize, Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    /// `user:key`, `Bearer …`, or empty.
    pub(super) auth: String,
    #[serde(default)]
    pub(super) body: Value,
    /// The decrypted contents of an uploaded object.
    #[serde(default)]
    pub(super) object: Value,
    pub(super) status: Option<u16>,
}

impl Record {
    pub(super) fn keys(&self) -> Vec<&str> {
        self.published
            .iter()
            .map(|published| published.key.as_str())
            .collect()
    }

    pub(super) fn normalised(mut self) -> Self {
        for published in &mut self.published {
            normalise("", &mut published.headers);
            normalise("", &mut published.body);
        }
        for call in &mut self.api {
            normalise("", &mut call.body);
            normalise("", &mut call.object);
        }
        self
    }
}

/// `name` is the member that has this value.
fn normalise(name: &str, value: &mut Value) {
    let replacement = match value {
        Value::Object(members) => {
            members
                .iter_mut()
                .for_each(|(name, value)| normalise(name, value));
            return;
        }
        Value::Array(elements) => {
            elements.iter_mut().for_each(|value| normalise(name, value));
            return;
        }
        Value::Number(_) if ["start", "end"].contains(&name) => "<ms>".into(),
        Value::String(_) if name == "stack" => "<stack>".into(),
        // Platforms word their refusals differently, so the text is not compared.
        Value::String(text) if text.contains("was injected for this call") => {
            r#"{"error":"failed"}"#.into()
        }
        Value::String(text) if text.chars().count() > 200 => {
            format!("<{} characters>", text.chars().count())
        }
        Value::String(text) if Uuid::try_parse(text).is_ok() || is_object_id(text) => {
            "<uuid>".into()
        }
        _ => return,
    };
    *value = Value::String(replacement);
}

/// The platform that the recordings were made with counted its objects.
fn is_object_id(text: &str) -> bool {
    text.strip_prefix("obj-")
        .is_some_and(|number| number.parse::<u32>().is_ok())
}
