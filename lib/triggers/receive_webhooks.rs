//! Trigger "Receive webhooks": a request from outside becomes a message, if its signature is right, and is answered when
//! the next step has the message for sure. The API is subscribed to where the step says how.

#[path = "signature.rs"]
mod signature;
#[path = "subscription.rs"]
mod subscription;

use super::{
    api,
    fields::{self, Pointer},
};
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use signature::is_signed;
use subscription::Subscription;

/// The step's fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Config {
    #[serde(deserialize_with = "fields::text")]
    webhook_secret: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    signature_header: Option<String>,
    #[serde(deserialize_with = "fields::status")]
    reply_status: Option<u16>,
    #[serde(deserialize_with = "fields::text")]
    reply_body: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    subscribe_path: Option<String>,
    #[serde(deserialize_with = "fields::text")]
    subscribe_body: Option<String>,
    #[serde(deserialize_with = "fields::pointer")]
    subscription_pointer: Option<Pointer>,
}

/// A request from outside.
#[derive(Serialize, JsonSchema)]
pub struct Received {
    /// HTTP method.
    method: String,
    /// Headers of the request, their names in small letters.
    headers: Map<String, Value>,
    /// Query parameters.
    query: Map<String, Value>,
    /// JSON where the request is JSON, text otherwise.
    body: Value,
}

pub struct ReceiveWebhooks;

impl Action for ReceiveWebhooks {
    type Config = Config;
    type Input = Value;
    type Output = Received;

    async fn startup(&self, cx: HookContext<Config>) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(Subscription::make(&cx).await?)?)
    }

    async fn shutdown(&self, cx: HookContext<Config>, state: Value) -> anyhow::Result<()> {
        serde_json::from_value::<Subscription>(state)?
            .end(&cx)
            .await
    }

    async fn process(
        &self,
        message: Message<Value>,
        cx: Context<Config, Received>,
    ) -> anyhow::Result<()> {
        let config = &cx.config;
        let raw = raw_body(&message);
        let mut headers: Map<String, Value> = message
            .headers
            .iter()
            .map(|(name, value)| (name.to_lowercase(), value.clone()))
            .collect();
        // The platform puts it there for whoever answers.
        let is_awaited = headers.remove("reply_to").is_some();
        let reply = async |reply| {
            if is_awaited {
                cx.http_reply(reply).await
            } else {
                Ok(())
            }
        };
        if let Some(secret) = &config.webhook_secret {
            let name = config
                .signature_header
                .as_deref()
                .unwrap_or("x-hub-signature-256")
                .to_lowercase();
            let signature = headers
                .get(&name)
                .and_then(Value::as_str)
                .unwrap_or_default();
            if !is_signed(&raw, signature, secret) {
                // Nothing for the flow's owner to do: anybody can send anything.
                tracing::warn!("A request without the right signature in {name} is refused");
                let error = format!("the signature in {name} is missing or wrong");
                return reply(HttpReply::json(401, &json!({ "error": error }))?).await;
            }
        }
        let text = || String::from_utf8_lossy(&raw).into_owned();
        let received = Received {
            method: message.method.unwrap_or_else(|| "POST".to_owned()),
            headers,
            query: message.query,
            body: serde_json::from_slice(&raw).unwrap_or_else(|_| text().into()),
        };
        cx.data(&received).await?;
        reply(config.reply()?).await
    }
}

impl Config {
    /// What a request that was taken is answered.
    fn reply(&self) -> anyhow::Result<HttpReply> {
        let status = self.reply_status.unwrap_or(200);
        let text = self.reply_body.as_deref().unwrap_or("{}");
        match serde_json::from_str::<Value>(text) {
            Ok(json) => Ok(HttpReply::json(status, &json)?),
            Err(_) => {
                let headers = Map::from_iter([(
                    "content-type".to_owned(),
                    "text/plain; charset=utf-8".into(),
                )]);
                Ok(HttpReply {
                    status_code: status,
                    headers,
                    body: text.into(),
                })
            }
        }
    }
}

/// The body as it was sent, which is what is signed: the platform passes it on in `rawData` when component.json says
/// `consumesRawData`. Otherwise it is the message's body, which only may be written as it was sent.
fn raw_body(message: &Message<Value>) -> Vec<u8> {
    match message.body.get("rawData") {
        Some(Value::String(text)) => text.clone().into_bytes(),
        _ => message
            .raw()
            .get("body")
            .map(|body| body.as_bytes().to_vec())
            .unwrap_or_default(),
    }
}
