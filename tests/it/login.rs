//! `component login` and `component logout` as processes, against the emulator's provider. The test is the browser.

use emulator::provider::{Kind, Knobs, Provider, ProviderConfig, Scripted};
use reqwest::{Client, StatusCode, Url, redirect::Policy};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdout, Command},
    time::timeout,
};

const SOON: Duration = Duration::from_secs(30);

/// A provider, and a folder with a configuration.
struct World {
    provider: Provider,
    folder: TempDir,
    variables: BTreeMap<&'static str, String>,
    browser: Client,
}

/// A login that waits for its answer.
struct Waiting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: String,
    address: Url,
}

/// How a command ended, and all that it said.
struct End {
    status: ExitStatus,
    said: String,
}

impl World {
    async fn new() -> Self {
        Self::with(Knobs::default()).await
    }

    async fn with(knobs: Knobs) -> Self {
        let provider = Provider::start(ProviderConfig {
            knobs,
            ..Default::default()
        })
        .await
        .unwrap();
        let variables = BTreeMap::from([
            ("OAUTH_CLIENT_ID", provider.client_id().to_owned()),
            ("OAUTH_CLIENT_SECRET", provider.client_secret().to_owned()),
            ("OAUTH_AUTH_URI", provider.authorize_url()),
            ("OAUTH_TOKEN_URI", provider.token_url()),
            ("OAUTH_SCOPES", "read write".to_owned()),
            // One that knows where tokens are revoked.
            ("OAUTH_PROFILE", "salesforce".to_owned()),
        ]);
        let browser = Client::builder().redirect(Policy::none()).build().unwrap();
        let world = Self {
            provider,
            folder: tempfile::tempdir().unwrap(),
            variables,
            browser,
        };
        world.store(&json!({"baseUrl": world.provider.api_url(), "other": {"kept": true}}));
        world
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("config.json")
    }

    fn store(&self, config: &Value) {
        fs::write(self.file(), config.to_string()).unwrap();
    }

    fn stored(&self) -> Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }

    /// Stores the tokens of a grant.
    fn connected(&self) -> String {
        let record = self.provider.issue();
        let refresh_token = record["refresh_token"].as_str().unwrap().to_owned();
        self.store(&json!({"baseUrl": self.provider.api_url(), "oauth": record}));
        refresh_token
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_component"));
        command.args(arguments).arg("--config").arg(self.file());
        command
            .current_dir(self.folder.path())
            .env_clear()
            .envs(&self.variables);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> End {
        let output = soon(self.command(arguments).output()).await.unwrap();
        let said = [output.stdout, output.stderr]
            .map(|text| String::from_utf8(text).unwrap())
            .concat();
        self.no_secret_in(&said);
        End {
            status: output.status,
            said,
        }
    }

    async fn logout(&self) -> End {
        self.run(&["logout"]).await
    }

    /// Starts a login and waits until it says where to go.
    async fn login(&self, arguments: &[&str]) -> Waiting {
        let arguments = [&["login", "--no-browser"], arguments].concat();
        let mut child = self.command(&arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let address = loop {
            let Some(line) = soon(lines.next_line()).await.unwrap() else {
                let mut error = String::new();
                child
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut error)
                    .await
                    .unwrap();
                panic!("no address: {error}");
            };
            said += &line;
            if let Ok(address) = Url::parse(line.trim()) {
                break address;
            }
        };
        Waiting {
            child,
            lines,
            said,
            address,
        }
    }

    /// What the browser shows at an address; redirects are handed out.
    async fn get(&self, address: Url) -> reqwest::Response {
        soon(self.browser.get(address).send()).await.unwrap()
    }

    /// Says yes at the provider and hands out where that leads to.
    async fn agree(&self, waiting: &Waiting) -> Url {
        let answer = self.get(waiting.address.clone()).await;
        let location = answer
            .headers()
            .get("location")
            .map(|location| location.to_str().unwrap().to_owned());
        match location {
            Some(location) => location.parse().unwrap(),
            None => panic!(
                "the provider sends nobody back: {}",
                answer.text().await.unwrap()
            ),
        }
    }

    fn no_secret_in(&self, said: &str) {
        for secret in self.provider.secrets() {
            assert!(!said.contains(&secret), "{secret} was said: {said}");
        }
    }
}

