//! The subscription that an API requires before it sends webhooks: created when the flow starts, deleted when it stops.

use super::webhook_config::Config;
use crate::api;
use anyhow::Context as _;
use reqwest::StatusCode;
use sailor::{http::path_segment, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of the request if the step has none.
const DEFAULT_BODY: &str = r#"{ "url": "{{webhookUri}}" }"#;

/// What the shutdown hook needs.
#[derive(Default, Deserialize, Serialize)]
pub struct Subscription {
    /// The path to delete; `None` if there is nothing to delete.
    path: Option<String>,
}

impl Subscription {
    /// Subscribes to the API's webhooks, if the step has a path for this.
    pub async fn create(cx: &HookContext<Config>) -> anyhow::Result<Self> {
        let config = &cx.config;
        let Some(path) = config.subscribe_path.as_deref() else {
            return Ok(Self::default());
        };
        let response = cx
            .oauth()
            .post(path)
            .json(&body(cx)?)
            .send()
            .await
            .context("subscribing to webhooks")?;
        // The subscription exists even if the response is invalid. After an error the flow would start and subscribe
        // again.
        let request = format!("POST {}", api::without_query(path));
        let response = api::json(response, &request, false)
            .await
            .unwrap_or_default();
        let id = match &config.subscription_pointer {
            Some(pointer) => pointer.find(&response),
            None => response.get("id"),
        };
        // An id such as `..` would delete something else.
        let Some(id) = id.and_then(as_segment) else {
            tracing::warn!(
                code = "subscription-without-id",
                "The subscription has no id and will outlive the flow: set `subscriptionPointer`"
            );
            return Ok(Self::default());
        };
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (path, String::new()),
        };
        let path = format!("{}/{id}{query}", path.trim_end_matches('/'));
        Ok(Self { path: Some(path) })
    }

    /// Deletes the subscription.
    pub async fn delete(self, cx: &HookContext<Config>) -> anyhow::Result<()> {
        let Some(path) = self.path else { return Ok(()) };
        let is_deleted =
            |status: StatusCode| status.is_success() || matches!(status.as_u16(), 404 | 410);
        cx.oauth()
            .delete(path)
            .accept(is_deleted)
            .send()
            .await
            .context("ending the subscription to webhooks")?;
        Ok(())
    }
}

/// The request's body, with the flow's URL and the secret.
fn body(cx: &HookContext<Config>) -> anyhow::Result<Value> {
    let text = cx.config.subscribe_body.as_deref().unwrap_or(DEFAULT_BODY);
    let mut body: Value = serde_json::from_str(text).map_err(|error| {
        anyhow::anyhow!(
            "`subscribeBody` is not JSON: line {}, column {}",
            error.line(),
            error.column()
        )
    })?;
    let secret = cx.config.webhook_secret.as_deref().unwrap_or_default();
    fill_in(&mut body, cx.webhook_uri()?, secret);
    Ok(body)
}

/// An id as a segment of a path.
fn as_segment(id: &Value) -> Option<String> {
    match id {
        Value::String(id) => path_segment(id).ok(),
        Value::Number(id) => path_segment(&id.to_string()).ok(),
        _ => None,
    }
}

/// Replaces the placeholders in the texts of a body.
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
