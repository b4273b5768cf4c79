//! The component as a process: broker, platform, object storage, provider, and the stand-in for Graph.

use crate::rig::sample_body;
use emulator::{
    Emulator, EmulatorConfig, Event, EventKind, platform,
    provider::{Knobs, Provider, ProviderConfig},
    standins::graph::{AttachmentKind, Fault, Graph},
};
use sailor::protocol::Headers;
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, process::Stdio, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Long enough for anything on a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNT: &str = "acc";

/// A flow's step on the emulator, with an account that is connected.
pub struct Step {
    pub emulator: Emulator,
    pub graph: Graph,
    variables: Vec<(&'static str, String)>,
}

impl Step {
    pub async fn new<T: Into<Value>>(
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> T,
    ) -> Self {
        let knobs = Knobs::preset("microsoft").unwrap();
        Self::with(knobs, function, fields, tokens).await
    }

    async fn with<T: Into<Value>>(
        knobs: Knobs,
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> T,
    ) -> Self {
        let mut step = platform::Step {
            function: function.to_owned(),
            config: fields,
            ..platform::Step::default()
        };
        step.config["_account"] = ACCOUNT.into();
        let config = EmulatorConfig {
            provider: ProviderConfig {
                knobs,
                ..ProviderConfig::default()
            },
            step,
            rebound_speed_up: 100,
            next_step: true,
            ..EmulatorConfig::default()
        };
        let emulator = Emulator::start(config).await.unwrap();
        let graph = Graph::start(emulator.provider()).await.unwrap();
        let provider = emulator.provider();
        let variables = vec![
            ("MSAPP_CLIENT_ID", provider.client_id().to_owned()),
            ("MSAPP_CLIENT_SECRET", provider.client_secret().to_owned()),
            ("MSAPP_TOKEN_URI", provider.token_url()),
            ("GRAPH_BASE_URL", graph.url()),
            ("LOG_LEVEL", "trace".to_owned()),
        ];
        let tokens = tokens(provider);
        let step = Self {
            emulator,
            graph,
            variables,
        };
        step.connect(tokens);
        step
    }

    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// Gives the account these tokens.
    pub fn connect(&self, tokens: impl Into<Value>) {
        let keys = Map::from_iter([("oauth".to_owned(), tokens.into())]);
        self.emulator.platform().set_account(ACCOUNT, keys);
    }

    /// The tokens that the platform has.
    pub fn stored(&self) -> Value {
        self.emulator.platform().account(ACCOUNT).unwrap()["oauth"].clone()
    }

    fn snapshot(&self) -> Value {
        self.emulator
            .platform()
            .step("emulated-flow", "step_1")
            .unwrap()
            .snapshot
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outlook"));
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        command
            .envs(self.emulator.env())
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn start(&self) -> Running {
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running {
            child,
            lines,
            secrets: self.emulator.provider().clone(),
        }
    }

    pub fn send(&self, body: Value) {
        self.emulator
            .send(&json!({ "headers": {}, "body": body }), &Headers::new());
    }

    pub async fn settled(&self) {
        timeout(PATIENCE, self.emulator.settled())
            .await
            .expect("messages stay unsettled");
    }

    /// Waits until `count` events of this kind have happened, and gives them.
    pub async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        let mut found = Vec::new();
        while found.len() < count {
            let next = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
            found.push(
                next.unwrap_or_else(|_| panic!("only {} of {count} {kind:?}", found.len()))
                    .unwrap(),
            );
        }
        found
    }

    /// The bodies so far of this kind.
    fn bodies(&self, kind: EventKind) -> Vec<Value> {
        let mut events = self.emulator.events();
        let all = std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == kind);
        all.map(|event| event.body.clone()).collect()
    }

    /// What was emitted so far, without the messages around it.
    fn data(&self) -> Vec<Value> {
        self.bodies(EventKind::Data)
            .into_iter()
            .map(|message| message["body"].clone())
            .collect()
    }