impl Waiting {
    async fn end(mut self, world: &World) -> End {
        let mut said = self.said;
        while let Some(line) = soon(self.lines.next_line()).await.unwrap() {
            said = said + &line + "\n";
        }
        soon(self.child.stderr.take().unwrap().read_to_string(&mut said))
            .await
            .unwrap();
        let status = soon(self.child.wait()).await.unwrap();
        world.no_secret_in(&said);
        End { status, said }
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it to happen in time")
}

fn parameters(address: &Url) -> BTreeMap<String, String> {
    address.query_pairs().into_owned().collect()
}

fn with(address: &Url, name: &str, value: &str) -> Url {
    let mut parameters = parameters(address);
    parameters.insert(name.into(), value.into());
    let mut address = address.clone();
    address.query_pairs_mut().clear().extend_pairs(parameters);
    address
}

/// token-failures: T60.
#[tokio::test]
async fn a_login_saves_the_whole_record_for_the_owner_only() {
    let world = World::with(Knobs {
        extra: json!({"instance_url": "https://x"})
            .as_object()
            .unwrap()
            .clone(),
        ..Knobs::default()
    })
    .await;
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let waiting = world.login(&[]).await;
    let page = world.get(world.agree(&waiting).await).await;
    assert_eq!(page.status(), StatusCode::OK);
    let end = waiting.end(&world).await;
    assert!(end.status.success(), "{}", end.said);
    assert_eq!(fs::metadata(world.file()).unwrap().mode() & 0o777, 0o600);

    let stored = world.stored();
    assert_eq!(stored["other"], json!({"kept": true}));
    assert_eq!(stored["baseUrl"], world.provider.api_url());
    let record = &stored["oauth"];
    assert_eq!(record["instance_url"], "https://x");
    assert!(
        world
            .provider
            .is_good(record["access_token"].as_str().unwrap())
    );
    assert!(
        world
            .provider
            .is_spendable(record["refresh_token"].as_str().unwrap())
    );
    assert!(
        record["tokenExpiryTime"].is_string(),
        "so that it is refreshed ahead of its end"
    );
}

/// token-failures: T60.
#[tokio::test]
async fn the_login_uses_state_and_pkce_s256() {
    let world = World::new().await;
    let waiting = world.login(&[]).await;
    let asked = parameters(&waiting.address);
    assert_eq!(
        (asked["response_type"].as_str(), asked["scope"].as_str()),
        ("code", "read write")
    );
    assert_eq!(
        (
            asked["code_challenge_method"].as_str(),
            asked["code_challenge"].len()
        ),
        ("S256", 43)
    );
    assert!(asked["state"].len() >= 32);
    let callback = world.agree(&waiting).await;
    assert_eq!(callback.host_str(), Some("127.0.0.1"));
    world.get(callback).await;
    assert!(waiting.end(&world).await.status.success());
    let [call] = &world.provider.token_calls()[..] else {
        panic!("one exchange")
    };
    assert_eq!(call.form["redirect_uri"], asked["redirect_uri"]);
    assert!((43..=128).contains(&call.form["code_verifier"].len()));
}

/// token-failures: T60.
#[tokio::test]
async fn a_callback_with_another_state_is_ignored() {
    let world = World::new().await;
    let waiting = world.login(&[]).await;
    let callback = world.agree(&waiting).await;
    for wrong in [
        with(&callback, "state", "another"),
        with(&callback, "state", ""),
        with(&callback, "code", ""),
    ] {
        assert_eq!(world.get(wrong).await.status(), StatusCode::BAD_REQUEST);
    }
    assert!(world.provider.token_calls().is_empty());
    assert_eq!(world.get(callback).await.status(), StatusCode::OK);
    let end = waiting.end(&world).await;
    assert!(
        end.status.success() && end.said.contains("another login"),
        "{}",
        end.said
    );
}

/// token-failures: T60.
#[tokio::test]
async fn a_denied_login_shows_the_reason_and_keeps_the_file() {
    let world = World::with(Knobs {
        deny: Some("access_denied".into()),
        ..Knobs::default()
    })
    .await;
    let before = world.stored();
    let waiting = world.login(&[]).await;
    let callback = world.agree(&waiting).await;
    world
        .get(with(
            &callback,
            "error_description",
            "the user\u{1b}[31m said no",
        ))
        .await;
    let end = waiting.end(&world).await;
    assert_eq!(end.status.code(), Some(1));
    assert!(
        end.said.contains("access_denied (the user[31m said no)"),
        "{}",
        end.said
    );
    assert_eq!(world.stored(), before);
}

/// token-failures: T60.
#[tokio::test]
async fn a_second_callback_is_rejected() {
    let world = World::new().await;
    let waiting = world.login(&[]).await;
    let callback = world.agree(&waiting).await;
    let hold = world.provider.hold_token_answers();
    assert_eq!(world.get(callback.clone()).await.status(), StatusCode::OK);
    soon(world.provider.token_called(1)).await;
    assert_eq!(world.get(callback).await.status(), StatusCode::GONE);
    drop(hold);
    assert!(waiting.end(&world).await.status.success());
    assert_eq!(world.provider.token_calls().len(), 1);
}

/// token-failures: T60.
#[tokio::test]
async fn login_times_out() {
    let world = World::new().await;
    let end = world.login(&["--timeout", "1"]).await.end(&world).await;
    assert_eq!(end.status.code(), Some(1));
    assert!(
        end.said.contains("the browser did not return within 1 s"),
        "{}",
        end.said
    );
}

/// token-failures: T60.
#[tokio::test]
async fn login_listens_on_127_0_0_1_only() {
    let world = World::new().await;
    let waiting = world.login(&[]).await;
    let port = Url::parse(&parameters(&waiting.address)["redirect_uri"])
        .unwrap()
        .port()
        .unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Everything in 127/8 is this machine: who listens on all addresses would answer here.
    for other in ["127.0.0.2", "::1"] {
        TcpStream::connect((other, port)).await.expect_err(other);
    }
}

#[tokio::test]
async fn an_answer_of_somebody_who_was_not_asked_is_refused() {
    for (knob, arguments, good) in [
        (None, &[][..], true),
        (Some("https://evil.example.com"), &[], false),
        (
            Some("https://login.example.com"),
            &["--issuer", "https://login.example.com"],
            true,
        ),
        (None, &["--issuer", "https://login.example.com"], false),
        (Some(""), &["--issuer", "https://login.example.com"], false),
    ] {
        let world = World::with(Knobs {
            iss: knob.map(str::to_owned),
            ..Knobs::default()
        })
        .await;
        let waiting = world.login(arguments).await;
        world.get(world.agree(&waiting).await).await;
        let end = waiting.end(&world).await;
        assert_eq!(
            end.status.success(),
            good,
            "{knob:?} {arguments:?}: {}",
            end.said
        );
        assert_eq!(
            world.provider.token_calls().len(),
            usize::from(good),
            "{knob:?}"
        );
        assert!(good || end.said.contains("--issuer"), "{}", end.said);
    }
}

#[tokio::test]
async fn browsers_that_send_nothing_or_nonsense_hold_up_nobody() {
    let world = World::new().await;
    let waiting = world.login(&[]).await;
    let callback = world.agree(&waiting).await;
    let _silent = TcpStream::connect(("127.0.0.1", callback.port().unwrap()))
        .await
        .unwrap();
    let mut favicon = callback.clone();
    favicon.set_path("/favicon.ico");
    assert_eq!(world.get(favicon).await.status(), StatusCode::NOT_FOUND);
    let posted = soon(world.browser.post(callback.clone()).send())
        .await
        .unwrap();
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    for nonsense in [
        "\r\n\r\n".to_owned(),
        "x".repeat(20_000),
        "GET /callback".to_owned() + &"y".repeat(20_000),
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", callback.port().unwrap()))
            .await
            .unwrap();
        let _ = socket.write_all(nonsense.as_bytes()).await;
        let mut answer = Vec::new();
        // What was sent beyond the limit may cut the answer off.
        let _ = soon(socket.read_to_end(&mut answer)).await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400 "),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(world.get(callback).await.status(), StatusCode::OK);
    assert!(waiting.end(&world).await.status.success());
}

#[tokio::test]
async fn the_redirect_address_is_configurable() {
    let world = World::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let waiting = world
        .login(&["--port", &free, "--redirect-host", "localhost"])
        .await;
    assert_eq!(
        parameters(&waiting.address)["redirect_uri"],
        format!("http://localhost:{free}/callback")
    );
    // The port is in use now.
    let end = world.run(&["login", "--no-browser", "--port", &free]).await;
    assert_eq!(end.status.code(), Some(1));
    assert!(
        end.said.contains(&format!("port {free} of 127.0.0.1")),
        "{}",
        end.said
    );
}

#[tokio::test]
async fn the_browser_is_opened_with_the_address() {
    let mut world = World::new().await;
    let (opener, opened) = (
        world.folder.path().join("xdg-open"),
        world.folder.path().join("opened"),
    );
    fs::write(
        &opener,
        format!(
            "#!/bin/sh\nprintf %s \"$1\" > {0}.part && /bin/mv {0}.part {0}\n",
            opened.display()
        ),
    )
    .unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    world
        .variables
        .insert("PATH", world.folder.path().display().to_string());
    let end = world.run(&["login", "--timeout", "2"]).await;
    let address = fs::read_to_string(opened).unwrap();
    assert!(
        address.starts_with(&world.provider.authorize_url()) && end.said.contains(&address),
        "{address}"
    );
}

#[tokio::test]
async fn without_a_browser_to_open_the_address_is_enough() {
    let mut world = World::new().await;
    world
        .variables
        .insert("PATH", world.folder.path().display().to_string());
    let end = world.run(&["login", "--timeout", "1"]).await;
    assert!(
        end.said.contains("open the address yourself"),
        "{}",
        end.said
    );
}

#[tokio::test]
async fn a_refused_code_keeps_the_file() {
    let world = World::new().await;
    let before = world.stored();
    world
        .provider
        .script_token([Scripted::error("invalid_grant")]);
    let waiting = world.login(&[]).await;
    world.get(world.agree(&waiting).await).await;
    let end = waiting.end(&world).await;
    assert_eq!(end.status.code(), Some(1));
    assert!(end.said.contains("invalid_grant"), "{}", end.said);
    assert_eq!(world.stored(), before);
}

#[tokio::test]
async fn an_unwritable_file_is_reported_before_the_browser_opens() {
    let world = World::new().await;
    let place = world.folder.path().join("folder");
    fs::create_dir(&place).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_component"));
    command
        .args(["login", "--no-browser", "--config"])
        .arg(&place)
        .env_clear()
        .envs(&world.variables);
    let output = soon(command.output()).await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("folder") && output.stdout.is_empty(),
        "{said}"
    );
}

#[tokio::test]
async fn a_configuration_change_during_login_is_kept() {
    let world = World::new().await;
    world.connected();
    world
        .provider
        .knobs(|knobs| knobs.issue_refresh_token = false);
    let waiting = world.login(&[]).await;
    let mut changed = world.stored();
    changed["added"] = json!("meanwhile");
    world.store(&changed);
    world.get(world.agree(&waiting).await).await;
    let end = waiting.end(&world).await;
    assert!(
        end.status.success() && end.said.contains("no refresh token"),
        "{}",
        end.said
    );
    let stored = world.stored();
    assert_eq!(stored["added"], "meanwhile");
    assert_eq!(
        stored["oauth"].get("refresh_token"),
        None,
        "that of another grant is not this one's"
    );
}

#[tokio::test]
async fn a_credential_that_is_not_complete_is_told_by_what_is_missing() {
    let mut world = World::new().await;
    world.variables.remove("OAUTH_CLIENT_ID");
    let end = world.run(&["login", "--no-browser"]).await;
    assert_eq!(end.status.code(), Some(1));
    assert!(end.said.contains("OAUTH_CLIENT_ID"), "{}", end.said);
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_revokes_the_refresh_token_and_deletes_the_record() {
    let world = World::new().await;
    let refresh_token = world.connected();
    let end = world.logout().await;
    assert!(end.status.success(), "{}", end.said);
    assert!(!world.provider.is_spendable(&refresh_token));
    assert_eq!(world.stored(), json!({"baseUrl": world.provider.api_url()}));
    assert!(
        world.logout().await.status.success(),
        "there is nothing to do the second time"
    );
    assert_eq!(revocations(&world.provider), [refresh_token]);
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn an_unknown_token_counts_as_revoked() {
    let world = World::new().await;
    world.store(&json!({"baseUrl": world.provider.api_url(), "oauth": {"refresh_token": "of somebody else"}}));
    let end = world.logout().await;
    assert!(end.status.success(), "{}", end.said);
    assert_eq!(world.stored().get("oauth"), None);
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn revocation_is_retried_after_retry_after() {
    let world = World::new().await;
    let refresh_token = world.connected();
    world.provider.script_revoke([
        Scripted::retry_after(503, "1"),
        Scripted::retry_after(503, "0"),
    ]);
    let end = world.logout().await;
    assert!(
        end.status.success() && end.said.contains("trying again in 1 s"),
        "{}",
        end.said
    );
    assert_eq!(revocations(&world.provider).len(), 3);
    assert!(!world.provider.is_spendable(&refresh_token));
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_deletes_the_tokens_in_any_case() {
    for (answers, shown) in [
        (vec![Scripted::retry_after(503, "0"); 3], "503"),
        (
            vec![Scripted::error("unsupported_token_type")],
            "unsupported_token_type",
        ),
        (
            vec![
                Scripted::DropBefore,
                Scripted::retry_after(503, "0"),
                Scripted::retry_after(503, "0"),
            ],
            "503",
        ),
    ] {
        let world = World::new().await;
        world.connected();
        world.provider.script_revoke(answers);
        let end = world.logout().await;
        assert_eq!(
            end.status.code(),
            Some(1),
            "the user has to know: {}",
            end.said
        );
        assert!(
            end.said.contains(shown) && end.said.contains("account's settings"),
            "{}",
            end.said
        );
        assert_eq!(world.stored().get("oauth"), None);
    }
}

/// token-failures: Revoking tokens.
#[tokio::test]
async fn logout_without_revocation_still_deletes_the_tokens() {
    for (variable, value, status) in [("OAUTH_PROFILE", "generic", 0), ("OAUTH_CLIENT_ID", "", 1)] {
        let mut world = World::new().await;
        let refresh_token = world.connected();
        world.variables.insert(variable, value.into());
        let end = world.logout().await;
        assert_eq!(end.status.code(), Some(status), "{}", end.said);
        assert_eq!(world.stored().get("oauth"), None);
        assert!(
            world.provider.is_spendable(&refresh_token) && end.said.contains("not revoke"),
            "{}",
            end.said
        );
    }
}

fn revocations(provider: &Provider) -> Vec<String> {
    let calls = provider
        .log()
        .into_iter()
        .filter_map(|entry| match entry.kind {
            Kind::RevokeCall { token, .. } => Some(token),
            _ => None,
        });
    calls.collect()
}
