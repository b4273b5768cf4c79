//! Action "Make a request": sends one HTTP request, and emits its response.

use super::{
    body::{self, BodyType, FileChoice, RequestBody},
    response::{AnswerType, EmitOptions, EmittedResponse},
};
use crate::{
    api,
    fields::{self, Pointer, Statuses},
};
use anyhow::Context as _;
use reqwest::{Method, Response, StatusCode};
use sailor::{http::RateLimiter, oauth2::AuthorizedRequest, prelude::*};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, sync::Arc};

/// The step's fields, and the fields of the credentials that the runtime does not read.
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
    #[serde(deserialize_with = "fields::text")]
    file_part: Option<String>,
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

/// What the step does with a response of an unexpected status.
#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum OnError {
    /// It is an error. If it is transient (429, and 5xx of a repeatable request), the message is rebounded.
    #[default]
    Error,
    /// The message is rebounded.
    Rebound,
    /// The response is emitted like any other.
    Emit,
}

/// The request to send.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// HTTP method. The default is GET.
    #[serde(default)]
    method: Option<String>,
    /// Path below the base URL of the credentials, or a URL on the same host.
    path: String,
    /// Query parameters. A list is sent as several parameters.
    #[serde(default, deserialize_with = "fields::or_default_if_empty")]
    #[schemars(with = "BTreeMap<String, String>")]
    query: BTreeMap<String, Value>,
    /// Headers of the request.
    #[serde(default, deserialize_with = "fields::or_default_if_empty")]
    headers: BTreeMap<String, String>,
    /// The body to send, in the format of the step's body type.
    #[serde(default)]
    body: Option<Value>,
    /// Names of the message's attachments to send, if the body type has files. The default is all of them.
    #[serde(default)]
    #[schemars(with = "Option<Vec<String>>")]
    attachments: Option<Vec<FileChoice>>,
    /// Value of the idempotency header, if the step has one. The default is the message's id.
    #[serde(default)]
    idempotency_key: Option<String>,
}

impl Request {
    fn method(&self) -> anyhow::Result<Method> {
        let method = self.method.as_deref().filter(|method| !method.is_empty());
        let method = method.unwrap_or("GET").to_uppercase();
        method
            .parse()
            .with_context(|| format!("`method` is not an HTTP method: {method:?}"))
    }

    fn query(&self) -> anyhow::Result<Vec<(&str, String)>> {
        let mut pairs = Vec::new();
        for (name, value) in &self.query {
            for value in body::values(value) {
                let value = body::scalar(value)
                    .with_context(|| format!("`query.{name}` must be a text or a number"))?;
                pairs.push((&**name, value));
            }
        }
        Ok(pairs)
    }

    fn has_content_type(&self) -> bool {
        self.headers.keys().any(|name| is_content_type(name))
    }

    /// The value of the idempotency header. `id` is the message's id.
    fn key<'a>(&'a self, id: Option<&'a str>) -> anyhow::Result<&'a str> {
        let key = self.idempotency_key.as_deref().or(id);
        key.filter(|key| !key.is_empty()).context(
            "the message has no id, which is the default idempotency key: map `idempotencyKey`",
        )
    }
}

/// Sends requests within the limits of their accounts.
pub struct MakeRequest(pub Arc<RateLimiter>);

impl Action for MakeRequest {
    type Config = Config;
    type Input = Request;
    type Output = EmittedResponse;

    async fn process(
        &self,
        message: Message<Request>,
        cx: Context<Config, EmittedResponse>,
    ) -> anyhow::Result<()> {
        let config = &cx.config;
        let method = message.body.method()?;
        let is_repeatable = method.is_idempotent() || config.idempotency_header.is_some();
        let shown = format!("{method} {}", api::without_query(&message.body.path));
        let request = request(method, message, &cx).await?;

        let limit = config.requests_per_minute;
        self.0.acquire(&config.account, limit).await?;
        let response = config.send(request).await?;
        // An unexpected response does not have the list of the expected ones.
        let is_expected = is_expected(&config.expected_statuses, response.status());
        let options = EmitOptions {
            request: &shown,
            is_repeatable,
            kind: config.answer_type,
            split: config.split_pointer.as_ref().filter(|_| is_expected),
        };
        options.emit(response, &cx).await
    }
}

/// The request of a message, with its headers and its body.
async fn request(
    method: Method,
    message: Message<Request>,
    cx: &Context<Config, EmittedResponse>,
) -> anyhow::Result<AuthorizedRequest> {
    let config = &cx.config;
    let Message {
        id,
        body: mut input,
        attachments,
        ..
    } = message;
    let mut request = cx
        .oauth()
        .request(method, input.path.as_str())
        .query(&input.query()?);
    for (name, value) in config.own_headers(&input)? {
        request = request.header(name, value);
    }
    if let Some(header) = &config.idempotency_header {
        let key = input.key(id.as_deref())?;
        request = request.header(header, key).idempotent(true);
    }
    let choices = input.attachments.take();
    let files = match config.body_type {
        BodyType::Multipart | BodyType::Raw => {
            let part = config.file_part.as_deref();
            body::select_files(&attachments, choices, part)?
        }
        BodyType::Json | BodyType::Form | BodyType::Text => vec![],
    };
    let body = RequestBody {
        kind: config.body_type,
        has_content_type: input.has_content_type(),
        value: input.body,
        files,
    };
    body.apply_to(request, || cx.attachments().cloned()).await
}

impl Config {
    /// The message's headers, without those that this step sets itself.
    fn own_headers<'a>(&self, input: &'a Request) -> anyhow::Result<Vec<(&'a str, &'a str)>> {
        let mut headers = Vec::new();
        for (name, value) in &input.headers {
            anyhow::ensure!(
                !is_of_transport(name),
                "`headers.{name}` cannot be set by a message: it follows from the address and the body"
            );
            if !self.sets(name) {
                headers.push((&**name, &**value));
            }
        }
        Ok(headers)
    }

    /// Whether the step sets this header itself: the content type of a multipart form, or the idempotency header.
    fn sets(&self, header: &str) -> bool {
        let key_header = self.idempotency_header.as_deref();
        let is_key = key_header.is_some_and(|name| name.eq_ignore_ascii_case(header));
        is_key || (self.body_type == BodyType::Multipart && is_content_type(header))
    }

    /// The response, if its status is expected or emitted anyway.
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
                result => Ok(result?),
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

/// Whether a header says which host a request is for, or where it ends. A message that sets one could send the token to
/// another host, or smuggle in a second request.
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
