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

/// Secrets, ports and times are in text, beside a file that is none. The boundary is another one in each run.
#[tokio::test]
async fn an_uploaded_file_is_recorded_and_replayed() {
    let files = Files::new(&json!({"name": "Ada", "uploads": true}));
    let outcome = files.record(&[]);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let recording = files.recorded();
    let body = recording["exchanges"][5]["request"]["body"]["base64"].as_str();
    let body = base64_simd::STANDARD.decode_to_vec(body.unwrap()).unwrap();
    let key = recording["configuration"]["apiKey"].as_str().unwrap();
    let field = format!("name=\"api_key\"\r\n\r\n{key}\r\n--boundary\r\n");
    for expected in [
        field.as_bytes(),
        b"\r\n\r\nhttp://127.0.0.1:1/sample/items?limit=2\r\n",
        b"\r\n\r\n\x89PNG\xff\r\n\r\n--boundary--",
    ] {
        let mut windows = body.windows(expected.len());
        let shown = String::from_utf8_lossy(&body);
        assert!(windows.any(|window| window == expected), "{shown}");
    }
    let component = orders::component().unwrap();
    replay(&component, files.recording()).await.unwrap();
}

/// With the token endpoint and the API behind the same firewall.
fn of_internal_hosts(environment: &Value) -> Value {
    json!({
        "version": 1,
        "recordedAt": "2026-01-31T08:00:00Z",
        "function": "me",
        "environment": environment,
        "configuration": {"oauth": {"access_token": "secret-1", "refresh_token": "secret-2", "expires_in": 3600}},
        "snapshot": {},
        "message": {"body": {}},
        "exchanges": [
            {
                "request": {
                    "method": "POST", "url": "http://idp.internal/token", "body": {
                        "text": "client_id=id&client_secret=secret&grant_type=refresh_token&refresh_token=secret-2",
                    },
                },
                "response": {"status": 200, "body": {"json": {"access_token": "secret-3", "refresh_token": "secret-4", "token_type": "bearer"}}},
            },
            {
                "request": {"method": "GET", "url": "http://api.internal/me"},
                "response": {"status": 200, "body": {"json": {"name": "Ada"}}},
            },
        ],
        "events": [
            {"updateKeys": {"oauth": {"access_token": "secret-3", "refresh_token": "secret-4", "token_type": "bearer"}}},
            {"data": {"body": {"name": "Ada"}}},
        ],
    })
}

async fn me(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let me: Value = cx.oauth().get("/me").send_json().await?;
    cx.data(&me).await
}

/// The variables of the sailor that a replay has are those of the run.
#[tokio::test]
async fn a_replay_has_the_variables_of_the_run() {
    let json = r#"{
        "credentials": {"oauth2": {
            "client_id": "id", "client_secret": "secret", "auth_uri": "http://idp.internal/auth", "token_uri": "http://idp.internal/token"
        }},
        "actions": {"me": {"main": "./me.rs"}}
    }"#;
    let oauth2 = sailor::oauth2::OAuth2::new().base_url("http://api.internal");
    let component = Component::new(json)
        .unwrap()
        .oauth2(oauth2)
        .action("me", me);
    let hosts = "idp.internal,api.internal";
    let names = [
        "ELASTICIO_OAUTH_HTTP_HOSTS",
        "ELASTICIO_OAUTH_MODE",
        "ELASTICIO_OUTGOING_MESSAGE_SIZE_LIMIT",
    ];
    let [hosts_name, mode_name, limit_name] = names;
    for (environment, difference) in [
        (json!({hosts_name: hosts, mode_name: "every-access"}), None),
        (
            json!({hosts_name: hosts}),
            Some("a request that was not sent: POST http://idp.internal/token"),
        ),
        (
            json!({mode_name: "every-access"}),
            Some("it must begin with https://"),
        ),
        (
            json!({hosts_name: hosts, mode_name: "sometimes"}),
            Some("ELASTICIO_OAUTH_MODE: must be one of"),
        ),
        (
            json!({hosts_name: hosts, mode_name: "every-access", limit_name: "20"}),
            Some("exceeds limit of 20"),
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("me.json");
        fs::write(&path, of_internal_hosts(&environment).to_string()).unwrap();
        match (replay(&component, &path).await, difference) {
            (Ok(()), None) => {}
            (result, difference) => {
                let error = result.unwrap_err().to_string();
                assert!(
                    difference.is_some_and(|text| error.contains(text)),
                    "{error}"
                );
            }
        }
    }
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
        error.contains("its body differs: /name: recorded \"Ada\", now \"Eve\""),
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
