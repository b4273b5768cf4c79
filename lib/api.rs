//! The API that the credentials lead to.

use sailor::oauth2::{Error, OAuth2};
use serde::Deserialize;
use serde_json::Value;

/// What component.json cannot say of the credential: where the API is, and what kind of provider its tokens are from.
pub fn oauth2() -> OAuth2 {
    OAuth2::new().base_url("{{baseUrl}}").profile("{{OAUTH_PROFILE}}")
}

/// The credentials beside the tokens, which are the runtime's.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    #[serde(default)]
    pub verify_path: Option<String>,
}

/// An answer's body: JSON where it is JSON, text otherwise, `null` where there is none.
pub async fn body(answer: reqwest::Response) -> anyhow::Result<Value> {
    let text = answer.text().await.map_err(reqwest::Error::without_url)?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Whether the API has refused the credentials, as opposed to trouble that says nothing of them.
pub fn refuses_credentials(error: &Error) -> bool {
    matches!(error, Error::ReauthRequired(_) | Error::InsufficientScope { .. })
        || error.status().is_some_and(|status| matches!(status.as_u16(), 401 | 403))
}
