//! Do the credentials work? The platform asks with `component service verifyCredentials`.

use super::api::{self, Credentials};
use sailor::prelude::*;

/// Sends a GET request to the path that the credentials name for this; without one, asks for a token that is valid.
/// Trouble on the way is an error, not a verdict on the credentials.
pub async fn verify(cx: ServiceContext<Credentials>) -> anyhow::Result<Verified> {
    let checked = match cx
        .config
        .verify_path
        .as_deref()
        .filter(|path| !path.is_empty())
    {
        Some(path) => cx.oauth().get(path).send().await.map(drop),
        None => cx.oauth().access_token().await.map(drop),
    };
    match checked {
        Ok(()) => Ok(Verified::Yes),
        Err(error) if api::refuses_credentials(&error) => Ok(Verified::No(error.to_string())),
        Err(error) => Err(error.into()),
    }
}
