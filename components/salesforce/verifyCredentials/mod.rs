//! Do the credentials work? The platform asks with `salesforce service verifyCredentials`.

use super::api::Api;
use reqwest::StatusCode;
use sailor::{oauth2::Error, prelude::*};
use serde_json::Value;

/// Asks for the list of objects. Trouble on the way is an error, not a verdict on the credentials.
pub async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    let Err(error) = Api::new(cx.oauth()).get("sobjects").send().await else {
        return Ok(Verified::Yes);
    };
    match (&error, error.status()) {
        (
            Error::ReauthRequired(_) | Error::TokenRejected(_) | Error::InsufficientScope { .. },
            _,
        )
        | (_, Some(StatusCode::UNAUTHORIZED)) => Ok(Verified::No(error.to_string())),
        // A limit that is reached says nothing of the credentials.
        (Error::Status { body, .. }, Some(StatusCode::FORBIDDEN))
            if !body.contains("REQUEST_LIMIT_EXCEEDED") =>
        {
            let reason = "the REST API is not enabled for this user or organisation: the permission \"API Enabled\" is needed";
            Ok(Verified::No(format!("{reason} ({error})")))
        }
        _ => Err(super::api::explained(error)),
    }
}
