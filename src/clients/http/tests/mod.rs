//! The HTTP client against local servers. This file has the server and the policies that the tests use.

mod challenge;
mod errors;
mod limits;
mod redirects;
mod retries;
mod timeouts;

use super::*;
use crate::clients::retry::RetryPolicy;
use http_double::{PreparedResponse, ScriptedDouble};
use reqwest::StatusCode;

/// Three attempts in quick succession.
fn quick() -> RequestPolicy {
    with_retries(RetryPolicy::constant(Duration::from_millis(1)).with_attempts(3))
}

fn with_retries(retry: RetryPolicy) -> RequestPolicy {
    RequestPolicy {
        retry,
        ..for_outages()
    }
}

fn for_outages() -> RequestPolicy {
    RequestPolicy::for_outages(Duration::from_secs(5))
}

/// A server that sends these responses one after the other, and then 200 `done`.
async fn server(responses: Vec<PreparedResponse>) -> ScriptedDouble {
    let server = ScriptedDouble::start().await.unwrap();
    let done = PreparedResponse::ok("done");
    server.respond("", responses.into_iter().chain([done]));
    server
}

async fn get(policy: &RequestPolicy, address: &str) -> Result<String, HttpError> {
    let client = client().unwrap();
    let answer = send_with_retry(policy, SizeLimit::STATUS, || client.get(address)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
