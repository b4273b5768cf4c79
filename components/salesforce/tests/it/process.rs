//! The component as a process on the emulator: broker, platform, object storage, provider, API. With it, what earlier
//! components did wrong and shows in a process alone.

use emulator::{
    Emulator, EmulatorConfig, Event, EventKind,
    platform::Step,
    provider::{Knobs, Provider, ProviderConfig},
};
use sailor::protocol::Headers;
use salesforce_standin::{Fault, Salesforce};
use serde_json::{Map, Value, json};
use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// Long enough for anything on a busy machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const FLOW: &str = "emulated-flow";

/// The component on a step of its own, connected with an organisation.
struct Deployed {
    emulator: Emulator,
    api: Salesforce,
    variables: Vec<(&'static str, String)>,
}

impl Deployed {
    async fn new(
        function: &str,
        fields: Value,
        tokens: impl FnOnce(&Provider) -> Map<String, Value>,
    ) -> Self {
        let provider = ProviderConfig {
            knobs: Knobs::preset("salesforce").unwrap(),
            ..ProviderConfig::default()
        };
        let step = Step {
            function: function.into(),
            ..Step::default()
        };
        let config = EmulatorConfig {
            provider,
            step: step.clone(),
            prefetch: 20,
            rebound_speed_up: 100,
            next_step: true,
            ..Default::default()
        };
        let emulator = Emulator::start(config).await.unwrap();
        let api = Salesforce::start(emulator.provider()).await.unwrap();
        let account = json!({ "prodEnv": "login", "oauth": tokens(emulator.provider()) });
        let mut config = json!({ "_account": "acc" });
        for more in [&account, &fields] {
            config
                .as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
        }
        emulator.platform().set_step(FLOW, Step { config, ..step });
        emulator
            .platform()
            .set_account("acc", account.as_object().unwrap().clone());
        let provider = emulator.provider();
        let variables = vec![
            ("SALESFORCE_KEY", provider.client_id().to_owned()),
            ("SALESFORCE_SECRET", provider.client_secret().to_owned()),
            ("SALESFORCE_TOKEN_URI", provider.token_url()),
            ("LOG_LEVEL", "trace".to_owned()),
        ];
        Self {
            emulator,
            api,
            variables,
        }
    }

    fn provider(&self) -> &Provider {
        self.emulator.provider()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_salesforce"));
        command
            .env_clear()
            .envs(self.emulator.env())
            .envs(self.variables.iter().cloned());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    fn start(&self) -> Running {
        let mut child = self.command().spawn().unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        Running { child, log }
    }

    fn send(&self, body: Value) {
        self.send_message(json!({ "headers": {}, "body": body }));
    }

    fn send_message(&self, message: Value) {
        self.emulator.send(&message, &Headers::new());
    }

    /// Waits until so many of this kind have happened, and all messages are settled; gives all of this kind.
    async fn events(&self, kind: EventKind, count: usize) -> Vec<Arc<Event>> {
        let (mut events, mut found) = (self.emulator.events(), vec![]);
        while found.len() < count {
            let next = timeout(PATIENCE, events.find(|event| event.kind == kind)).await;
            let next = next.unwrap_or_else(|_| {
                panic!("{} of {count} {kind:?}: {:?}", found.len(), self.errors())
            });
            found.push(next.unwrap());
        }
        timeout(PATIENCE, self.emulator.settled())
            .await
            .expect("messages stay unsettled");
        let all = std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == kind);
        found.extend(all);
        found
    }

    fn errors(&self) -> Vec<String> {
        let mut events = self.emulator.events();
        let errors =
            std::iter::from_fn(|| events.try_next()).filter(|event| event.kind == EventKind::Error);
        errors
            .map(|event| event.body["error"].to_string())
            .collect()
    }

    /// The tokens that the platform has.
    fn stored(&self) -> Value {
        self.emulator.platform().account("acc").unwrap()["oauth"].clone()
    }

