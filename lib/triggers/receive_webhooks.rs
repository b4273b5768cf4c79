//! Trigger "Receive webhooks": emits a webhook request as a message if its signature is valid, and replies after the
//! message is confirmed. If the step has a path for it, the trigger subscribes to the webhooks when the flow starts. It
//! replies to the API's handshakes and pings without emitting them.

use super::{
    handshake, refusals::Refusals, signature::Signatures, signed_text::SignedText,
    subscription::Subscription, webhook_config::Config, webhook_request::Received,
};
use jiff::Timestamp;
use sailor::prelude::*;
use serde_json::{Map, Value, json};

static REFUSALS: Refusals = Refusals::new();

/// The header with the signature if the step names none.
const SIGNATURE_HEADER: &str = "x-hub-signature-256";
/// How many seconds a signed time may be away from now if the step does not say: as in the libraries of Stripe and Slack.
const TIME_TOLERANCE: u64 = 300;

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
        let mut received = Received::new(message);
        // The platform adds it if an HTTP caller waits for a reply.
        let is_awaited = received.headers.remove("reply_to").is_some();
        let reply = reply(&received, &cx).await?;
        if is_awaited {
            cx.http_reply(reply).await?;
        }
        Ok(())
    }
}

/// Emits the request if it is a webhook, and returns the reply to it.
async fn reply(request: &Received, cx: &Context<Config, Received>) -> anyhow::Result<HttpReply> {
    if let Some(reply) = handshake::reply(request, cx).await? {
        return Ok(reply);
    }
    let pings = cx.config.pings.as_ref();
    if pings.is_some_and(|pings| pings.contain(request)) {
        return Ok(HttpReply::json(200, &json!({}))?);
    }
    if let Err(reason) = check_signature(request, cx).await? {
        // Not an error of the flow: anybody can send a request.
        if let Some(count) = REFUSALS.count() {
            tracing::warn!(
                code = "invalid-signature",
                count,
                "A request without a valid signature is refused: {reason}"
            );
        }
        return Ok(HttpReply::json(401, &json!({ "error": reason }))?);
    }
    cx.data(request).await?;
    cx.config.reply()
}

/// Checks the signature if the step has a secret. The inner error says what is wrong with the request.
async fn check_signature(
    request: &Received,
    cx: &Context<Config, Received>,
) -> anyhow::Result<Result<(), String>> {
    let config = &cx.config;
    let kept = if config.keep_handshake_secret {
        handshake::kept_secret(cx).await?
    } else {
        None
    };
    let secrets = [&config.webhook_secret, &config.previous_secret, &kept];
    let secrets: Vec<_> = secrets.into_iter().flatten().map(String::as_str).collect();
    if secrets.is_empty() && !config.keep_handshake_secret {
        return Ok(Ok(()));
    }
    let (headers, body_alone) = (config.signature_header.as_deref(), SignedText::default());
    let signatures = Signatures {
        secrets,
        headers: headers.unwrap_or(SIGNATURE_HEADER),
        text: config.signed_text.as_ref().unwrap_or(&body_alone),
        tolerance: config.time_tolerance.unwrap_or(TIME_TOLERANCE),
    };
    Ok(signatures.check(request, Timestamp::now().as_second()))
}

impl Config {
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
