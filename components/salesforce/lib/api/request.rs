//! One request to Salesforce, and its response.

use super::error::{self, ResponseError};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use sailor::{
    http::{BodyError, decode_text_lossy, parse_json, read_body},
    oauth2::{AuthorizedClient, AuthorizedRequest, Error},
};
use secrecy::ExposeSecret as _;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// The most that is read of an error's body, in bytes. The error code is behind the message, and a message with the ids of
/// 200 records has 4 KB.
const MAX_ERROR: usize = 64 << 10;
/// The most that is read into memory of one response: as JSON it takes several times that.
pub const MAX_RESPONSE: usize = 16 << 20;
/// How long an error's body may take.
const ERROR_TIME: Duration = Duration::from_secs(10);

/// A request; nothing happens until it is sent.
pub struct Request {
    oauth: AuthorizedClient,
    request: AuthorizedRequest,
    sent: Sent,
}

/// What errors say about a request.
struct Sent {
    /// Method and path, without the query.
    label: String,
    /// Whether it can be sent twice without harm.
    idempotent: bool,
}

/// A response that was read.
pub struct Received {
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    sent: Sent,
}

impl Request {
    pub(super) fn new(oauth: &AuthorizedClient, method: Method, path: String) -> Self {
        let sent = Sent {
            label: format!("{method} {}", path.split('?').next().unwrap_or_default()),
            idempotent: method.is_idempotent(),
        };
        Self {
            request: oauth.request(method, path),
            oauth: oauth.clone(),
            sent,
        }
    }

    fn map(mut self, change: impl FnOnce(AuthorizedRequest) -> AuthorizedRequest) -> Self {
        self.request = change(self.request);
        self
    }

    pub fn query<T: Serialize + ?Sized>(self, parameters: &T) -> Self {
        self.map(|request| request.query(parameters))
    }

    pub fn header(self, name: &str, value: &str) -> Self {
        self.map(|request| request.header(name, value))
    }

    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Self {
        self.map(|request| request.json(body))
    }

    /// Sets a body that `open` creates again for each attempt.
    pub fn reopen<B: Into<reqwest::Body>>(
        self,
        open: impl Fn() -> B + Send + Sync + 'static,
    ) -> Self {
        self.map(|request| request.reopen(open))
    }

    pub fn timeout(self, limit: Duration) -> Self {
        self.map(|request| request.timeout(limit))
    }

    /// Sets whether the request can be sent twice without harm. The default depends on the method.
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.sent.idempotent = idempotent;
        self.map(|request| request.idempotent(idempotent))
    }

    /// Sends the request. The body of the response is still to be read.
    ///
    /// # Errors
    /// Returns an [`ApiError`](super::ApiError) if Salesforce explains its error status, and a rebound if the error will pass.
    pub async fn send(self) -> anyhow::Result<Response> {
        self.send_labelled().await.map(|(response, _)| response)
    }

    /// Sends the request, and reads at most `max_bytes` of the response into memory.
    ///
    /// # Errors
    /// Returns the errors of [`send`](Self::send), and an error if the body is longer or breaks off.
    pub async fn read(self, max_bytes: usize) -> anyhow::Result<Received> {
        let (response, sent) = self.send_labelled().await?;
        let headers = response.headers().clone();
        match read_body(response, max_bytes).await {
            Ok(body) => Ok(Received {
                headers,
                body,
                sent,
            }),
            Err(error) => Err(sent.unreadable(error)),
        }
    }

    /// Sends the request and reads a JSON response; an empty one is `null`.
    ///
    /// # Errors
    /// Returns the errors of [`read`](Self::read), and an error if the response does not fit `T`.
    pub async fn read_json<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        self.read(MAX_RESPONSE).await?.parse()
    }

    async fn send_labelled(self) -> anyhow::Result<(Response, Sent)> {
        let Self {
            oauth,
            request,
            sent,
        } = self;
        // The runtime explains a token that is refused, and a redirect.
        let is_answer = |status: StatusCode| {
            status != StatusCode::UNAUTHORIZED
                && (!status.is_redirection() || matches!(status.as_u16(), 300 | 304))
        };
        let response = request.accept(is_answer).send().await;
        let response = response.map_err(error::explained)?;
        match response.status() {
            StatusCode::MULTIPLE_CHOICES => Err(choices(response).await),
            status if status.as_u16() < 400 => Ok((response, sent)),
            _ => Err(refusal(response, &oauth, sent).await),
        }
    }
}

impl Received {
    /// The body as JSON; an empty one is `null`.
    ///
    /// # Errors
    /// Returns an error if the body does not fit `T`.
    pub fn parse<T: DeserializeOwned>(self) -> anyhow::Result<T> {
        let parsed = parse_json(&self.body, content_type(&self.headers));
        parsed.map_err(|error| self.sent.unreadable(error.into()))
    }

    /// The body as JSON, or as text if it is not JSON.
    pub fn json_or_text(&self) -> Result<Value, String> {
        let content_type = content_type(&self.headers);
        parse_json(&self.body, content_type)
            .map_err(|_| decode_text_lossy(&self.body, content_type).into_owned())
    }
}

impl Sent {
    /// The error of a body. If the connection broke off, a later attempt can succeed.
    fn unreadable(self, error: BodyError) -> anyhow::Error {
        let cause = match &error {
            BodyError::Interrupted(_) => Some(Error::NoResponse {
                request: self.label.clone(),
                reason: "its end did not arrive".to_owned(),
                repeatable: self.idempotent,
            }),
            _ => None,
        };
        let error = ResponseError {
            request: self.label,
            error,
        };
        match cause {
            Some(cause) => anyhow::Error::new(cause).context(error),
            None => error.into(),
        }
    }
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

/// The error of an upsert by an external id that is not unique.
async fn choices(response: Response) -> anyhow::Error {
    let choices: Vec<Value> = match read_body(response, MAX_ERROR).await {
        Ok(body) => parse_json(&body, None).unwrap_or_default(),
        Err(_) => vec![],
    };
    let several = match choices.len() {
        0 => "several".to_owned(),
        count => count.to_string(),
    };
    anyhow::anyhow!("{several} records have this external id; it must belong to one")
}

/// The error of a response with an error status. Its body is read far enough to be understood.
async fn refusal(mut response: Response, oauth: &AuthorizedClient, sent: Sent) -> anyhow::Error {
    let (status, headers) = (response.status(), response.headers().clone());
    let mut body = vec![];
    // A body that breaks off is worth what there is of it.
    let _ = timeout(ERROR_TIME, async {
        while body.len() < MAX_ERROR
            && let Ok(Some(chunk)) = response.chunk().await
        {
            body.extend_from_slice(&chunk);
        }
    })
    .await;
    body.truncate(MAX_ERROR);
    let mut body = decode_text_lossy(&body, content_type(&headers)).into_owned();
    // Some proxies repeat the request in their response. Salesforce has taken the token, so it is not refreshed here.
    if let Ok(token) = oauth.access_token().await
        && !token.expose_secret().is_empty()
    {
        body = body.replace(token.expose_secret(), "[token]");
    }
    let repeatable = match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => sent.idempotent || headers.contains_key(RETRY_AFTER),
        StatusCode::NOT_IMPLEMENTED => false,
        _ => sent.idempotent,
    };
    error::refused(sent.label, status, body, repeatable)
}