    fn snapshot(&self) -> Value {
        self.emulator
            .platform()
            .step(FLOW, "step_1")
            .unwrap()
            .snapshot
    }

    /// Ends the component; it has told no secret and nothing of what messages and records hold.
    async fn stop(&self, running: Running, contents: &[&str]) {
        running.terminate();
        let Running { mut child, mut log } = running;
        let (mut lines, mut line) = (vec![], String::new());
        while timeout(PATIENCE, log.read_line(&mut line))
            .await
            .expect("no end")
            .unwrap()
            > 0
        {
            lines.push(std::mem::take(&mut line));
        }
        assert!(
            timeout(PATIENCE, child.wait())
                .await
                .expect("no end")
                .unwrap()
                .success(),
            "{lines:?}"
        );
        assert!(lines.len() > 2, "the log is read");
        self.assert_nothing_told(&lines, contents);
    }

    fn assert_nothing_told(&self, lines: &[String], contents: &[&str]) {
        let secrets = self.provider().secrets();
        assert!(secrets.len() > 2, "there is something to tell");
        for line in lines {
            assert!(
                !secrets.iter().any(|secret| line.contains(secret.as_str())),
                "a secret is told: {line}"
            );
            assert!(
                !contents.iter().any(|content| line.contains(content)),
                "contents are told: {line}"
            );
        }
        for error in self.errors() {
            assert!(
                !secrets.iter().any(|secret| error.contains(secret.as_str())),
                "a secret is told: {error}"
            );
        }
    }

    /// A one-time call, and its result.
    async fn service(&self, method: &str, model: Option<&str>) -> (bool, Value) {
        let platform = self.emulator.platform();
        let step = platform.step(FLOW, "step_1").unwrap();
        let mut command = self.command();
        command
            .args(["service", method])
            .env("ELASTICIO_POST_RESULT_URL", platform.result_url("exec"));
        command
            .env("ELASTICIO_CFG", step.config.to_string())
            .env("ELASTICIO_ACTION_OR_TRIGGER", step.function);
        command.envs(model.map(|model| ("ELASTICIO_GET_MODEL_METHOD", model)));
        let output = timeout(PATIENCE, command.output())
            .await
            .expect("the call does not end")
            .unwrap();
        let log = String::from_utf8(output.stdout).unwrap();
        self.assert_nothing_told(&log.lines().map(str::to_owned).collect::<Vec<_>>(), &[]);
        let result = platform
            .results()
            .pop()
            .unwrap_or_else(|| panic!("no result: {log}"));
        (result.success, result.data)
    }
}

/// A component at work.
struct Running {
    child: Child,
    log: BufReader<ChildStdout>,
}

impl Running {
    /// Asks it to stop.
    fn terminate(&self) {
        let id = self
            .child
            .id()
            .expect("the component has ended")
            .to_string();
        assert!(
            std::process::Command::new("kill")
                .args(["-s", "TERM", &id])
                .status()
                .unwrap()
                .success()
        );
    }
}

fn bodies(events: &[Arc<Event>]) -> Vec<&Value> {
    events.iter().map(|event| &event.body["body"]).collect()
}

#[tokio::test]
async fn a_poll_saves_refreshed_tokens_and_its_snapshot() {
    let fields = json!({ "sobject": "Account", "selectedFields": ["Name"] });
    let deployed = Deployed::new("getUpdatedObjectsPolling", fields, Provider::issue_expired).await;
    for name in ["Acme, confidential", "Bolt, confidential"] {
        deployed.api.insert("Account", json!({ "Name": name }));
    }
    deployed.api.pass(1);
    let component = deployed.start();
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 2).await;
    assert_eq!(bodies(&data)[1]["Name"], "Bolt, confidential");
    deployed.events(EventKind::Snapshot, 1).await;
    assert_eq!(deployed.snapshot()["lastSeenId"], bodies(&data)[1]["Id"]);
    assert_eq!(deployed.provider().refreshes(), 1);
    assert!(
        deployed
            .provider()
            .is_spendable(deployed.stored()["refresh_token"].as_str().unwrap())
    );
    assert!(
        deployed
            .provider()
            .is_valid(deployed.stored()["access_token"].as_str().unwrap())
    );

