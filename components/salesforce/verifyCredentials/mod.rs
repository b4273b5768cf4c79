//! Checks whether the credentials work: asks for the list of objects.

use crate::api::{self, Api};
use reqwest::StatusCode;
use sailor::{http, oauth2::Error, prelude::*};
use serde_json::Value;

/// Any other failure than refused credentials is an error: it says nothing about them.
pub async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    match Api::new(cx.oauth()).get("sobjects").send().await {
        Err(error) if error.status() == Some(StatusCode::FORBIDDEN) => forbidden(error),
        result => http::verify(result).map_err(api::with_api_error),
    }
}

/// Salesforce says 403 if a limit is reached, too.
fn forbidden(error: Error) -> anyhow::Result<Verified> {
    match &error {
        Error::Status { body, .. } if body.contains("REQUEST_LIMIT_EXCEEDED") => {
            Err(api::with_api_error(error))
        }
        _ => Ok(Verified::No(format!(
            "the REST API is not enabled for this user or organisation: the permission \"API Enabled\" is needed ({error})"
        ))),
    }
}
