//! What a run that is recorded shows.

use super::{API_KEY, Files};
use emulator::platform::{Platform, PlatformConfig};
use serde_json::json;

/// Nothing but the proxy sees requests to a service that is not the emulator's.
#[tokio::test]
async fn requests_to_other_services_are_on_the_time_line() {
    let other = Platform::start(PlatformConfig::default()).await.unwrap();
    let url = other.url();
    let files = Files::new(&json!({"name": "Ada"}));
    let config = json!({
        "baseUrl": "{{PROVIDER_URL}}/api",
        "sampleUrl": format!("{url}/sample/items?limit=2"),
        "apiKey": API_KEY,
        "oauth": "{{PROVIDER_TOKENS}}",
    });
    std::fs::write(files.0.path().join("config.json"), config.to_string()).unwrap();
    let run = tokio::task::spawn_blocking(move || files.record(&[]));
    let outcome = run.await.unwrap();
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let calls: Vec<_> = outcome
        .stdout
        .lines()
        .filter_map(|line| line.split_once("API call"))
        .map(|(_, call)| call.trim().to_owned())
        .collect();
    let shown = format!("GET {url}/sample/items → 200");
    assert_eq!(calls.len(), 3, "{}", outcome.stdout);
    assert_eq!(calls[1], shown, "{}", outcome.stdout);
}