    /// The texts of the errors so far.
    pub fn errors(&self) -> Vec<String> {
        let errors = self.bodies(EventKind::Error);
        errors
            .iter()
            .map(|body| body["error"]["message"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How often the platform was asked something with this in its path.
    pub fn platform_calls(&self, part: &str) -> usize {
        self.emulator
            .platform()
            .calls()
            .iter()
            .filter(|call| call.path.contains(part))
            .count()
    }

    /// Sends a message and waits for all that comes of it; gives the log.
    pub async fn run(&self, body: Value) -> Value {
        let component = self.start();
        self.send(body);
        self.settled().await;
        component.stop().await
    }

    /// A one-time execution.
    async fn service(&self, method: &str, variables: &[(&str, &str)]) -> Value {
        let platform = self.emulator.platform();
        let mut config = platform.step("emulated-flow", "step_1").unwrap().config;
        config["_account"] = ACCOUNT.into();
        let mut command = self.command();
        command
            .args(["service", method])
            .envs(variables.iter().copied());
        command
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"))
            .env("ELASTICIO_CFG", config.to_string());
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        assert_nothing_told(self.emulator.provider(), &log);
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {log}"));
        json!({ "success": result.success, "data": result.data })
    }
}

/// A component at work.
pub struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    secrets: Provider,
}

impl Running {
    fn signal(&self, name: &str) {
        let id = self
            .child
            .id()
            .expect("the component has ended")
            .to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", name, &id])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Ends it; gives its log, which tells no secret.
    pub async fn stop(mut self) -> Value {
        self.signal("TERM");
        let mut log = Vec::new();
        while let Some(line) = timeout(PATIENCE, self.lines.next_line())
            .await
            .expect("no end")
            .unwrap()
        {
            assert_nothing_told(&self.secrets, &line);
            log.push(
                serde_json::from_str(&line).unwrap_or_else(|_| panic!("no bunyan line: {line}")),
            );
        }
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .expect("no end")
            .unwrap();
        assert!(status.success(), "{status}: {log:?}");
        Value::Array(log)
    }
}

#[track_caller]
fn assert_nothing_told(provider: &Provider, text: &str) {
    let secrets = provider.secrets();
    assert!(
        secrets.iter().all(|secret| !text.contains(secret.as_str())),
        "a secret is told: {text}"
    );
}

fn contact(name: &str, changed: &str) -> Value {
    json!({ "displayName": name, "lastModifiedDateTime": changed })
}

#[tokio::test]
async fn a_poll_refreshes_an_expired_token_once() {
    let step = Step::new("getContacts", json!({}), Provider::issue_expired).await;
    step.graph.limit_pages(2);
    for n in 0..5 {
        step.graph
            .add_contact(contact(&n.to_string(), "2024-05-01T10:00:00Z"));
    }
    let component = step.start();
    step.send(json!({}));
    step.settled().await;
    assert_eq!(step.data().len(), 5);
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(
        step.emulator
            .provider()
            .is_spendable(step.stored()["refresh_token"].as_str().unwrap())
    );
    assert_eq!(
        step.snapshot()["lastModifiedDateTime"],
        "2024-05-01T10:00:00Z"
    );
    step.graph.add_contact(contact("5", "2024-05-01T10:00:00Z"));
    step.send(json!({}));
    step.settled().await;
    component.stop().await;
    let names: Vec<Value> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].clone())
        .collect();
    assert_eq!(names, ["0", "1", "2", "3", "4", "5"]);
    assert_eq!(
        (step.emulator.provider().refreshes(), step.errors()),
        (1, vec![])
    );
}

#[tokio::test]
async fn a_429_during_a_poll_loses_and_repeats_nothing() {
    let step = Step::new("getContacts", json!({}), Provider::issue).await;
    step.graph.limit_pages(2);
    for n in 0..5 {
        step.graph
            .add_contact(contact(&n.to_string(), &format!("2024-05-01T10:00:0{n}Z")));
    }
    step.graph.fail("10:00:01Z", [Fault::Throttled(120)]);
    let component = step.start();
    step.send(json!({}));
    step.events(EventKind::CameBack, 1).await;
    step.events(EventKind::Data, 5).await;
    step.settled().await;
    component.stop().await;
    let names: Vec<Value> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].clone())
        .collect();
    assert_eq!(
        (names, step.errors()),
        (["0", "1", "2", "3", "4"].map(Value::from).into(), vec![])
    );
}

