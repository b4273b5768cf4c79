//! A component that calls APIs in each way that there is: with tokens, with an API key over the plain HTTP client, with a form, with
//! a file, and with a client of its own.

use anyhow::Context as _;
use reqwest::multipart::{Form, Part};
use sailor::{jiff::Timestamp, oauth2::OAuth2, prelude::*};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Its component.json.
pub const COMPONENT_JSON: &str = r#"{
    "title": "Orders",
    "version": "1.2.3",
    "credentials": {
        "fields": { "baseUrl": { "label": "URL" }, "apiKey": { "label": "Key" } },
        "oauth2": {
            "client_id": "{{ORDERS_CLIENT_ID}}",
            "client_secret": "{{ORDERS_CLIENT_SECRET}}",
            "auth_uri": "{{ORDERS_AUTH_URI}}",
            "token_uri": "{{ORDERS_TOKEN_URI}}"
        }
    },
    "actions": { "order": { "title": "Order", "main": "./order.rs" } }
}"#;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    api_key: String,
    sample_url: String,
}

#[derive(Deserialize, JsonSchema)]
struct Order {
    name: String,
    #[serde(default)]
    fails: bool,
    #[serde(default)]
    uploads: bool,
    /// The host of a request by a client that trusts the system's certificates only.
    own_client: Option<String>,
    /// The address of a request that is given up before its response comes.
    gives_up: Option<String>,
}

async fn order(message: Message<Order>, cx: Context<Config, Value>) -> anyhow::Result<()> {
    let id = uuid::Uuid::new_v4().to_string();
    let now = Timestamp::now().to_string();
    let order = json!({ "name": message.body.name, "request": id, "at": now });
    let created: Value = cx.oauth().post("/items").json(&order).send_json().await?;
    let sample = cx.http().get(&cx.config.sample_url);
    let sample = sample
        .header("x-api-key", &cx.config.api_key)
        .send()
        .await?;
    let sample: Value = sample.error_for_status()?.json().await?;
    let form = [("api_key", cx.config.api_key.as_str()), ("q", "a b")];
    let echo: Value = cx.oauth().post("/echo").form(&form).send_json().await?;
    if message.body.uploads {
        let key = cx.config.api_key.clone();
        let (source, at) = (cx.config.sample_url.clone(), now.clone());
        let form = move || {
            let picture = Part::bytes(&b"\x89PNG\xff\r\n"[..]).file_name("a.png");
            Form::new()
                .text("api_key", key.clone())
                .text("source", source.clone())
                .text("at", at.clone())
                .part("picture", picture)
        };
        let _: Value = cx.oauth().post("/echo").multipart(form).send_json().await?;
    }
    if let Some(url) = &message.body.gives_up {
        let request = cx.http().get(url).timeout(Duration::from_millis(100));
        anyhow::ensure!(request.send().await.is_err(), "it has a response");
    }
    if let Some(host) = &message.body.own_client {
        let own = reqwest::Client::new().get(format!("https://{host}/"));
        anyhow::ensure!(own.send().await.is_err(), "it has trusted");
    }
    anyhow::ensure!(!message.body.fails, "as told");
    cx.snapshot(&json!({ "last": created["id"], "at": now }))
        .await?;
    let names = sample["items"].as_array().context("no items")?;
    let names: Vec<_> = names.iter().map(|item| item["name"].clone()).collect();
    cx.data(&json!({ "created": created["name"], "sample": names, "echo": echo["body"], "request": id, "at": now }))
        .await
}

/// The component, without changes to its component.json.
///
/// # Errors
/// Never, while it fits its component.json.
pub fn component() -> anyhow::Result<Component> {
    Component::new(COMPONENT_JSON)?
        .oauth2(OAuth2::new().base_url("{{baseUrl}}"))
        .action("order", order)
        .check()
}
