//! Runs that are recorded, and replayed in memory.

mod replaying;
mod timeline;

use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Command};
use tempfile::TempDir;
use test_support::{Outcome, orders};

/// A secret of the user's.
const API_KEY: &str = "user-key/with +signs";

/// A folder with the files of a run.
struct Files(TempDir);

impl Files {
    fn new(message: &Value) -> Self {
        let folder = TempDir::new().unwrap();
        let config = json!({
            "baseUrl": "{{PROVIDER_URL}}/api",
            "sampleUrl": "{{EMULATOR_URL}}/sample/items?limit=2",
            "apiKey": API_KEY,
            "oauth": "{{PROVIDER_EXPIRED_TOKENS}}",
        });
        for (name, text) in [
            ("component.json", orders::COMPONENT_JSON.to_owned()),
            ("config.json", config.to_string()),
            ("message.json", message.to_string()),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        Self(folder)
    }

    fn recording(&self) -> PathBuf {
        self.0.path().join("recordings/recording.json")
    }

    fn record(&self, arguments: &[&str]) -> Outcome {
        let this = std::env::current_exe().unwrap();
        let component = this.ancestors().nth(2).unwrap().join("examples/orders");
        assert!(
            component.exists(),
            "{} is missing: cargo build -p elasticio-emulator --examples",
            component.display()
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
        command.current_dir(self.0.path());
        command.args([
            "run",
            "--config",
            "config.json",
            "--message",
            "message.json",
        ]);
        command
            .args(["--record", "recordings/recording.json"])
            .args(arguments);
        command.arg("--").arg(component);
        test_support::run(&mut command)
    }

    fn recorded(&self) -> Value {
        serde_json::from_slice(&fs::read(self.recording()).unwrap()).unwrap()
    }
}

#[test]
fn a_recording_is_readable_and_has_no_secret() {
    let files = Files::new(&json!({"name": "Ada"}));
    let outcome = files.record(&[]);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    assert!(
        outcome
            .stdout
            .contains("recording.json has 5 HTTP exchanges"),
        "{}",
        outcome.stdout
    );
    let recording = files.recorded();
    assert_eq!(recording["version"], 1);
    assert_eq!(recording["function"], "order");
    assert_eq!(recording["message"]["body"], json!({"name": "Ada"}));
    assert_eq!(
        recording["configuration"]["baseUrl"],
        "http://127.0.0.1:2/api"
    );
    assert_eq!(
        recording["environment"]["ORDERS_TOKEN_URI"],
        "http://127.0.0.1:2/token"
    );
    let lines: Vec<String> = recording["exchanges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|exchange| {
            let request = &exchange["request"];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            format!(
                "{} {} {}",
                text(&request["method"]),
                text(&request["url"]),
                exchange["response"]["status"]
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "POST http://127.0.0.1:2/api/items 401",
            "POST http://127.0.0.1:2/token 200",
            "POST http://127.0.0.1:2/api/items 201",
            "GET http://127.0.0.1:1/sample/items?limit=2 200",
            "POST http://127.0.0.1:2/api/echo 200",
        ]
    );
    let kinds: Vec<&str> = recording["events"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|event| event.as_object().unwrap().keys())
        .map(String::as_str)
        .collect();
    assert_eq!(kinds, ["updateKeys", "snapshot", "data"]);

    // Everything that the emulator issues, in every form in which it may be sent.
    let text = fs::read_to_string(files.recording()).unwrap();
    for secret in [
        "emulator-client-secret",
        "emulator-key",
        "emulator-storage-token",
        "at-1.",
        "at-2.",
        "at-3.",
        "rt-1.",
        "rt-2.",
        API_KEY,
        "user-key%2Fwith",
        "with+%2Bsigns",
        "with%20%2Bsigns",
        "user-key",
        "Basic ZW11bGF0b3I",
    ] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let keys = &recording["events"][0]["updateKeys"]["oauth"];
    assert!(
        keys["access_token"]
            .as_str()
            .unwrap()
            .starts_with("secret-"),
        "{keys}"
    );
    // The same secret has the same placeholder everywhere.
    let key = recording["configuration"]["apiKey"].as_str().unwrap();
    let header = &recording["exchanges"][3]["request"]["headers"]["x-api-key"][0];
    assert_eq!(header, key);
}

/// The proxy shows a certificate that this client does not know.
#[test]
fn a_client_that_does_not_trust_the_proxy_is_told_of() {
    for fails in [false, true] {
        let files =
            Files::new(&json!({"name": "Ada", "own_client": "api.example", "fails": fails}));
        let outcome = files.record(&[]);
        assert_eq!(outcome.status, 1, "{}", outcome.stdout);
        let mut lines = outcome.stdout.lines();
        let told = lines.find(|line| line.contains("is not written")).unwrap();
        for text in [
            "recording.json is not written: ",
            "TLS to api.example failed: a client of the component does not trust",
            "ELASTICIO_CA_CERTS",
        ] {
            assert!(told.contains(text), "{told}");
        }
        assert_eq!(told.contains("the run did not succeed"), fails, "{told}");
        assert!(
            lines.any(|line| line.contains("FAILED")),
            "{}",
            outcome.stdout
        );
        assert!(!files.recording().exists());
    }
}

/// What changes the sailor's behaviour is recorded, and is no secret.
#[test]
fn the_variables_of_a_run_are_recorded() {
    let files = Files::new(&json!({"name": "Ada"}));
    let outcome = files.record(&[
        "--env=ELASTICIO_OAUTH_HTTP_HOSTS=idp.internal,api.internal:8080",
        "--env=ELASTICIO_OAUTH_MODE=on-401",
        "--env=ELASTICIO_DATA_RATE_LIMIT=20",
        "--env=ORDERS_TOKEN=not-named-anywhere",
    ]);
    assert_eq!(outcome.status, 0, "{}{}", outcome.stdout, outcome.stderr);
    let environment = files.recorded()["environment"].clone();
    let names: Vec<_> = environment.as_object().unwrap().keys().collect();
    assert_eq!(
        names,
        [
            "ELASTICIO_OAUTH_HTTP_HOSTS",
            "ELASTICIO_OAUTH_MODE",
            "ORDERS_AUTH_URI",
            "ORDERS_CLIENT_ID",
            "ORDERS_CLIENT_SECRET",
            "ORDERS_TOKEN_URI",
        ]
    );
    assert_eq!(
        environment["ELASTICIO_OAUTH_HTTP_HOSTS"],
        "idp.internal,api.internal:8080"
    );
    assert_eq!(environment["ELASTICIO_OAUTH_MODE"], "on-401");
}

#[test]
fn a_run_that_is_not_good_is_not_recorded() {
    let files = Files::new(&json!({"name": "Ada", "fails": true}));
    let outcome = files.record(&[]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("recording.json is not written"),
        "{}",
        outcome.stdout
    );
    assert!(!files.recording().exists());
}

#[test]
fn a_recording_that_cannot_be_written_is_a_failure() {
    let files = Files::new(&json!({"name": "Ada"}));
    fs::write(files.0.path().join("recordings"), "no folder").unwrap();
    let outcome = files.record(&["--json"]);
    assert_eq!(outcome.status, 1, "{}", outcome.stderr);
    assert!(outcome.stderr.contains("recording.json is not written"));
    let last: Value = serde_json::from_str(outcome.stdout.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["ok"]),
        (&json!("result"), &json!(false))
    );
}

/// The server never responds.
#[test]
fn a_request_that_is_given_up_cannot_be_recorded() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/slow", server.local_addr().unwrap());
    let files = Files::new(&json!({"name": "Ada", "gives_up": format!("{url}?x=1")}));
    let outcome = files.record(&[]);
    assert_eq!(outcome.status, 1);
    let told = format!("the component did not wait for the response to GET {url}\n");
    assert!(outcome.stdout.contains(&told), "{}", outcome.stdout);
    assert!(!files.recording().exists());
}

/// The component would have waited: the run's end is no fault of its.
#[test]
fn a_request_without_a_response_at_a_timeout_is_named() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/slow", server.local_addr().unwrap());
    let files = Files::new(&json!({"name": "Ada"}));
    let config = files.0.path().join("config.json");
    let mut values: Value = serde_json::from_slice(&fs::read(&config).unwrap()).unwrap();
    values["sampleUrl"] = url.clone().into();
    fs::write(config, values.to_string()).unwrap();
    let outcome = files.record(&["--timeout", "3"]);
    assert_eq!(outcome.status, 1, "{}", outcome.stdout);
    let told = format!("the run did not succeed; GET {url} had no response yet\n");
    assert!(outcome.stdout.contains(&told), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains("did not wait"));
}

#[test]
fn one_message_is_recorded() {
    let files = Files::new(&json!({"name": "Ada"}));
    let outcome = files.record(&["--message", "message.json"]);
    assert_eq!(outcome.status, 2, "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("--record records one message"),
        "{}",
        outcome.stderr
    );
    assert!(!files.recording().exists());
}