#[tokio::test]
async fn a_stop_within_a_page_loses_and_repeats_nothing() {
    const COUNT: usize = 60;
    let step = Step::new("getContacts", json!({}), Provider::issue).await;
    for n in 0..COUNT {
        step.graph.add_contact(contact(
            &n.to_string(),
            &format!("2024-05-01T10:00:{:02}Z", n / 3),
        ));
    }
    step.emulator
        .broker()
        .delay_confirms(Duration::from_millis(100));
    let component = step.start();
    step.send(json!({}));
    step.events(EventKind::Data, 2).await;
    component.signal("TERM");
    timeout(PATIENCE, step.emulator.settled()).await.unwrap();
    drop(component);
    let before = step.data().len();
    assert!(before < COUNT, "it was stopped in time");
    step.emulator.broker().delay_confirms(Duration::ZERO);
    step.run(json!({})).await;
    let names: Vec<String> = step
        .data()
        .into_iter()
        .map(|body| body["displayName"].to_string())
        .collect();
    assert_eq!(
        (names.len(), names.iter().collect::<BTreeSet<_>>().len()),
        (COUNT, COUNT)
    );
}

#[tokio::test]
async fn files_of_a_mail_can_be_sent_with_another() {
    let fields = json!({ "folderId": "inbox", "getAttachment": "on" });
    let reading = Step::new("readMail", fields, Provider::issue_expired).await;
    let contents: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mail = reading
        .graph
        .add_message("inbox", json!({ "subject": "Figures of the quarter" }));
    reading.graph.attach(
        &mail,
        AttachmentKind::File,
        "report.bin",
        "application/x-report",
        contents.clone(),
    );
    let mut logs = reading.run(json!({})).await.to_string();
    let received = reading.data().remove(0);
    assert_eq!(received["attachments"][0]["size"], json!(contents.len()));

    let sending = Step::new("sendMail", json!({}), Provider::issue).await;
    let sending = sending.variable(
        "ELASTICIO_OBJECT_STORAGE_URI",
        reading.emulator.platform().url(),
    );
    let file = &received["attachments"][0];
    let body = json!({
        "subject": received["subject"],
        "toRecipients": [{ "emailAddress": { "address": "ada@example.com" } }],
        "body": { "content": "See the file." },
        "attachments": [{ "name": file["name"], "url": file["url"] }],
    });
    logs += &sending.run(body).await.to_string();
    assert_eq!(sending.errors(), [""; 0]);
    let sent = sending.graph.sent().remove(0)["message"]["attachments"][0].clone();
    assert_eq!(
        (&sent["name"], &sent["contentType"]),
        (&json!("report.bin"), &json!("application/x-report"))
    );
    let bytes = base64_simd::STANDARD
        .decode_to_vec(sent["contentBytes"].as_str().unwrap())
        .unwrap();
    assert!(bytes == contents);
    // Logs at their most talkative have nothing of it.
    for told in [
        "Figures",
        "report.bin",
        "ada@example.com",
        "See the file",
        &mail,
    ] {
        assert!(!logs.contains(told), "{told}");
    }
}

#[tokio::test]
async fn every_access_refreshes_before_each_request() {
    // The worst provider for it: each refresh token is good once, and a second use ends them all.
    let knobs = Knobs {
        kill_family_on_reuse: true,
        grace: Duration::ZERO,
        ..Knobs::preset("microsoft").unwrap()
    };
    let fields = json!({ "originalMailFolders": "inbox", "destinationFolder": "sample-archive" });
    let step = Step::with(knobs, "moveMail", fields, Provider::issue).await;
    let step = step.variable("ELASTICIO_OAUTH_MODE", "every-access");
    step.graph.add_samples();
    let component = step.start();
    for id in ["sample-mail-1", "sample-mail-2"] {
        step.send(json!({ "messageId": id }));
    }
    step.events(EventKind::Data, 2).await;
    step.settled().await;
    component.stop().await;
    let tokens: BTreeSet<_> = step
        .graph
        .calls(".")
        .into_iter()
        .map(|call| call.token)
        .collect();
    assert_eq!(
        (
            step.graph.calls(".").len(),
            tokens.len(),
            step.emulator.provider().refreshes()
        ),
        (4, 4, 4)
    );
    assert!(
        step.emulator
            .provider()
            .is_spendable(step.stored()["refresh_token"].as_str().unwrap())
    );
    assert_eq!(step.errors(), [""; 0]);
}

#[tokio::test]
async fn a_long_429_rebounds_and_creates_the_event_once() {
    let fields = json!({ "calendarId": "calendar-id=", "timeZone": "Europe/Berlin" });
    let step = Step::new("createEvent", fields, Provider::issue).await;
    step.graph.fail("POST", [Fault::Throttled(120)]);
    let component = step.start();
    step.send(sample_body("create-event.json", step.emulator.platform()));
    step.events(EventKind::Rebound, 1).await;
    step.events(EventKind::Data, 1).await;
    step.settled().await;
    component.stop().await;
    assert_eq!(
        (step.graph.events("calendar-id=").len(), step.errors()),
        (1, vec![])
    );
}

