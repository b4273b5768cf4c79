//! The API that the credentials belong to.

use reqwest::Response;
use sailor::{
    http::{self, BodyError, read_body, read_json},
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
        .allow_origin("{{allowedOrigins|API_ALLOWED_ORIGINS}}")
        .expired_responses("{{expiredResponses|OAUTH_EXPIRED_RESPONSES}}")
        .busy_responses("{{busyResponses|OAUTH_BUSY_RESPONSES}}")
        .scope_responses("{{scopeResponses|OAUTH_SCOPE_RESPONSES}}")
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

/// A response that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the response to {request} {}", problem(.error))]
pub struct ResponseError {
    /// Method and path of the request.
    request: String,
    error: BodyError,
}

fn problem(error: &BodyError) -> String {
    match error {
        BodyError::TooLarge { max_bytes } => format!("is longer than {} MB", max_bytes >> 20),
        BodyError::Json(error) => format!("is {error}"),
        error => format!("cannot be read: {error}"),
    }
}

impl ResponseError {
    /// The error of a body. If the connection broke off, a later attempt can succeed.
    fn of(error: BodyError, request: &str, repeatable: bool) -> anyhow::Error {
        let cause = match &error {
            BodyError::Interrupted(_) => Some(Error::NoResponse {
                request: request.to_owned(),
                reason: "its end did not arrive".to_owned(),
                repeatable,
            }),
            _ => None,
        };
        let request = request.to_owned();
        let error = Self { request, error };
        match cause {
            Some(cause) => anyhow::Error::new(cause).context(error),
            None => error.into(),
        }
    }
}

/// Reads the body of a response. `request` is its method and path, for the error; `repeatable` says whether the request
/// can be sent again.
pub async fn read(response: Response, request: &str, repeatable: bool) -> anyhow::Result<Vec<u8>> {
    read_body(response, MAX_RESPONSE)
        .await
        .map_err(|error| ResponseError::of(error, request, repeatable))
}

/// Reads a response that must be JSON; an empty one is `null`.
pub async fn json(response: Response, request: &str, repeatable: bool) -> anyhow::Result<Value> {
    read_json(response, MAX_RESPONSE)
        .await
        .map_err(|error| ResponseError::of(error, request, repeatable))
}

/// Parses a body that was read as JSON.
pub fn parse_json(body: &[u8], content_type: Option<&str>, request: &str) -> anyhow::Result<Value> {
    http::parse_json(body, content_type)
        .map_err(|error| ResponseError::of(error.into(), request, true))
}

/// A path without its query, for errors: queries can hold secrets.
pub fn without_query(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}