    deployed.api.insert("Account", json!({ "Name": "Cog" }));
    deployed.api.pass(1);
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 3).await;
    assert_eq!((data.len(), &bodies(&data)[2]["Name"]), (3, &json!("Cog")));
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn many_messages_with_an_expired_token_share_one_refresh() {
    let deployed = Deployed::new(
        "create",
        json!({ "sobject": "Account" }),
        Provider::issue_expired,
    )
    .await;
    for n in 0..20 {
        deployed.send(json!({ "Name": format!("confidential {n}") }));
    }
    let component = deployed.start();
    let data = deployed.events(EventKind::Data, 20).await;
    assert_eq!((data.len(), deployed.provider().refreshes()), (20, 1));
    assert_eq!(deployed.api.records("Account").len(), 20);
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn a_second_refresh_keeps_the_refresh_token() {
    let deployed = Deployed::new("rawRequest", json!({}), Provider::issue_expired).await;
    let component = deployed.start();
    let refresh_token = deployed.stored()["refresh_token"].clone();
    for refreshes in 1..=3 {
        deployed.send(json!({ "method": "GET", "path": "limits" }));
        deployed.events(EventKind::Data, refreshes).await;
        assert_eq!(deployed.provider().refreshes(), refreshes);
        assert_eq!(deployed.stored()["refresh_token"], refresh_token);
        deployed.provider().expire_access_tokens();
    }
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn a_failure_does_not_log_message_contents() {
    let deployed = Deployed::new("query", json!({}), Provider::issue).await;
    let component = deployed.start();
    deployed.send(json!({ "query": "SELECT Confidential__c FROM Account" }));
    let errors = deployed.events(EventKind::Error, 1).await;
    // Its user is told.
    assert!(
        errors[0].body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("Confidential__c")
    );
    deployed.stop(component, &["Confidential__c"]).await;
}

#[tokio::test]
async fn a_reached_limit_rebounds_and_the_work_is_done_once() {
    let deployed = Deployed::new("create", json!({ "sobject": "Account" }), Provider::issue).await;
    deployed.api.inject_faults(
        "POST",
        [Fault::Error(
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
        )],
    );
    let component = deployed.start();
    deployed.send(json!({ "Name": "Acme" }));
    deployed.events(EventKind::Rebound, 1).await;
    deployed.events(EventKind::Data, 1).await;
    assert_eq!(
        (
            deployed.api.records("Account").len(),
            deployed.errors().len()
        ),
        (1, 0)
    );
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn a_stored_file_is_the_input_of_a_bulk_job() {
    let fields = json!({ "operation": "insert", "sobject": "Account" });
    let deployed = Deployed::new("bulk_cud", fields, Provider::issue_expired).await;
    deployed.api.set_job_pace(1);
    let platform = deployed.emulator.platform();
    platform.set_object(
        "rows",
        "Name,NumberOfEmployees\nAcme confidential,5\nBolt confidential,many\n",
    );
    let url = format!("{}/objects/rows?storage_type=maester", platform.url());
    let attachments = json!({ "rows.csv": { "url": url, "content-type": "text/csv" } });
    let component = deployed.start();
    deployed.send_message(json!({ "headers": {}, "body": {}, "attachments": attachments }));
    let data = deployed.events(EventKind::Data, 1).await;
    let result = &bodies(&data)[0]["result"];
    assert_eq!(
        (&result[0]["success"], &result[1]["success"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (
            deployed.api.records("Account").len(),
            deployed.provider().refreshes()
        ),
        (1, 1)
    );
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn a_stop_during_a_bulk_job_does_not_repeat_its_rows() {
    for (operation, rejected, limit) in [("insert", true, "25"), ("upsert", false, "1")] {
        let fields = json!({ "operation": operation, "sobject": "Account" });
        let mut deployed = Deployed::new("bulk_cud", fields, Provider::issue).await;
        deployed
            .variables
            .push(("ELASTICIO_SHUTDOWN_TIMEOUT", limit.into()));
        deployed.api.set_job_pace(1000);
        let platform = deployed.emulator.platform();
        platform.set_object("rows", "Name,ErpId__c\nAcme,1\n");
        let url = format!("{}/objects/rows?storage_type=maester", platform.url());
        let component = deployed.start();
        deployed.send(json!({ "attachmentUrl": url, "extIdField": "ErpId__c" }));
        // It is created, filled, begun, and looked at.
        timeout(PATIENCE, deployed.provider().api_called(4))
            .await
            .expect("no job is looked at");
        deployed.stop(component, &[]).await;
        let told = deployed.errors();
        assert_eq!(told.len(), usize::from(rejected), "{operation}: {told:?}");
        assert!(
            told.iter()
                .all(|error| error.contains("goes on at Salesforce")),
            "{told:?}"
        );
        let depth = deployed
            .emulator
            .broker()
            .depth(&deployed.emulator.topology().input);
        assert_eq!(
            depth.ready + depth.unacked,
            usize::from(!rejected),
            "{operation}"
        );
    }
}

#[tokio::test]
async fn a_bulk_query_result_is_stored_as_a_file() {
    let deployed = Deployed::new("bulk_q", json!({}), Provider::issue_expired).await;
    for n in 0..5 {
        deployed
            .api
            .insert("Account", json!({ "Name": format!("confidential {n}") }));
    }
    deployed.api.set_page_size(2);
    let component = deployed.start();
    deployed.send(json!({ "query": "SELECT Name FROM Account" }));
    let data = deployed.events(EventKind::Data, 1).await;
    let platform = deployed.emulator.platform();
    let [id] = &platform.object_ids()[..] else {
        panic!("{:?}", platform.object_ids())
    };
    let file = String::from_utf8(platform.object(id).unwrap().to_vec()).unwrap();
    let names: Vec<&str> = file
        .lines()
        .skip(1)
        .map(|line| line.trim_matches('"'))
        .collect();
    assert_eq!(
        names,
        (0..5)
            .map(|n| format!("confidential {n}"))
            .collect::<Vec<_>>()
    );
    let attachment = &data[0].body["attachments"]["bulk_query.csv"];
    assert!(
        attachment["url"].as_str().unwrap().contains(id.as_str()),
        "{attachment}"
    );
    deployed.stop(component, &["confidential"]).await;
}

#[tokio::test]
async fn upsert_finds_the_id_with_an_old_api_version() {
    let fields =
        json!({ "sobject": "Account", "typeOfSearch": "externalIds", "lookupField": "ErpId__c" });
    let mut deployed = Deployed::new("upsert", fields, Provider::issue).await;
    deployed
        .variables
        .push(("SALESFORCE_API_VERSION", "v45.0".into()));
    let id = deployed
        .api
        .insert("Account", json!({ "Name": "Old", "ErpId__c": "1" }));
    let component = deployed.start();
    deployed.send(json!({ "ErpId__c": "1", "Name": "New" }));
    let data = deployed.events(EventKind::Data, 1).await;
    assert_eq!(
        bodies(&data)[0],
        &json!({ "id": id, "success": true, "created": false, "errors": [] })
    );
    assert!(
        deployed
            .api
            .calls()
            .iter()
            .all(|call| call.path.starts_with("/services/data/v45.0/"))
    );
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn an_invalid_api_version_fails_the_start() {
    let mut deployed = Deployed::new("upsert", json!({}), Provider::issue).await;
    deployed
        .variables
        .push(("SALESFORCE_API_VERSION", "latest".into()));
    let output = timeout(PATIENCE, deployed.command().stderr(Stdio::piped()).output())
        .await
        .expect("no end")
        .unwrap();
    let told =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && told.contains("SALESFORCE_API_VERSION"),
        "{told}"
    );
}

#[tokio::test]
async fn a_platform_secret_is_refreshed_and_its_instance_url_used() {
    let deployed = Deployed::new("newAccount", json!({}), Provider::issue).await;
    let platform = deployed.emulator.platform();
    // The platform keeps what it does not know itself in a place of its own.
    let as_secret = |mut tokens: Map<String, Value>| {
        let instance_url = tokens.remove("instance_url").unwrap();
        tokens.insert(
            "undefined_params".into(),
            json!({ "instance_url": instance_url }),
        );
        Value::Object(tokens)
    };
    let (stale, fresh) = (
        as_secret(deployed.provider().issue_expired()),
        as_secret(deployed.provider().issue()),
    );
    platform.set_secret("emulated-workspace", "secret-1", stale, vec![fresh]);
    let mut step = platform.step(FLOW, "step_1").unwrap();
    step.config = json!({ "secretId": "secret-1" });
    platform.set_step(FLOW, step);
    deployed.api.insert("Account", json!({ "Name": "Acme" }));
    let component = deployed.start();
    deployed.send(json!({}));
    let data = deployed.events(EventKind::Data, 1).await;
    assert_eq!(bodies(&data)[0]["records"][0]["Name"], "Acme");
    let refreshes = platform
        .calls()
        .iter()
        .filter(|call| call.path.ends_with("/secrets/secret-1/refresh"))
        .count();
    assert_eq!((refreshes, deployed.provider().refreshes()), (1, 0));
    deployed.stop(component, &[]).await;
}

#[tokio::test]
async fn metadata_and_select_models_save_refreshed_tokens() {
    let fields =
        json!({ "sobject": "Account", "typeOfSearch": "allFields", "lookupField": "Name" });
    let deployed = Deployed::new("lookupObject", fields, Provider::issue_expired).await;
    let (success, metadata) = deployed.service("getMetaModel", None).await;
    assert!(success, "{metadata}");
    assert_eq!(metadata["in"]["properties"]["Name"]["required"], true);
    assert!(
        deployed
            .provider()
            .is_valid(deployed.stored()["access_token"].as_str().unwrap())
    );
    assert_eq!(deployed.provider().refreshes(), 1);
    deployed.provider().expire_access_tokens();
    let (success, choices) = deployed
        .service("selectModel", Some("getLookupFields"))
        .await;
    assert!(success && choices["ErpId__c"] == "ERP Id", "{choices}");
    assert!(
        deployed
            .provider()
            .is_valid(deployed.stored()["access_token"].as_str().unwrap())
    );
    assert_eq!(deployed.provider().refreshes(), 2);
}

#[tokio::test]
async fn verify_credentials_saves_a_refreshed_token() {
    let deployed = Deployed::new("", json!({}), Provider::issue_expired).await;
    assert_eq!(
        deployed.service("verifyCredentials", None).await,
        (true, json!({ "verified": true }))
    );
    assert!(
        deployed
            .provider()
            .is_valid(deployed.stored()["access_token"].as_str().unwrap())
    );
    assert_eq!(deployed.provider().refreshes(), 1);
    deployed
        .api
        .inject_faults(".*", [Fault::Error(403, "API_DISABLED_FOR_ORG", "no")]);
    let (success, verdict) = deployed.service("verifyCredentials", None).await;
    assert!(success && verdict["verified"] == false, "{verdict}");
    assert!(
        verdict["reason"].as_str().unwrap().contains("API Enabled"),
        "{verdict}"
    );
    deployed.api.shutdown().await;
    let (success, error) = deployed.service("verifyCredentials", None).await;
    assert!(!success && error.get("verified").is_none(), "{error}");
}

/// Runs verification with an expired token where component.json alone says where tokens come from; gives the hosts that
/// a proxy was asked for, and what came of it.
async fn asked_for_tokens(login: &str) -> (Vec<String>, String) {
    let mut deployed = Deployed::new("", json!({}), Provider::issue_expired).await;
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", proxy.local_addr().unwrap());
    deployed
        .variables
        .retain(|(name, _)| *name != "SALESFORCE_TOKEN_URI");
    deployed.variables.push(("HTTPS_PROXY", address));
    let mut step = deployed.emulator.platform().step(FLOW, "step_1").unwrap();
    step.config["prodEnv"] = login.into();
    deployed.emulator.platform().set_step(FLOW, step);
    let mut keys = deployed.emulator.platform().account("acc").unwrap();
    keys.insert("prodEnv".into(), login.into());
    deployed.emulator.platform().set_account("acc", keys);
    let hosts = Mutex::default();
    let refuse_all = async {
        loop {
            let mut stream = BufReader::new(proxy.accept().await.unwrap().0);
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            Vec::push(
                &mut hosts.lock().unwrap(),
                line.split(' ').nth(1).unwrap_or_default().to_owned(),
            );
            let refusal =
                b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            stream.write_all(refusal).await.unwrap();
        }
    };
    let (success, data) = tokio::select! {
        () = refuse_all => unreachable!("it goes on"),
        result = deployed.service("verifyCredentials", None) => result,
    };
    assert!(!success || data["verified"] == false, "{data}");
    (hosts.into_inner().unwrap(), data.to_string())
}

#[tokio::test]
async fn a_sandbox_or_my_domain_refreshes_at_its_own_host() {
    for (login, host) in [
        ("login", "login.salesforce.com:443"),
        ("test", "test.salesforce.com:443"),
        ("acme.my", "acme.my.salesforce.com:443"),
        (
            "acme--dev.sandbox.my",
            "acme--dev.sandbox.my.salesforce.com:443",
        ),
    ] {
        let (hosts, told) = asked_for_tokens(login).await;
        assert!(
            !hosts.is_empty() && hosts.iter().all(|asked| asked == host),
            "{login}: {hosts:?} {told}"
        );
    }
}

#[tokio::test]
async fn login_uses_the_login_host_scopes_and_prompt() {
    for (login, host) in [
        ("test", "test.salesforce.com"),
        (
            "acme--dev.sandbox.my",
            "acme--dev.sandbox.my.salesforce.com",
        ),
    ] {
        let deployed = Deployed::new("", json!({}), Provider::issue).await;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("account.json");
        std::fs::write(&file, json!({ "prodEnv": login }).to_string()).unwrap();
        let mut command = deployed.command();
        command
            .env_remove("SALESFORCE_TOKEN_URI")
            .args(["login", "--no-browser", "--config"])
            .arg(&file);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let line = timeout(PATIENCE, lines.next_line())
                .await
                .expect("it says nothing")
                .unwrap()
                .expect("it ends");
            if let Some(address) = line.trim().strip_prefix("https://") {
                break address.to_owned();
            }
        };
        child.kill().await.unwrap();
        assert!(
            address.starts_with(&format!("{host}/services/oauth2/authorize?")),
            "{address}"
        );
        for part in [
            "scope=api+refresh_token",
            "prompt=login+consent",
            "code_challenge_method=S256",
        ] {
            assert!(address.contains(part), "{part} in {address}");
        }
    }
}

#[tokio::test]
async fn an_invalid_login_host_gets_no_client_secret() {
    for login in [
        "evil.example/",
        "evil.example#",
        "evil.example?",
        "user@evil.example/",
    ] {
        let (hosts, told) = asked_for_tokens(login).await;
        assert!(
            hosts.is_empty() && told.contains("prodEnv"),
            "{login}: {hosts:?} {told}"
        );
    }
}
