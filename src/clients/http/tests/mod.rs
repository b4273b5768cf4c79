//! The HTTP client against local servers. This file has the server and the policies that the tests use.

mod errors;
mod limits;
mod redirects;
mod retries;

use super::*;
use crate::clients::retry::RetryPolicy;
use reqwest::StatusCode;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

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
async fn server(responses: Vec<ResponseTemplate>) -> MockServer {
    let server = MockServer::start().await;
    for answer in responses {
        Mock::given(any())
            .respond_with(answer)
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200).set_body_string("done"))
        .mount(&server)
        .await;
    server
}

async fn get(policy: &RequestPolicy, address: &str) -> Result<String, HttpError> {
    let client = client().unwrap();
    let answer = send_with_retry(policy, SizeLimit::STATUS, || client.get(address)).await?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}
