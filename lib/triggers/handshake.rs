//! Handshakes: an API checks the flow's URL before it sends webhooks, and expects a text back. A handshake needs no signature
//! and is not emitted.

use super::{
    handshake_reply::{ReplyTemplate, is_word},
    refusals::Refusals,
    signature,
    webhook_config::Config,
    webhook_request::{Member, Received},
};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

static REFUSALS: Refusals = Refusals::new();

/// The longest text that is echoed, in bytes. Real ones have less than 300.
const MAX_ECHO: usize = 1024;

/// The snapshot: the secret of an API that sends it in its handshake.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    handshake_secret: String,
}

/// The reply to a handshake: its text, as plain text or in the header that it came in, or what the step says. `None` if the
/// request is not one.
pub async fn reply(
    request: &Received,
    cx: &Context<Config, Received>,
) -> anyhow::Result<Option<HttpReply>> {
    let config = &cx.config;
    let Some(member) = &config.handshake else {
        return Ok(None);
    };
    let Some(text) = member.text(request) else {
        return Ok(None);
    };
    if let Some((status, reason)) = refusal(config, member, &text, request) {
        return refuse(status, reason).map(Some);
    }
    if config.keep_handshake_secret {
        match kept_secret(cx).await? {
            None => {
                let kept = Kept {
                    handshake_secret: text.clone(),
                };
                cx.snapshot(&kept).await?;
            }
            Some(kept) if signature::is_equal(&kept, &text) => {}
            // Otherwise, whoever knows the URL could replace the secret.
            Some(_) => {
                let reason =
                    "another secret is kept; to accept this one, reset the step's snapshot";
                return refuse(403, reason).map(Some);
            }
        }
    }
    match &config.handshake_reply {
        None => Ok(Some(echo(member, text))),
        Some(template) => {
            let reply = template.fill(&text, config.webhook_secret.as_deref())?;
            Ok(Some(HttpReply::json(200, &reply)?))
        }
    }
}

/// Why a handshake is not accepted.
fn refusal(
    config: &Config,
    member: &Member,
    text: &str,
    request: &Received,
) -> Option<(u16, &'static str)> {
    if let Some(expected) = &config.verify_token {
        let sent = match &config.verify_token_member {
            Some(member) => member.text(request),
            None => Member::Query("hub.verify_token".to_owned()).text(request),
        };
        if !sent.is_some_and(|sent| signature::is_equal(&sent, expected)) {
            return Some((403, "its verify token is missing or wrong"));
        }
    }
    let is_signed = |template: &ReplyTemplate| template.is_signed;
    if config.handshake_reply.as_ref().is_some_and(is_signed) && !is_word(text) {
        return Some((400, "its text is no random word, and is not signed"));
    }
    if text.len() > MAX_ECHO {
        return Some((400, "its text is too long"));
    }
    let is_visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if matches!(member, Member::Header(_)) && !text.bytes().all(is_visible) {
        return Some((400, "its text cannot be sent in a header"));
    }
    None
}

fn refuse(status: u16, reason: &str) -> anyhow::Result<HttpReply> {
    // Not an error of the flow: anybody can send a request.
    if let Some(count) = REFUSALS.count() {
        tracing::warn!(
            code = "handshake-refused",
            count,
            "A handshake is refused: {reason}"
        );
    }
    let error = format!("the handshake is refused: {reason}");
    Ok(HttpReply::json(status, &json!({ "error": error }))?)
}

/// The type says that the text is no HTML, because anybody can send a text that is.
fn echo(member: &Member, text: String) -> HttpReply {
    let mut headers = Map::from_iter([
        (
            "content-type".to_owned(),
            "text/plain; charset=utf-8".into(),
        ),
        ("x-content-type-options".to_owned(), "nosniff".into()),
    ]);
    let body = match member {
        Member::Header(name) => {
            headers.insert(name.clone(), text.into());
            Value::from("")
        }
        Member::Query(_) | Member::Body(_) => text.into(),
    };
    HttpReply {
        status_code: 200,
        headers,
        body,
    }
}

/// The secret that a handshake has brought, to this process or to another replica.
pub async fn kept_secret(cx: &Context<Config, Received>) -> anyhow::Result<Option<String>> {
    let kept = match cx.stored_snapshot::<Kept>()? {
        Some(kept) => Some(kept),
        None => match cx.platform() {
            Ok(platform) => {
                let step = platform
                    .step()
                    .await
                    .context("reading the handshake's secret")?;
                Kept::deserialize(step.snapshot).ok()
            }
            Err(_) => None,
        },
    };
    Ok(kept.map(|kept| kept.handshake_secret))
}
