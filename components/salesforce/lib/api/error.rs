//! Salesforce's errors, with its own texts.

use reqwest::StatusCode;
use sailor::{
    Rebound,
    http::{self, BodyError},
    oauth2::Error,
};
use serde::Deserialize;
use std::fmt;

/// The error codes that do not depend on the request: it may succeed later.
const TRANSIENT: [&str; 3] = [
    "REQUEST_LIMIT_EXCEEDED",
    "SERVER_UNAVAILABLE",
    "UNABLE_TO_LOCK_ROW",
];
/// The longest part of a body without error codes that is shown, in bytes.
const MAX_SHOWN: usize = 2048;
/// The longest part of a message, or of a list of fields, that is shown, in bytes.
const MAX_MESSAGE: usize = 500;
/// The most errors of one response that are shown.
const MAX_ITEMS: usize = 10;

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

/// A response that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("Salesforce's response to {request} {}", problem(.error))]
pub struct ResponseError {
    pub(super) request: String,
    pub(super) error: BodyError,
}

fn problem(error: &BodyError) -> String {
    match error {
        BodyError::TooLarge { max_bytes } => format!("is larger than {} MB", max_bytes >> 20),
        BodyError::Json(error) => format!("is {error}: check SALESFORCE_API_VERSION"),
        error => format!("cannot be read: {error}"),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiErrorItem {
    #[serde(default)]
    message: Option<String>,
    error_code: String,
    #[serde(default)]
    fields: Option<Vec<String>>,
}

/// The errors of a response: a list, or one of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorBody {
    List(Vec<ApiErrorItem>),
    One(ApiErrorItem),
}

impl fmt::Display for ApiErrorItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.as_deref().unwrap_or("no message");
        write!(
            f,
            "{} ({}",
            shortened(message, MAX_MESSAGE),
            self.error_code
        )?;
        let fields = self.fields.as_deref().unwrap_or_default().join(", ");
        if !fields.is_empty() {
            write!(f, ": {}", shortened(&fields, MAX_MESSAGE))?;
        }
        f.write_str(")")
    }
}

fn joined(items: &[ApiErrorItem]) -> String {
    let mut shown: Vec<String> = items
        .iter()
        .take(MAX_ITEMS)
        .map(ToString::to_string)
        .collect();
    if let Some(more) = items.len().checked_sub(MAX_ITEMS).filter(|more| *more > 0) {
        shown.push(format!("and {more} more errors"));
    }
    shown.join("; ")
}

/// The start of a text, of at most `max` bytes.
fn shortened(text: &str, max: usize) -> String {
    match &text[..text.floor_char_boundary(max)] {
        start if start.len() < text.len() => format!("{start}…"),
        whole => whole.to_owned(),
    }
}

/// The error of a response with an error status.
pub fn refused(
    request: String,
    status: StatusCode,
    body: String,
    repeatable: bool,
) -> anyhow::Error {
    explained(Error::Status {
        request,
        status,
        body,
        retry_after: None,
        repeatable,
        busy: status == StatusCode::TOO_MANY_REQUESTS,
    })
}

/// Turns an error status into an [`ApiError`] if its body explains it, and into a [`Rebound`] if it is transient.
pub(super) fn explained(mut error: Error) -> anyhow::Error {
    let is_transient = error.is_transient();
    let Error::Status {
        request,
        status,
        body,
        ..
    } = &mut error
    else {
        return error.into();
    };
    let items = match serde_json::from_str(body) {
        Ok(ErrorBody::List(items)) if !items.is_empty() => Some(items),
        Ok(ErrorBody::One(item)) => Some(vec![item]),
        _ => None,
    };
    if !is_transient && let Some(items) = items {
        let api_error = ApiError {
            request: request.clone(),
            status: *status,
            items,
        };
        return if TRANSIENT.iter().any(|code| api_error.has_code(code)) {
            Rebound::because(api_error.to_string()).into()
        } else {
            api_error.into()
        };
    }
    *body = shortened(body, MAX_SHOWN);
    let is_too_long = matches!(
        *status,
        StatusCode::URI_TOO_LONG | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let error = anyhow::Error::new(error);
    if is_too_long {
        error.context(
            "the address of the request is longer than Salesforce takes: give a shorter `path`",
        )
    } else {
        error
    }
}

/// Whether the error is transient: a message whose module fails with it is processed again later.
pub fn is_transient(error: &anyhow::Error) -> bool {
    let error_is_transient = error
        .downcast_ref::<Error>()
        .is_some_and(Error::is_transient);
    error_is_transient || error.is::<Rebound>()
}

/// Whether the end of a response did not arrive.
pub fn is_interrupted(error: &anyhow::Error) -> bool {
    let response = error.downcast_ref::<ResponseError>();
    response.is_some_and(|response| matches!(response.error, BodyError::Interrupted(_)))
}

/// Whether a request may have failed because of what its response contains: Salesforce has a fault, or the response is too
/// large or broken.
pub fn is_about_content(error: &anyhow::Error) -> bool {
    if error.is::<ResponseError>() {
        return true;
    }
    let is_fault =
        |status: StatusCode| status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
    match error.downcast_ref::<Error>() {
        Some(error) => http::may_be_about_content(error),
        None => ApiError::find(error).is_some_and(|refused| is_fault(refused.status)),
    }
}
