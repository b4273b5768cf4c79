//! Salesforce's REST API: where it is, how it is asked, and what its errors say.

use anyhow::Context as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, Response, StatusCode};
use sailor::{
    Rebound,
    oauth2::{AuthorizedClient, AuthorizedRequest, Error, OAuth2},
    settings,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::fmt;

/// Fields by their names.
pub type Record = Map<String, Value>;

/// The version of the API, unless SALESFORCE_API_VERSION says otherwise.
const VERSION: &str = "60.0";
/// What may stand in a segment of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
/// Refusals that have nothing to do with the request: it may work later.
const PASSING: [&str; 3] = [
    "REQUEST_LIMIT_EXCEEDED",
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
];

/// What component.json cannot say of the credential. Where the login host is not below salesforce.com, as behind a
/// proxy, variables name the whole addresses.
pub fn oauth2() -> OAuth2 {
    OAuth2::new()
        .profile("salesforce")
        .token_uri("{{SALESFORCE_TOKEN_URI}}")
        .auth_uri("{{SALESFORCE_AUTH_URI}}")
}

/// The version of the API: `60.0`, also when it is given as `60` or `v60.0`.
pub fn version() -> anyhow::Result<String> {
    read_version(&settings::environment("SALESFORCE_API_VERSION").unwrap_or_default())
}

fn read_version(given: &str) -> anyhow::Result<String> {
    let number = given.trim().trim_start_matches(['v', 'V']);
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if number.is_empty() {
        return Ok(VERSION.to_owned());
    }
    anyhow::ensure!(
        is_number(major) && is_number(minor),
        "the environment variable SALESFORCE_API_VERSION is {given:?}: it must be a version such as {VERSION}"
    );
    Ok(format!("{major}.{minor}"))
}

/// The API of the organisation that the credential is for. Paths are relative to `/services/data/vXX.0/`, unless they
/// begin with a slash.
#[derive(Clone)]
pub struct Api {
    oauth: AuthorizedClient,
    version: String,
}

impl Api {
    pub fn new(oauth: &AuthorizedClient) -> Self {
        // One that is wrong has ended the process at its start.
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
        let path =
            if path.starts_with('/') || path.starts_with("http:") || path.starts_with("https:") {
                path.to_owned()
            } else {
                format!("/services/data/v{}/{path}", self.version)
            };
        self.oauth.request(method, path)
    }
}

/// Sends a request; what Salesforce refuses is an error in its own words.
pub async fn send(request: AuthorizedRequest) -> anyhow::Result<Response> {
    let response = request.send().await.map_err(explained)?;
    if response.status() == StatusCode::MULTIPLE_CHOICES {
        // Upsert by an external id that is not unique.
        let choices: Vec<Value> = response.json().await.unwrap_or_default();
        anyhow::bail!(
            "{} records have this external id; it must lead to one",
            choices.len()
        );
    }
    Ok(response)
}

/// Sends a request and reads a JSON answer; an empty one is `null`.
pub async fn json<T: DeserializeOwned>(request: AuthorizedRequest) -> anyhow::Result<T> {
    read(&bytes(send(request).await?, LONGEST, "Salesforce's answer").await?)
}

/// What is read into memory of one answer: as JSON it takes several times that.
pub const LONGEST: usize = 16 << 20;

/// The bytes of an answer, `limit` at most; `what` it is, for the error.
pub async fn bytes(mut answer: Response, limit: usize, what: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reqwest::Error::without_url)? {
        let length = bytes.len() + chunk.len();
        anyhow::ensure!(length <= limit, "{what} is larger than {} MB", limit >> 20);
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads a JSON answer; an empty one is `null`.
pub fn read<T: DeserializeOwned>(answer: &[u8]) -> anyhow::Result<T> {
    let answer = if answer.is_empty() { b"null" } else { answer };
    serde_json::from_slice(answer).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        anyhow::anyhow!(
            "Salesforce's answer is not what was expected ({place}); see SALESFORCE_API_VERSION"
        )
    })
}

/// A value as a segment of a path.
pub fn segment(value: &str) -> anyhow::Result<String> {
    anyhow::ensure!(
        !matches!(value, "" | "." | ".."),
        "{value:?} cannot be part of an address"
    );
    Ok(utf8_percent_encode(value, SEGMENT).to_string())
}

/// What Salesforce says when it refuses.
#[derive(Debug, thiserror::Error)]
#[error("Salesforce refuses {request} ({}): {}", status.as_u16(), in_words(complaints))]
pub struct Refusal {
    request: String,
    pub status: StatusCode,
    complaints: Vec<Complaint>,
}

impl Refusal {
    pub fn has_code(&self, code: &str) -> bool {
        self.complaints
            .iter()
            .any(|complaint| complaint.error_code == code)
    }

    /// The refusal in an error, where it is one.
    pub fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Complaint {
    message: String,
    error_code: String,
    #[serde(default)]
    fields: Vec<String>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.message, self.error_code)?;
        if !self.fields.is_empty() {
            write!(f, ": {}", self.fields.join(", "))?;
        }
        f.write_str(")")
    }
}

fn in_words(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// What passes has its message come again; what Salesforce refuses is said in its words.
pub fn explained(error: Error) -> anyhow::Error {
    let Error::Status {
        request,
        status,
        body,
        ..
    } = &error
    else {
        return error.into();
    };
    if error.is_transient() {
        return error.into();
    }
    if matches!(
        *status,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    ) {
        let remedy = "choose fewer fields, fewer linked objects, or shorter lists to look for";
        return anyhow::anyhow!(
            "{request}: the query is longer than Salesforce takes ({}): {remedy}",
            status.as_u16()
        );
    }
    let Ok(complaints) = serde_json::from_str::<Vec<Complaint>>(body) else {
        return error.into();
    };
    let passes = complaints
        .iter()
        .any(|complaint| PASSING.contains(&complaint.error_code.as_str()));
    let refusal = Refusal {
        request: request.clone(),
        status: *status,
        complaints,
    };
    if passes {
        Rebound::because(refusal.to_string()).into()
    } else {
        refusal.into()
    }
}

/// Whether it is trouble that passes: a message whose module fails with it comes again later.
pub fn passes(error: &anyhow::Error) -> bool {
    error.is::<Rebound>()
        || error
            .downcast_ref::<Error>()
            .is_some_and(Error::is_transient)
}

/// A JSON value as text for an address or a search; none where it is left out.
pub fn as_text(name: &str, value: Option<&Value>) -> anyhow::Result<Option<String>> {
    Ok(match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
        Some(_) => {
            return Err(anyhow::anyhow!("it is a list or an object"))
                .context(format!("`{name}` must be a single value"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::read_version;

    #[test]
    fn an_api_version_is_parsed_or_the_variable_is_named() {
        for (given, version) in [
            ("", "60.0"),
            (" ", "60.0"),
            ("58", "58.0"),
            ("v58.0", "58.0"),
            (" 61.0 ", "61.0"),
        ] {
            assert_eq!(read_version(given).unwrap(), version, "{given:?}");
        }
        for wrong in ["sixty", "60.", "60.0/../..", "-1"] {
            let error = read_version(wrong).expect_err(wrong).to_string();
            assert!(
                error.contains("SALESFORCE_API_VERSION") && error.contains("60.0"),
                "{error}"
            );
        }
    }
}
