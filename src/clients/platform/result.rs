//! Posts the results of one-time calls.

use super::{PlatformError, SHORT_DELAY, error::platform_error, policy};
use crate::{clients::http, settings::ResultTarget};
use reqwest::{Client, Url};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// Posts the result of a one-time call. `status` is `success` or `error`.
///
/// A failed attempt may have reached the platform, so after an error no other result may be posted.
pub(crate) async fn post_result(
    http: &Client,
    target: &ResultTarget,
    status: &str,
    data: &Value,
) -> Result<(), PlatformError> {
    let body = json!({ "status": status, "data": data });
    let url = with_complete_credentials(target.url.expose_secret());
    let policy = policy(Some(target.attempts), Some(target.retry_delay), SHORT_DELAY);
    let delivered = http::send_ignoring_body(&policy, || http.post(&url).json(&body)).await;
    delivered.map_err(platform_error(|| "posting the result".to_owned()))
}

/// Removes a user name without a password, or a password without a user name, from a URL: the HTTP client would send it
/// (wire-contract: Calls of a sailor).
fn with_complete_credentials(url: &str) -> String {
    let Ok(mut parsed) = Url::parse(url) else {
        return url.to_owned();
    };
    let is_complete =
        !parsed.username().is_empty() && parsed.password().is_some_and(|text| !text.is_empty());
    let is_removed =
        !is_complete && parsed.set_username("").is_ok() && parsed.set_password(None).is_ok();
    if is_removed {
        parsed.into()
    } else {
        url.to_owned()
    }
}
