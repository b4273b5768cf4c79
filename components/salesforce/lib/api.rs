//! Salesforce's REST API: its paths, its responses, and its errors.

mod error;
mod request;

pub use error::{ApiError, is_about_content, is_interrupted, is_transient, refused};
pub use request::{MAX_RESPONSE, Received, Request};

use anyhow::Context as _;
use reqwest::Method;
use sailor::{
    oauth2::{AuthorizedClient, OAuth2},
    settings,
};
use serde_json::{Map, Value};

/// Fields by their names.
pub type Record = Map<String, Value>;

/// The version of the API, unless SALESFORCE_API_VERSION names another one.
const VERSION: &str = "60.0";

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

    pub fn get(&self, path: &str) -> Request {
        self.request(Method::GET, path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request(Method::POST, path)
    }

    pub fn patch(&self, path: &str) -> Request {
        self.request(Method::PATCH, path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request(Method::DELETE, path)
    }

    pub fn request(&self, method: Method, path: &str) -> Request {
        Request::new(&self.oauth, method, self.path(path))
    }

    /// A path as the host has it.
    pub fn path(&self, path: &str) -> String {
        let is_complete = ["/", "http:", "https:"]
            .iter()
            .any(|start| path.starts_with(start));
        if is_complete {
            path.to_owned()
        } else {
            format!("/services/data/v{}/{path}", self.version)
        }
    }
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
