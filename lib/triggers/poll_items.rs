//! Trigger "Poll for new and changed items": asks for a list and emits what is new in it.

use anyhow::Context as _;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The step's fields, beside the credentials.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    path: String,
    #[serde(default)]
    items_pointer: String,
    #[serde(default = "id")]
    id_field: String,
    #[serde(default = "updated_at")]
    changed_field: String,
    #[serde(default)]
    since_parameter: Option<String>,
}

fn id() -> String {
    "id".to_owned()
}

fn updated_at() -> String {
    "updated_at".to_owned()
}

/// How far the polling has come: the time of the last change, and the items that changed at that very time.
#[derive(Clone, Default, Deserialize, Serialize)]
pub struct Position {
    since: String,
    seen: Vec<Value>,
}

/// Times are compared as text, so they must be ISO 8601 in one time zone.
pub struct PollItems;

impl Trigger for PollItems {
    type Config = Config;
    type Snapshot = Position;
    type Output = Map<String, Value>;

    async fn poll(
        &self,
        since: Option<Position>,
        cx: &Context<Config, Map<String, Value>>,
    ) -> anyhow::Result<Option<Position>> {
        let config = &cx.config;
        let mut position = since.unwrap_or_default();
        let mut request = cx.oauth().get(&config.path);
        if let Some(parameter) = config.since_parameter.as_ref().filter(|p| !p.is_empty() && !position.since.is_empty())
        {
            request = request.query(&[(parameter, &position.since)]);
        }
        let answer: Value = request.send_json().await?;
        let items = answer.pointer(&config.items_pointer).and_then(Value::as_array).with_context(|| {
            format!("the answer has no list at {:?}: set `itemsPointer` to where the items are", config.items_pointer)
        })?;
        let mut new = Vec::new();
        for item in items {
            let item = item.as_object().context("an item of the list is no JSON object")?;
            let id = item.get(&config.id_field).with_context(|| format!("an item has no `{}`", config.id_field))?;
            let changed = item.get(&config.changed_field).and_then(Value::as_str);
            let changed = changed.with_context(|| format!("an item has no time in `{}`", config.changed_field))?;
            if changed > position.since.as_str() || (changed == position.since && !position.seen.contains(id)) {
                new.push((changed, id, item));
            }
        }
        new.sort_by_key(|(changed, ..)| *changed);
        for (changed, id, item) in new {
            cx.data(item).await?;
            if changed != position.since {
                position = Position { since: changed.to_owned(), seen: vec![] };
            }
            position.seen.push(id.clone());
        }
        Ok(Some(position))
    }
}
