//! The action `createItem`.

use crate::api;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};

/// The fields of the step.
#[derive(Deserialize)]
pub struct Config {
    #[serde(default, deserialize_with = "sailor::fields::text")]
    parent: Option<String>,
}

/// The body of a message that comes in.
#[derive(Deserialize, JsonSchema)]
pub struct NewItem {
    name: String,
}

/// The body of a message that is emitted.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct CreatedItem {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

/// The request's body.
#[derive(Serialize)]
struct Request<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<&'a str>,
}

pub async fn create_item(
    message: Message<NewItem>,
    cx: Context<Config, CreatedItem>,
) -> anyhow::Result<()> {
    let body = Request {
        name: &message.body.name,
        parent: cx.config.parent.as_deref(),
    };
    let item = api::read(cx.oauth().post("/items").json(&body)).await?;
    cx.data(&item).await
}
