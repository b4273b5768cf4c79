//! Action "Make a request": one HTTP request, and its answer as messages.

#[path = "answer.rs"]
mod answer;
#[path = "body.rs"]
mod body;

use super::{
    api,
    fields::{self, Pointer, Statuses},
    limit::Limits,
};
use answer::{Answer, AnswerType, Emission};
use anyhow::Context as _;
use body::BodyType;
use reqwest::{Response, StatusCode};
use sailor::{oauth2::AuthorizedRequest, prelude::*};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The step's fields, and what of the credentials is not the runtime's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Config {
    #[serde(rename = "_account")]
    account: String,
    #[serde(deserialize_with = "fields::number")]
    requests_per_minute: Option<f64>,
    #[serde(deserialize_with = "fields::choice")]
    body_type: BodyType,
    #[serde(deserialize_with = "fields::statuses")]
    expected_statuses: Option<Statuses>,
    #[serde(deserialize_with = "fields::choice")]
    on_error: OnError,
    #[serde(deserialize_with = "fields::choice")]
    answer_type: AnswerType,
    #[serde(deserialize_with = "fields::pointer")]
    split_pointer: Option<Pointer>,
    #[serde(deserialize_with = "fields::text")]
    idempotency_header: Option<String>,
}

/// What an answer with another status than those expected does.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum OnError {
    /// It is an error; what passes by itself (429, and 5xx where sending again changes nothing) comes again later.
    #[default]
    Error,
    /// The message comes again later.
    Rebound,
    /// It is emitted like any other.
    Emit,
}

/// The request to send.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// HTTP method, GET unless said otherwise.
    #[serde(default)]
    method: Option<String>,
    /// Path below the base URL of the credentials, or an address on the same host.
    path: String,
    /// Query parameters; a list is sent as several.
    #[serde(default, deserialize_with = "fields::or_nothing")]
    #[schemars(with = "BTreeMap<String, String>")]
    query: BTreeMap<String, Value>,
    /// Headers of the request.
    #[serde(default, deserialize_with = "fields::or_nothing")]
    headers: BTreeMap<String, String>,
    /// What to send, in the way that the step's field says.
    #[serde(default)]
    body: Option<Value>,
    /// Names of the message's attachments to send, where the body has files; all of them unless said otherwise.
    #[serde(default)]
    attachments: Option<Vec<String>>,
    /// The value of the idempotency header, where the step has one; the message's id unless said otherwise.
    #[serde(default)]
    idempotency_key: Option<String>,
}

impl Request {
    fn pairs(&self) -> anyhow::Result<Vec<(&str, String)>> {
        let mut pairs = Vec::new();
        for (name, value) in &self.query {
            let values = match value {
                Value::Null => &[][..],
                Value::Array(values) => values,
                value => std::slice::from_ref(value),
            };
            for value in values {
                let value = body::scalar(value);
                pairs.push((
                    &**name,
                    value.with_context(|| format!("`query.{name}` must be a text or a number"))?,
                ));
            }
        }
        Ok(pairs)
    }
}

/// Sends requests; accounts keep to their limits.
pub struct MakeRequest(pub Arc<Limits>);

impl Action for MakeRequest {
    type Config = Config;
    type Input = Request;
    type Output = Answer;

    async fn process(
        &self,
        message: Message<Request>,
        cx: Context<Config, Answer>,
    ) -> anyhow::Result<()> {
        let config = &cx.config;
        let Message {
            id,
            body: input,
            attachments,
            ..
        } = message;
        let method = input
            .method
            .as_deref()
            .filter(|method| !method.is_empty())
            .unwrap_or("GET")
            .to_uppercase();
        let method: reqwest::Method = method
            .parse()
            .with_context(|| format!("`method` is no HTTP method: {method:?}"))?;
        let shown = format!("{method} {}", api::shown(&input.path));
        let mut repeatable = method.is_idempotent();
        if let Some(name) = input.headers.keys().find(|name| is_of_transport(name)) {
            anyhow::bail!(
                "`headers.{name}` is not for a message to set: it is told by the address and the body"
            );
        }

        let mut request = cx
            .oauth()
            .request(method, input.path.as_str())
            .query(&input.pairs()?);
        // A multipart form names the boundary between its parts, and there is one key.
        let is_ours = |name: &str| match &config.idempotency_header {
            Some(header) if header.eq_ignore_ascii_case(name) => true,
            _ => config.body_type == BodyType::Multipart && is_content_type(name),
        };
        for (name, value) in input.headers.iter().filter(|(name, _)| !is_ours(name)) {
            request = request.header(name, value);
        }
        if let Some(header) = &config.idempotency_header {
            let key = input
                .idempotency_key
                .as_deref()
                .or(id.as_deref())
                .filter(|key| !key.is_empty());
            let key =
                key.context("the message has no id to tell it from others: map `idempotencyKey`")?;
            request = request.header(header, key).idempotent(true);
            repeatable = true;
        }
        let has_type = input.headers.keys().any(|name| is_content_type(name));
        let files = match config.body_type {
            BodyType::Multipart | BodyType::Raw => {
                body::chosen(&attachments, input.attachments.as_deref())?
            }
            BodyType::Json | BodyType::Form | BodyType::Text => vec![],
        };
        let storage = || cx.attachments().cloned();
        let request = body::put(
            request,
            config.body_type,
            input.body,
            files,
            has_type,
            storage,
        )
        .await?;

        self.0
            .turn(&config.account, config.requests_per_minute)
            .await?;
        let answer = config.send(request).await?;
        // An unexpected answer has no list where the expected ones have it.
        let split = config
            .split_pointer
            .as_ref()
            .filter(|_| is_expected(&config.expected_statuses, answer.status()));
        Emission {
            request: &shown,
            repeatable,
            kind: config.answer_type,
            split,
        }
        .emit(answer, &cx)
        .await
    }
}

impl Config {
    /// The answer, if it is expected or to be emitted anyway.
    async fn send(&self, request: AuthorizedRequest) -> anyhow::Result<Response> {
        let expected = self.expected_statuses.clone();
        let request = request.accept(move |status| is_expected(&expected, status));
        match self.on_error {
            OnError::Error => Ok(request.send().await?),
            OnError::Emit => Ok(request.send_any_status().await?),
            OnError::Rebound => match request.send().await {
                Err(error) if error.status().is_some() => {
                    Err(Rebound::because(error.to_string()).into())
                }
                answer => Ok(answer?),
            },
        }
    }
}

fn is_expected(expected: &Option<Statuses>, status: StatusCode) -> bool {
    match expected {
        Some(expected) => expected.contains(status.as_u16()),
        None => status.is_success() || status == StatusCode::NOT_MODIFIED,
    }
}

/// What says whom a request is for and where it ends: with another, the token would be told to another host, or the body
/// be taken for a request of its own.
fn is_of_transport(header: &str) -> bool {
    const NAMES: [&str; 8] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "upgrade",
        "te",
        "trailer",
        "keep-alive",
    ];
    NAMES
        .iter()
        .any(|name| header.trim().eq_ignore_ascii_case(name))
}

fn is_content_type(header: &str) -> bool {
    header.eq_ignore_ascii_case("content-type")
}
