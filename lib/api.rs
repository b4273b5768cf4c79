//! The API that the credentials lead to.

use anyhow::{Context as _, bail, ensure};
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;

/// The credentials, as component.json asks for them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    base_url: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    pub verify_path: Option<String>,
}

impl Credentials {
    /// A request to a path of the API, with the token. Other hosts are refused: the token is not for them.
    pub fn request(
        &self,
        http: &reqwest::Client,
        method: reqwest::Method,
        path: &str,
    ) -> anyhow::Result<reqwest::RequestBuilder> {
        ensure!(
            !path.contains("://") && !path.starts_with("//"),
            "`path` must be a path below the base URL of the credentials, not an address of its own"
        );
        let url = format!("{}/{}", self.base_url.trim_end_matches('/'), path.trim_start_matches('/'));
        let url = reqwest::Url::parse(&url).context("the credentials' `baseUrl` with the path is no URL")?;
        ensure!(matches!(url.scheme(), "http" | "https"), "the credentials' `baseUrl` must begin with https://");
        let request = http.request(method, url);
        Ok(match self.token.as_deref().filter(|token| !token.is_empty()) {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
    }
}

/// Sends a request. Trouble that passes has the message come again later: no connection, 429 and 503; with requests
/// that change nothing also lost answers and other 5xx. What may have changed something is not sent twice.
pub async fn send(request: reqwest::RequestBuilder) -> anyhow::Result<reqwest::Response> {
    let (client, request) = request.build_split();
    let request = request.map_err(reqwest::Error::without_url).context("the request cannot be built")?;
    let changes_nothing = request.method().is_safe();
    let answer = client.execute(request).await.map_err(reqwest::Error::without_url);
    let passes = answer.as_ref().is_err_and(|error| error.is_connect() || (changes_nothing && !error.is_redirect()));
    let answer = answer.context("the API could not be reached").rebound_if(|_| passes)?;
    let status = answer.status();
    if matches!(status.as_u16(), 429 | 503) || (changes_nothing && status.is_server_error()) {
        return Err(Rebound::because(format!("the API answered {status}")).into());
    }
    Ok(answer)
}

/// The answer's body: JSON where it is JSON, text otherwise, `null` where there is none.
pub async fn body(answer: reqwest::Response) -> anyhow::Result<Value> {
    let text = answer.text().await.map_err(reqwest::Error::without_url).context("reading the API's answer")?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Fails on an error status, with what the API says.
pub async fn success(answer: reqwest::Response) -> anyhow::Result<Value> {
    let status = answer.status();
    let body = body(answer).await?;
    if !status.is_success() {
        bail!("the API answered {status}: {body}");
    }
    Ok(body)
}
