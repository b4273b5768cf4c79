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
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
/// Refusals that have nothing to do with the request: it may work later.
const PASSING: [&str; 3] = ["REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW"];

/// What component.json cannot say of the credential. Where the login host is not below salesforce.com, as behind a
/// proxy, variables name the whole addresses.
pub fn oauth2(variable: impl Fn(&str) -> Option<String>) -> OAuth2 {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    let mut oauth2 = OAuth2::new().profile("salesforce");
    if is_set("SALESFORCE_TOKEN_URI") {
        oauth2 = oauth2.token_uri("{{SALESFORCE_TOKEN_URI}}");
    }
    if is_set("SALESFORCE_AUTH_URI") {
        oauth2 = oauth2.auth_uri("{{SALESFORCE_AUTH_URI}}");
    }
    oauth2
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
        let version = settings::environment("SALESFORCE_API_VERSION").unwrap_or_default();
        let version = match version.trim().trim_start_matches(['v', 'V']) {
            "" => VERSION,
            version => version,
        };
        Self { oauth: oauth.clone(), version: version.to_owned() }
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
        let path = match path.starts_with('/') || path.starts_with("http:") || path.starts_with("https:") {
            true => path.to_owned(),
            false => format!("/services/data/v{}/{path}", self.version),
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
        anyhow::bail!("{} records have this external id; it must lead to one", choices.len());
    }
    Ok(response)
}

/// Sends a request and reads a JSON answer; an empty one is `null`.
pub async fn json<T: DeserializeOwned>(request: AuthorizedRequest) -> anyhow::Result<T> {
    let answer = send(request).await?.bytes().await.map_err(reqwest::Error::without_url)?;
    let answer = if answer.is_empty() { &b"null"[..] } else { &answer };
    serde_json::from_slice(answer).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        anyhow::anyhow!("Salesforce's answer is not what was expected ({place}); see SALESFORCE_API_VERSION")
    })
}

/// A value as a segment of a path.
pub fn segment(value: &str) -> anyhow::Result<String> {
    anyhow::ensure!(!matches!(value, "" | "." | ".."), "{value:?} cannot be part of an address");
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
        self.complaints.iter().any(|complaint| complaint.error_code == code)
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
    complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What passes has its message come again; what Salesforce refuses is said in its words.
pub fn explained(error: Error) -> anyhow::Error {
    let Error::Status { request, status, body, .. } = &error else { return error.into() };
    if error.passes() {
        return error.into();
    }
    let Ok(complaints) = serde_json::from_str::<Vec<Complaint>>(body) else { return error.into() };
    let passes = complaints.iter().any(|complaint| PASSING.contains(&complaint.error_code.as_str()));
    let refusal = Refusal { request: request.clone(), status: *status, complaints };
    if passes { Rebound::because(refusal.to_string()).into() } else { refusal.into() }
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
