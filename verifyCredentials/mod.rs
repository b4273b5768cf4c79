//! Do the credentials work? The platform asks with `component service verifyCredentials`.

use super::api::{self, Credentials};
use sailor::prelude::*;

/// Sends a GET request to the path that the credentials name for this. Without one there is nothing to check.
pub async fn verify(cx: ServiceContext<Credentials>) -> anyhow::Result<Verified> {
    let Some(path) = cx.config.verify_path.as_deref().filter(|path| !path.is_empty()) else {
        return Ok(Verified::Yes);
    };
    let answer = api::send(cx.config.request(cx.http(), reqwest::Method::GET, path)?).await?;
    Ok(match answer.status() {
        status if status.is_success() => Verified::Yes,
        status => Verified::No(format!("the API answered {status}")),
    })
}
