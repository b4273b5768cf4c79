//! The API that the credentials lead to.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sailor::oauth2::{Error, OAuth2};
use serde::Deserialize;
use serde_json::Value;

/// What component.json cannot say of the credential: where the API is, and what kind of provider its tokens are from.
/// Each is a field of the credentials or else a variable of the environment, so that one image serves any provider.
pub fn oauth2() -> OAuth2 {
    OAuth2::new()
        .base_url("{{baseUrl|API_BASE_URL}}")
        .profile("{{provider|OAUTH_PROFILE}}")
}

/// The credentials beside the tokens, which are the runtime's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    #[serde(default)]
    pub verify_path: Option<String>,
}

/// What is read into memory of one answer, which as JSON takes up to twelve times that; files are not, they go on as they
/// come.
const LONGEST: usize = 16 << 20;

/// An answer's bytes. `request` is its method and path, for the error.
pub async fn bytes(
    mut answer: reqwest::Response,
    request: &str,
    repeatable: bool,
) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let chunk = answer.chunk().await.map_err(|error| {
            let reason = format!("it broke off: {}", error.without_url());
            Error::NoResponse {
                request: request.to_owned(),
                reason,
                repeatable,
            }
        })?;
        let Some(chunk) = chunk else { return Ok(bytes) };
        let length = bytes.len() + chunk.len();
        anyhow::ensure!(
            length <= LONGEST,
            "the answer to {request} is longer than {} MB",
            LONGEST >> 20
        );
        bytes.extend_from_slice(&chunk);
    }
}

/// An answer that has to be JSON; `null` where it is empty.
pub async fn json(
    answer: reqwest::Response,
    request: &str,
    repeatable: bool,
) -> anyhow::Result<Value> {
    let bytes = bytes(answer, request, repeatable).await?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    read_json(&bytes, request)
}

/// Reads JSON; the error tells the place and nothing of the contents.
pub fn read_json(bytes: &[u8], request: &str) -> anyhow::Result<Value> {
    serde_json::from_slice(bytes).map_err(|e| {
        anyhow::anyhow!(
            "the answer to {request} is no JSON: line {}, column {}",
            e.line(),
            e.column()
        )
    })
}

/// A path as errors may show it: queries can hold secrets.
pub fn shown(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

/// A text as one part of a path.
pub fn segment(text: &str) -> String {
    const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Whether the API has refused the credentials, as opposed to trouble that says nothing of them.
pub fn refuses_credentials(error: &Error) -> bool {
    matches!(
        error,
        Error::ReauthRequired(_) | Error::InsufficientScope { .. }
    ) || error
        .status()
        .is_some_and(|status| matches!(status.as_u16(), 401 | 403))
}
