//! The API that the credentials belong to.

use reqwest::Response;
use sailor::{
    http::{BodyError, read_body},
    oauth2::{Error, OAuth2},
};
use serde::Deserialize;
use serde_json::Value;

/// Sets what component.json cannot say about the credential: the API's base URL, the provider, and how the API says that
/// a token has expired. Each is a field of the credentials, or else an environment variable, so that one image serves any
/// provider.
pub fn oauth2() -> OAuth2 {
    OAuth2::new()
        .base_url("{{baseUrl|API_BASE_URL}}")
        .profile("{{provider|OAUTH_PROFILE}}")
        .expired_responses("{{expiredResponses|OAUTH_EXPIRED_RESPONSES}}")
}

/// The fields of the credentials that the runtime does not read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    #[serde(default)]
    pub verify_path: Option<String>,
}

/// The largest response that is read into memory, in bytes. As JSON it takes up to twelve times as much memory. Files
/// are streamed.
const MAX_RESPONSE: usize = 16 << 20;

/// Reads the body of a response. `request` is its method and path, for the error; `repeatable` says whether the request
/// can be sent again.
pub async fn read(response: Response, request: &str, repeatable: bool) -> anyhow::Result<Vec<u8>> {
    match read_body(response, MAX_RESPONSE).await {
        Ok(body) => Ok(body),
        Err(BodyError::TooLarge { max_bytes }) => anyhow::bail!(
            "the response to {request} is longer than {} MB",
            max_bytes >> 20
        ),
        Err(error) => Err(Error::NoResponse {
            request: request.to_owned(),
            reason: error.to_string(),
            repeatable,
        }
        .into()),
    }
}

/// Reads a response that must be JSON; an empty one is `null`.
pub async fn json(response: Response, request: &str, repeatable: bool) -> anyhow::Result<Value> {
    let body = read(response, request, repeatable).await?;
    if body.is_empty() {
        Ok(Value::Null)
    } else {
        parse_json(&body, request)
    }
}

/// Parses JSON. The error names the line and column, and contains nothing of the text.
pub fn parse_json(body: &[u8], request: &str) -> anyhow::Result<Value> {
    serde_json::from_slice(body).map_err(|error| {
        anyhow::anyhow!(
            "the response to {request} is not JSON: line {}, column {}",
            error.line(),
            error.column()
        )
    })
}

/// A path without its query, for errors: queries can hold secrets.
pub fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}
