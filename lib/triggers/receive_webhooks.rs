//! Trigger "Receive webhooks": emits a webhook request as a message if its signature is valid, and replies after the
//! message is confirmed. If the step has a path for it, the trigger subscribes to the webhooks when the flow starts.

use super::{signature::is_signed, subscription::Subscription, webhook_config::Config};
use sailor::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A webhook request.
#[derive(Serialize, JsonSchema)]
pub struct Received {
    /// HTTP method.
    method: String,
    /// Request headers, with names in lower case.
    headers: Map<String, Value>,
    /// Query parameters.
    query: Map<String, Value>,
    /// The body as JSON if it is JSON, otherwise as text.
    body: Value,
}

pub struct ReceiveWebhooks;

impl Action for ReceiveWebhooks {
    type Config = Config;
    type Input = Value;
    type Output = Received;

    async fn startup(&self, cx: HookContext<Config>) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(Subscription::create(&cx).await?)?)
    }

    async fn shutdown(&self, cx: HookContext<Config>, state: Value) -> anyhow::Result<()> {
        serde_json::from_value::<Subscription>(state)?
            .delete(&cx)
            .await
    }

    async fn process(
        &self,
        message: Message<Value>,
        cx: Context<Config, Received>,
    ) -> anyhow::Result<()> {
        let raw = raw_body(&message);
        let mut received = Received {
            method: message.method.unwrap_or_else(|| "POST".to_owned()),
            headers: lowercase_names(&message.headers),
            query: message.query,
            body: Value::Null,
        };
        // The platform adds it if an HTTP caller waits for a reply.
        let is_awaited = received.headers.remove("reply_to").is_some();
        let reply = match cx.config.invalid_signature(&raw, &received.headers) {
            Some(header) => {
                // Not an error of the flow: anybody can send a request.
                tracing::warn!("A request without a valid signature in {header} is refused");
                let error = format!("the signature in {header} is missing or wrong");
                HttpReply::json(401, &json!({ "error": error }))?
            }
            None => {
                received.body = parse(&raw);
                cx.data(&received).await?;
                cx.config.reply()?
            }
        };
        if is_awaited {
            cx.http_reply(reply).await?;
        }
        Ok(())
    }
}

impl Config {
    /// The header that should have a valid signature, if it has none.
    fn invalid_signature(&self, body: &[u8], headers: &Map<String, Value>) -> Option<String> {
        let secret = self.webhook_secret.as_deref()?;
        let header = self.signature_header.as_deref();
        let header = header.unwrap_or("x-hub-signature-256").to_lowercase();
        let signature = headers.get(&header).and_then(Value::as_str);
        let is_valid = is_signed(body, signature.unwrap_or_default(), secret);
        (!is_valid).then_some(header)
    }

    /// The reply to a request that was emitted.
    fn reply(&self) -> anyhow::Result<HttpReply> {
        let status = self.reply_status.unwrap_or(200);
        let text = self.reply_body.as_deref().unwrap_or("{}");
        if let Ok(json) = serde_json::from_str::<Value>(text) {
            return Ok(HttpReply::json(status, &json)?);
        }
        let content_type = (
            "content-type".to_owned(),
            "text/plain; charset=utf-8".into(),
        );
        Ok(HttpReply {
            status_code: status,
            headers: Map::from_iter([content_type]),
            body: text.into(),
        })
    }
}

fn lowercase_names(headers: &Map<String, Value>) -> Map<String, Value> {
    let headers = headers.iter();
    headers
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect()
}

fn parse(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into())
}

/// The body for the signature, byte by byte as it was sent. The platform passes it on as `rawData` if component.json
/// says `consumesRawData`. Otherwise this is the message's body, which may have other white space.
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
