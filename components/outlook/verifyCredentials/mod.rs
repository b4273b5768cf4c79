//! Checks whether the credentials work: asks Graph who the user is.

use sailor::{http, prelude::*};
use serde_json::Value;

/// Any other failure than refused credentials is an error: it says nothing about them.
pub async fn verify(cx: ServiceContext<Value>) -> anyhow::Result<Verified> {
    Ok(http::verify(cx.oauth().get("/me").send().await)?)
}
