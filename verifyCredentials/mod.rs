//! Checks whether the credentials work, for `component service verifyCredentials`.

use crate::api::Credentials;
use sailor::{http, prelude::*};

/// Sends a GET request to the path that the credentials name; without one, obtains an access token. Any other failure
/// than refused credentials is an error: it says nothing about them.
pub async fn verify(cx: ServiceContext<Credentials>) -> anyhow::Result<Verified> {
    let path = cx.config.verify_path.as_deref();
    let result = match path.filter(|path| !path.is_empty()) {
        Some(path) => cx.oauth().get(path).send().await.map(drop),
        None => cx.oauth().access_token().await.map(drop),
    };
    Ok(http::verify(result)?)
}
