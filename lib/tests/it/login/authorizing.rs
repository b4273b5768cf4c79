//! `component login`, from the address that it prints to the tokens that it saves.

use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::unix::pipe,
};

/// token-failures: T60.
#[tokio::test]
async fn a_login_saves_the_whole_record_for_the_owner_only() {
    let setup = Setup::with(Knobs {
        extra: json!({"instance_url": "https://x"})
            .as_object()
            .unwrap()
            .clone(),
        ..Knobs::default()
    })
    .await;
    fs::set_permissions(setup.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let waiting = setup.login(&[]).await;
    let page = setup.get(setup.agree(&waiting).await).await;
    assert_eq!(page.status(), StatusCode::OK);
    let end = waiting.end(&setup).await;
    assert!(end.status == 0, "{}", end.output());
    assert_eq!(fs::metadata(setup.file()).unwrap().mode() & 0o777, 0o600);

    let stored = setup.stored();
    assert_eq!(stored["other"], json!({"kept": true}));
    assert_eq!(stored["baseUrl"], setup.provider.api_url());
    let record = &stored["oauth"];
    assert_eq!(record["instance_url"], "https://x");
    assert!(
        setup
            .provider
            .is_valid(record["access_token"].as_str().unwrap())
    );
    assert!(
        setup
            .provider
            .is_spendable(record["refresh_token"].as_str().unwrap())
    );
    assert!(
        record["tokenExpiryTime"].is_string(),
        "it is needed to refresh the token before it expires"
    );
}

/// token-failures: T60.
#[tokio::test]
async fn the_login_uses_state_and_pkce_s256() {
    let setup = Setup::new().await;
    let waiting = setup.login(&[]).await;
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
    let callback = setup.agree(&waiting).await;
    assert_eq!(callback.host_str(), Some("127.0.0.1"));
    setup.get(callback).await;
    assert!(waiting.end(&setup).await.status == 0);
    let [call] = &setup.provider.token_calls()[..] else {
        panic!("one exchange")
    };
    assert_eq!(call.form["redirect_uri"], asked["redirect_uri"]);
    assert!((43..=128).contains(&call.form["code_verifier"].len()));
}

/// token-failures: T60.
#[tokio::test]
async fn login_times_out() {
    let setup = Setup::new().await;
    let end = setup.login(&["--timeout", "1"]).await.end(&setup).await;
    assert_eq!(end.status, 1);
    assert!(
        end.output()
            .contains("the browser did not return within 1 s"),
        "{}",
        end.output()
    );
}

/// token-failures: T60.
#[tokio::test]
async fn login_listens_on_127_0_0_1_only() {
    let setup = Setup::new().await;
    let waiting = setup.login(&[]).await;
    let port = Url::parse(&parameters(&waiting.address)["redirect_uri"])
        .unwrap()
        .port()
        .unwrap();
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // All of 127/8 is this machine: a server that listens on all addresses accepts here.
    for other in ["127.0.0.2", "::1"] {
        TcpStream::connect((other, port)).await.expect_err(other);
    }
}

#[tokio::test]
async fn the_redirect_address_is_configurable() {
    let setup = Setup::new().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    let waiting = setup
        .login(&["--port", &free, "--redirect-host", "localhost"])
        .await;
    assert_eq!(
        parameters(&waiting.address)["redirect_uri"],
        format!("http://localhost:{free}/callback")
    );
    // The port is in use now.
    let end = setup.run(&["login", "--no-browser", "--port", &free]).await;
    assert_eq!(end.status, 1);
    assert!(
        end.output().contains(&format!("port {free} of 127.0.0.1")),
        "{}",
        end.output()
    );
}

/// The program that opens a browser writes the address into a named pipe.
#[tokio::test]
async fn the_browser_is_opened_with_the_address() {
    let mut setup = Setup::new().await;
    let folder = setup.folder.path().to_owned();
    let (opener, pipe) = (folder.join("xdg-open"), folder.join("pipe"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" > {}\n", pipe.display());
    fs::write(&opener, script).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    setup.variables.insert("PATH", folder.display().to_string());

    let pipe = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(pipe)
        .unwrap();
    let mut opened = BufReader::new(pipe).lines();
    let mut login = Process::start(setup.command(&["login"]));
    let address = soon("the browser is opened", opened.next_line()).await;
    let address = address.unwrap().unwrap();
    assert!(
        address.starts_with(&setup.provider.authorize_url()),
        "{address}"
    );
    while !login.next_line().await.unwrap().contains(&address) {}
}

#[tokio::test]
async fn without_a_browser_the_login_asks_to_open_the_address() {
    let mut setup = Setup::new().await;
    setup
        .variables
        .insert("PATH", setup.folder.path().display().to_string());
    let end = setup.run(&["login", "--timeout", "1"]).await;
    assert!(
        end.output().contains("open the address yourself"),
        "{}",
        end.output()
    );
}

#[tokio::test]
async fn an_unwritable_file_is_reported_before_the_browser_opens() {
    let setup = Setup::new().await;
    let place = setup.folder.path().join("folder");
    fs::create_dir(&place).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command
        .args(["login", "--no-browser", "--config"])
        .arg(&place)
        .envs(&setup.variables);
    let end = Process::run(command).await;
    assert_eq!(end.status, 1);
    assert!(
        end.stderr.contains("folder") && end.stdout.is_empty(),
        "{}",
        end.output()
    );
}

#[tokio::test]
async fn a_configuration_change_during_login_is_kept() {
    let setup = Setup::new().await;
    setup.connected();
    setup
        .provider
        .knobs(|knobs| knobs.issue_refresh_token = false);
    let waiting = setup.login(&[]).await;
    let mut changed = setup.stored();
    changed["added"] = json!("meanwhile");
    setup.store(&changed);
    setup.get(setup.agree(&waiting).await).await;
    let end = waiting.end(&setup).await;
    assert!(
        end.status == 0 && end.output().contains("no refresh token"),
        "{}",
        end.output()
    );
    let stored = setup.stored();
    assert_eq!(stored["added"], "meanwhile");
    assert_eq!(
        stored["oauth"].get("refresh_token"),
        None,
        "the refresh token of the earlier grant is still stored"
    );
}

#[tokio::test]
async fn an_incomplete_credential_names_what_is_missing() {
    let mut setup = Setup::new().await;
    setup.variables.remove("OAUTH_CLIENT_ID");
    let end = setup.run(&["login", "--no-browser"]).await;
    assert_eq!(end.status, 1);
    assert!(end.output().contains("OAUTH_CLIENT_ID"), "{}", end.output());
}
