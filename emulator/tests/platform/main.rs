//! The platform as a sailor calls it.

mod api;
mod calls;
mod sample;
mod state;

use emulator::platform::{Platform, PlatformConfig, Step};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

const STARTUP: &str = "/sailor-support/hooks/task/flow/startup/data";

async fn platform() -> (Platform, Client) {
    let platform = Platform::start(PlatformConfig::default()).await.unwrap();
    let step = Step {
        config: json!({"_account": "acc", "field": 1, "token": "old"}),
        ..Step::default()
    };
    platform.set_step("flow", step);
    (platform, Client::new())
}

fn basic(request: RequestBuilder) -> RequestBuilder {
    request.basic_auth("emulator-user", Some("emulator-key"))
}

fn bearer(request: RequestBuilder) -> RequestBuilder {
    request.bearer_auth("emulator-storage-token")
}

async fn json_of(response: Response) -> Value {
    response.json().await.unwrap()
}

async fn reason_of(response: Response) -> String {
    let body = json_of(response).await;
    assert_eq!(body["error"], body["errors"][0]["detail"]);
    body["error"].as_str().unwrap().to_owned()
}
