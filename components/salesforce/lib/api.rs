//! Salesforce's REST API: its paths, its responses, and its errors.

mod error;

pub use error::{ApiError, is_transient, with_api_error};

use anyhow::Context as _;
use reqwest::{Method, Response, StatusCode};
use sailor::{
    http::{BodyError, read_body},
    oauth2::{AuthorizedClient, AuthorizedRequest, OAuth2},
    settings,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Fields by their names.
pub type Record = Map<String, Value>;

/// The version of the API, unless SALESFORCE_API_VERSION names another one.
const VERSION: &str = "60.0";
/// The most that is read into memory of one response: as JSON it takes several times that.
pub const MAX_RESPONSE: usize = 16 << 20;

/// What component.json cannot say about the credential. If the login host is not below salesforce.com, as behind a
/// proxy, variables name the complete addresses.
pub fn oauth2() -> OAuth2 {
    OAuth2::new()
        .profile("salesforce")
        .token_uri("{{SALESFORCE_TOKEN_URI}}")
        .auth_uri("{{SALESFORCE_AUTH_URI}}")
}

/// The version of the API: `60.0`, also if it is given as `60` or `v60.0`.
///
/// # Errors
/// Returns an error if the environment variable is not a version.
pub fn version() -> anyhow::Result<String> {
    parse_version(&settings::environment("SALESFORCE_API_VERSION").unwrap_or_default())
}

fn parse_version(given: &str) -> anyhow::Result<String> {
    let number = given.trim().trim_start_matches(['v', 'V']);
    if number.is_empty() {
        return Ok(VERSION.to_owned());
    }
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    anyhow::ensure!(
        is_number(major) && is_number(minor),
        "the environment variable SALESFORCE_API_VERSION is {given:?}: it must be a version such as {VERSION}"
    );
    Ok(format!("{major}.{minor}"))
}

/// The API of the organisation that the credential belongs to. Paths are relative to `/services/data/vXX.0/` unless they
/// begin with a slash.
#[derive(Clone)]
pub struct Api {
    oauth: AuthorizedClient,
    version: String,
}

impl Api {
    pub fn new(oauth: &AuthorizedClient) -> Self {
        // An invalid version has ended the process at its start.
        Self {
            oauth: oauth.clone(),
            version: version().unwrap_or_else(|_| VERSION.to_owned()),
        }
    }

    pub fn get(&self, path: &str) -> AuthorizedRequest {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> AuthorizedRequest {
        self.request(Method::POST, path)
    }

    pub fn patch(&self, path: &str) -> AuthorizedRequest {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> AuthorizedRequest {
        self.request(Method::DELETE, path)
    }

    pub fn request(&self, method: Method, path: &str) -> AuthorizedRequest {
        let is_complete = ["/", "http:", "https:"]
            .iter()
            .any(|start| path.starts_with(start));
        let path = if is_complete {
            path.to_owned()
        } else {
            format!("/services/data/v{}/{path}", self.version)
        };
        self.oauth.request(method, path)
    }
}

/// Sends a request.
///
/// # Errors
/// Returns an [`ApiError`] if Salesforce explains its error status.
pub async fn send(request: AuthorizedRequest) -> anyhow::Result<Response> {
    let response = request.send().await.map_err(with_api_error)?;
    if response.status() == StatusCode::MULTIPLE_CHOICES {
        // Upsert by an external id that is not unique.
        let choices: Vec<Value> = response.json().await.unwrap_or_default();
        anyhow::bail!(
            "{} records have this external id; it must belong to one",
            choices.len()
        );
    }
    Ok(response)
}

/// Sends a request and reads a JSON response; an empty one is `null`.
pub async fn json<T: DeserializeOwned>(request: AuthorizedRequest) -> anyhow::Result<T> {
    let response = send(request).await?;
    parse(&read(response, MAX_RESPONSE, "Salesforce's response").await?)
}

/// Reads at most `max_bytes` of a response into memory. `what` names the response in the error.
pub async fn read(response: Response, max_bytes: usize, what: &str) -> anyhow::Result<Vec<u8>> {
    read_body(response, max_bytes)
        .await
        .map_err(|error| match error {
            BodyError::TooLarge { .. } => {
                anyhow::anyhow!("{what} is larger than {} MB", max_bytes >> 20)
            }
            error => error.into(),
        })
}

/// Parses a JSON response; an empty one is `null`.
pub fn parse<T: DeserializeOwned>(response: &[u8]) -> anyhow::Result<T> {
    let json = if response.is_empty() {
        b"null"
    } else {
        response
    };
    serde_json::from_slice(json).map_err(|error| {
        anyhow::anyhow!(
            "Salesforce's response has an unexpected format (line {}, column {}): check SALESFORCE_API_VERSION",
            error.line(),
            error.column()
        )
    })
}

/// A JSON value as text for a path or a search; none if it is missing, `null` or empty.
pub fn as_text(name: &str, value: Option<&Value>) -> anyhow::Result<Option<String>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
        Some(Value::Array(_) | Value::Object(_)) => {
            Err(anyhow::anyhow!("it is a list or an object"))
                .with_context(|| format!("`{name}` must be a single value"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn an_api_version_is_parsed_or_the_variable_is_named() {
        for (given, version) in [
            ("", "60.0"),
            (" ", "60.0"),
            ("58", "58.0"),
            ("v58.0", "58.0"),
            (" 61.0 ", "61.0"),
        ] {
            assert_eq!(parse_version(given).unwrap(), version, "{given:?}");
        }
        for wrong in ["sixty", "60.", "60.0/../..", "-1"] {
            let error = parse_version(wrong).expect_err(wrong).to_string();
            assert!(
                error.contains("SALESFORCE_API_VERSION") && error.contains("60.0"),
                "{error}"
            );
        }
    }
}
