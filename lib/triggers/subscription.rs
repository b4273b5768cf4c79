//! The subscription that an API wants before it sends webhooks: made when the flow starts, ended when it stops.

use super::{Config, api};
use anyhow::Context as _;
use sailor::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What to send where the step does not say.
const USUAL_BODY: &str = r#"{ "url": "{{webhookUri}}" }"#;

/// What the shutdown hook has to know.
#[derive(Default, Deserialize, Serialize)]
pub struct Subscription {
    /// What to delete; none where nothing was subscribed to.
    path: Option<String>,
}

impl Subscription {
    /// Has the API send what happens to the flow.
    pub async fn make(cx: &HookContext<Config>) -> anyhow::Result<Self> {
        let config = &cx.config;
        let Some(path) = config.subscribe_path.as_deref() else {
            return Ok(Self::default());
        };
        let body = config.subscribe_body.as_deref().unwrap_or(USUAL_BODY);
        let mut body: Value = serde_json::from_str(body).map_err(|e| {
            anyhow::anyhow!(
                "`subscribeBody` is no JSON: line {}, column {}",
                e.line(),
                e.column()
            )
        })?;
        fill_in(
            &mut body,
            cx.webhook_uri()?,
            config.webhook_secret.as_deref().unwrap_or_default(),
        );
        let answer = cx
            .oauth()
            .post(path)
            .json(&body)
            .send()
            .await
            .context("subscribing to webhooks")?;
        // It is made, whatever the answer looks like: an error would have the flow start again, and subscribe again.
        let answer = api::json(answer, &format!("POST {}", api::shown(path)), false)
            .await
            .unwrap_or_default();
        let id = match &config.subscription_pointer {
            Some(pointer) => pointer.find(&answer),
            None => answer.get("id"),
        };
        // A way up would have something else deleted.
        let is_usable = |id: &&Value| {
            id.is_number() || id.as_str().is_some_and(|id| !matches!(id, "" | "." | ".."))
        };
        let Some(id) = id.filter(is_usable) else {
            tracing::warn!(
                "The subscription has no id and will outlive the flow: set `subscriptionPointer`"
            );
            return Ok(Self::default());
        };
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let (path, query) = path
            .split_once('?')
            .map_or((path, String::new()), |(path, query)| {
                (path, format!("?{query}"))
            });
        Ok(Self {
            path: Some(format!(
                "{}/{}{query}",
                path.trim_end_matches('/'),
                api::segment(&id)
            )),
        })
    }

    /// Has the API send nothing any more.
    pub async fn end(self, cx: &HookContext<Config>) -> anyhow::Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        // One that is gone already is none any more.
        let is_over = |status: reqwest::StatusCode| {
            status.is_success() || matches!(status.as_u16(), 404 | 410)
        };
        cx.oauth()
            .delete(path)
            .accept(is_over)
            .send()
            .await
            .context("ending the subscription to webhooks")?;
        Ok(())
    }
}

/// Puts address and secret into the texts of a body.
fn fill_in(body: &mut Value, webhook_uri: &str, secret: &str) {
    match body {
        Value::String(text) => {
            *text = text
                .replace("{{webhookUri}}", webhook_uri)
                .replace("{{webhookSecret}}", secret);
        }
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| fill_in(item, webhook_uri, secret)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| fill_in(member, webhook_uri, secret)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
