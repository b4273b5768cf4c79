//! What a replay compares, and what it says.

use super::Files;
use emulator::replay;
use sailor::prelude::*;
use serde_json::{Value, json};
use std::fs;
use test_support::orders;

/// A recorded run, changed by a test.
fn recorded() -> Files {
    let files = Files::new(&json!({"name": "Ada"}));
    let outcome = files.record(&[]);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    files
}

impl Files {
    async fn replayed(&self, change: impl FnOnce(&mut Value)) -> Result<(), String> {
        let mut recording = self.recorded();
        change(&mut recording);
        let path = self.recording().with_file_name("changed.json");
        fs::write(&path, recording.to_string()).unwrap();
        let component = orders::component().unwrap();
        replay(&component, path)
            .await
            .map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_recording_is_replayed_and_compared() {
    let files = recorded();
    let component = orders::component().unwrap();
    replay(&component, files.recording()).await.unwrap();
    // Long after.
    files
        .replayed(|recording| {
            let text = recording.to_string();
            let day = recording["recordedAt"].as_str().unwrap()[..10].to_owned();
            let next = day.parse::<sailor::jiff::civil::Date>().unwrap().tomorrow();
            let text = text.replace(&next.unwrap().to_string(), "2020-02-04");
            *recording = serde_json::from_str(&text.replace(&day, "2020-02-03")).unwrap();
        })
        .await
        .unwrap();

    let error = files
        .replayed(|recording| {
            recording["events"][2]["data"]["body"]["created"] = json!("Bob");
            recording["events"][2]["data"]["body"]["sample"][0] = json!("Item 9");
        })
        .await
        .unwrap_err();
    assert!(
        error.contains("data 1: /body/created: recorded \"Bob\", now \"Ada\""),
        "{error}"
    );
    assert!(
        error.contains("data 1: /body/sample/0: recorded \"Item 9\""),
        "{error}"
    );
    assert!(error.contains("emulator run --record"), "{error}");

    let error = files
        .replayed(|recording| recording["events"].as_array_mut().unwrap().truncate(2))
        .await
        .unwrap_err();
    assert!(error.contains("data: emitted and not recorded"), "{error}");
}

#[tokio::test]
async fn a_request_that_is_not_recorded_is_named() {
    let files = recorded();
    let error = files
        .replayed(|recording| drop(recording["exchanges"].as_array_mut().unwrap().remove(3)))
        .await
        .unwrap_err();
    assert!(
        error.contains("no (further) request GET http://127.0.0.1:1/sample/items?limit=2"),
        "{error}"
    );
    // The component fails before it sends the next one.
    assert!(
        error.contains("a request that was not sent: POST http://127.0.0.1:2/api/echo"),
        "{error}"
    );
    let error = files
        .replayed(|recording| recording["message"]["body"]["name"] = json!("Eve"))
        .await
        .unwrap_err();
    assert!(
        error.contains("its body is") && error.contains("Eve") && error.contains("Ada"),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_is_no_recording_is_an_error() {
    let component = orders::component().unwrap();
    let error = replay(&component, "no/such.json").await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the recording no/such.json cannot be read"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("r.json");
    for (text, told) in [
        ("{", "is not JSON"),
        (
            r#"{"version": 2}"#,
            "has version 2, and this emulator reads version 1",
        ),
        (r#"{"version": 1}"#, "cannot be used: missing field"),
    ] {
        fs::write(&path, text).unwrap();
        let error = replay(&component, &path).await.unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
    }
}

async fn rate(message: Message<Value>, cx: Context) -> anyhow::Result<()> {
    let url = format!(
        "https://rates.example/v1?base={}",
        message.body["base"].as_str().unwrap_or_default()
    );
    let response = cx.http().get(url).send().await?.error_for_status()?;
    cx.data(&json!({ "rate": response.json::<Value>().await?["rate"] }))
        .await
}

/// The proxy shows a certificate for any host, and opens no connection.
#[tokio::test]
async fn https_is_replayed_without_network() {
    let json = r#"{"actions": {"rate": {"main": "./rate.rs"}}}"#;
    let component = Component::new(json).unwrap().action("rate", rate);
    let recording = json!({
        "version": 1,
        "recordedAt": "2026-01-31T08:00:00Z",
        "function": "rate",
        "environment": {},
        "configuration": {},
        "snapshot": {},
        "message": {"body": {"base": "EUR"}},
        "exchanges": [{
            "request": {"method": "GET", "url": "https://rates.example/v1?base=EUR"},
            "response": {"status": 200, "headers": {"content-type": ["application/json"]}, "body": {"json": {"rate": 1.25}}},
        }],
        "events": [{"data": {"body": {"rate": 1.25}}}],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rate.json");
    fs::write(&path, recording.to_string()).unwrap();
    replay(&component, &path).await.unwrap();
    fs::write(&path, recording.to_string().replace("base=EUR", "base=USD")).unwrap();
    let error = replay(&component, &path).await.unwrap_err().to_string();
    assert!(
        error.contains("no (further) request GET https://rates.example/v1?base=EUR: it still has GET https://rates.example/v1?base=USD"),
        "{error}"
    );
}
