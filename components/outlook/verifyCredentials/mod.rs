//! Do the credentials work? Asks Graph who the user is.

use super::graph;
use sailor::prelude::*;
use serde_json::Value;

/// Trouble on the way is an error, not a verdict on the credentials.
pub async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    match cx.oauth().get("/me").send().await {
        Ok(_) => Ok(Verified::Yes),
        Err(error) if graph::refuses_credentials(&error) => Ok(Verified::No(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
