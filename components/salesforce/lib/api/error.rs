//! Salesforce's errors, with its own texts.

use reqwest::StatusCode;
use sailor::{Rebound, oauth2::Error};
use serde::Deserialize;
use std::fmt;

/// The error codes that do not depend on the request: it may succeed later.
const TRANSIENT: [&str; 3] = [
    "REQUEST_LIMIT_EXCEEDED",
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
];

/// The error that Salesforce responds to a request.
#[derive(Debug, thiserror::Error)]
#[error("Salesforce refuses {request} ({}): {}", status.as_u16(), joined(items))]
pub struct ApiError {
    request: String,
    pub status: StatusCode,
    items: Vec<ApiErrorItem>,
}

impl ApiError {
    pub fn has_code(&self, code: &str) -> bool {
        self.items.iter().any(|item| item.error_code == code)
    }

    /// The API error that an error is, if it is one.
    pub fn find(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiErrorItem {
    message: String,
    error_code: String,
    #[serde(default)]
    fields: Vec<String>,
}

impl fmt::Display for ApiErrorItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.message, self.error_code)?;
        if !self.fields.is_empty() {
            write!(f, ": {}", self.fields.join(", "))?;
        }
        f.write_str(")")
    }
}

fn joined(items: &[ApiErrorItem]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join("; ")
}

/// Turns an error status into an [`ApiError`] if its body explains it, and into a [`Rebound`] if it is transient.
pub fn with_api_error(error: Error) -> anyhow::Error {
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
        return anyhow::anyhow!(
            "{request}: the query is longer than Salesforce takes ({}): choose fewer fields, fewer linked objects, or \
             shorter lists to search for",
            status.as_u16()
        );
    }
    let Ok(items) = serde_json::from_str(body) else {
        return error.into();
    };
    let api_error = ApiError {
        request: request.clone(),
        status: *status,
        items,
    };
    if TRANSIENT.iter().any(|code| api_error.has_code(code)) {
        Rebound::because(api_error.to_string()).into()
    } else {
        api_error.into()
    }
}

/// Whether the error is transient: a message whose module fails with it is processed again later.
pub fn is_transient(error: &anyhow::Error) -> bool {
    let error_is_transient = error
        .downcast_ref::<Error>()
        .is_some_and(Error::is_transient);
    error_is_transient || error.is::<Rebound>()
}