#[tokio::test]
async fn a_platform_secret_is_refreshed_by_the_platform() {
    let step = Step::new(
        "checkAvailability",
        json!({ "secretId": "secret-1" }),
        |_| Value::Null,
    )
    .await;
    let provider = step.emulator.provider();
    let (stale, fresh) = (provider.issue_expired().into(), provider.issue().into());
    step.emulator
        .platform()
        .set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    step.run(json!({})).await;
    assert_eq!(step.data(), [json!({ "available": true })]);
    assert_eq!(
        (
            step.platform_calls("/secrets/secret-1/refresh"),
            provider.refreshes()
        ),
        (1, 0)
    );
    assert!(step.bodies(EventKind::UpdateKeys).is_empty());
}

#[tokio::test]
async fn select_models_save_refreshed_tokens() {
    let step = Step::new("readMail", json!({}), Provider::issue_expired).await;
    step.graph.add_samples();
    for (model, id, name) in [
        ("getFolders", "sample-archive", "Archive"),
        ("getCalendars", "sample-calendar", "Team"),
    ] {
        let variables = [
            ("ELASTICIO_ACTION_OR_TRIGGER", "readMail"),
            ("ELASTICIO_GET_MODEL_METHOD", model),
        ];
        let result = step.service("selectModel", &variables).await;
        assert_eq!(
            (&result["success"], &result["data"][id]),
            (&json!(true), &json!(name)),
            "{result}"
        );
    }
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(
        step.emulator
            .provider()
            .is_spendable(step.stored()["refresh_token"].as_str().unwrap())
    );
}

#[tokio::test]
async fn a_network_error_is_no_verification_result() {
    let step = Step::new("readMail", json!({}), Provider::issue_expired).await;
    assert_eq!(
        step.service("verifyCredentials", &[]).await["data"],
        json!({ "verified": true })
    );
    assert_eq!(step.emulator.provider().refreshes(), 1);
    assert!(
        step.emulator
            .provider()
            .is_spendable(step.stored()["refresh_token"].as_str().unwrap())
    );
    let away = step
        .service(
            "verifyCredentials",
            &[("GRAPH_BASE_URL", "http://127.0.0.1:1/v1.0")],
        )
        .await;
    assert_eq!(away["success"], json!(false), "{away}");
    assert!(
        away["data"]["message"]
            .as_str()
            .unwrap()
            .contains("could not be checked now"),
        "{away}"
    );
    step.emulator.provider().revoke_all();
    let revoked = step.service("verifyCredentials", &[]).await["data"].clone();
    assert_eq!(revoked["verified"], json!(false), "{revoked}");
    assert!(
        revoked["reason"]
            .as_str()
            .unwrap()
            .contains("connect the account again"),
        "{revoked}"
    );
}

#[tokio::test]
async fn environment_numbers_are_used_or_named_in_the_error() {
    let step = Step::new("readMail", json!({ "folderId": "inbox" }), Provider::issue).await;
    let step = step
        .variable("MAIL_RETRIEVE_MAX_COUNT", "7")
        .variable("TOP_LIST_MAIL_FOLDER", "8");
    step.run(json!({})).await;
    let variables = [
        ("ELASTICIO_ACTION_OR_TRIGGER", "readMail"),
        ("ELASTICIO_GET_MODEL_METHOD", "getFolders"),
    ];
    step.service("selectModel", &variables).await;
    assert_eq!(step.graph.calls(r"messages\?.*top=7(&|$)").len(), 1);
    assert_eq!(step.graph.calls(r"mailFolders\?.*top=8(&|$)").len(), 1);
    for name in ["MAIL_RETRIEVE_MAX_COUNT", "TOP_LIST_MAIL_FOLDER"] {
        for text in ["0", "1001", "many"] {
            let mut command = step.command();
            let output = timeout(PATIENCE, command.env(name, text).output())
                .await
                .expect("it does not end")
                .unwrap();
            let told =
                String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(
                !output.status.success() && told.contains(name) && told.contains("from 1 to 1000"),
                "{told}"
            );
        }
    }
}
