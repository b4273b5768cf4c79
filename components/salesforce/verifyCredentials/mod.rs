//! Checks whether the credentials work: asks for the list of objects.

use crate::api::{Api, ApiError};
use reqwest::StatusCode;
use sailor::{http, oauth2::Error, prelude::*};
use serde_json::Value;

/// Any other failure than refused credentials is an error: it says nothing about them. A reached limit is a 403, too, but a
/// transient one.
pub async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    let Err(error) = Api::new(cx.oauth()).get("sobjects").send().await else {
        return Ok(Verified::Yes);
    };
    match ApiError::find(&error).map(|refused| refused.status) {
        Some(StatusCode::FORBIDDEN) => Ok(Verified::No(format!(
            "the REST API is not enabled for this user or organisation: the permission \"API Enabled\" is needed ({error})"
        ))),
        Some(StatusCode::UNAUTHORIZED) => Ok(Verified::No(error.to_string())),
        _ => match error.downcast::<Error>() {
            Ok(error) => Ok(http::verify::<()>(Err(error))?),
            Err(other) => Err(other),
        },
    }
}
