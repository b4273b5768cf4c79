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
    assert!(end.status == 0, "{}", end.output());
    assert_eq!(fs::metadata(world.file()).unwrap().mode() & 0o777, 0o600);

    let stored = world.stored();
    assert_eq!(stored["other"], json!({"kept": true}));
    assert_eq!(stored["baseUrl"], world.provider.api_url());
    let record = &stored["oauth"];
    assert_eq!(record["instance_url"], "https://x");
    assert!(
        world
            .provider
            .is_valid(record["access_token"].as_str().unwrap())
    );
    assert!(
        world
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
    assert!(waiting.end(&world).await.status == 0);
    let [call] = &world.provider.token_calls()[..] else {
        panic!("one exchange")
    };
    assert_eq!(call.form["redirect_uri"], asked["redirect_uri"]);
    assert!((43..=128).contains(&call.form["code_verifier"].len()));
}

/// token-failures: T60.
#[tokio::test]
async fn login_times_out() {
    let world = World::new().await;
    let end = world.login(&["--timeout", "1"]).await.end(&world).await;
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
    let world = World::new().await;
    let waiting = world.login(&[]).await;
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
    let mut world = World::new().await;
    let folder = world.folder.path().to_owned();
    let (opener, pipe) = (folder.join("xdg-open"), folder.join("pipe"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$1\" > {}\n", pipe.display());
    fs::write(&opener, script).unwrap();
    fs::set_permissions(&opener, fs::Permissions::from_mode(0o755)).unwrap();
    world.variables.insert("PATH", folder.display().to_string());

    let pipe = pipe::OpenOptions::new()
        .read_write(true)
        .open_receiver(pipe)
        .unwrap();
    let mut opened = BufReader::new(pipe).lines();
    let mut login = Process::start(world.command(&["login"]));
    let address = soon("the browser is opened", opened.next_line()).await;
    let address = address.unwrap().unwrap();
    assert!(
        address.starts_with(&world.provider.authorize_url()),
        "{address}"
    );
    while !login.next_line().await.unwrap().contains(&address) {}
}

#[tokio::test]
async fn without_a_browser_the_login_asks_to_open_the_address() {
    let mut world = World::new().await;
    world
        .variables
        .insert("PATH", world.folder.path().display().to_string());
    let end = world.run(&["login", "--timeout", "1"]).await;
    assert!(
        end.output().contains("open the address yourself"),
        "{}",
        end.output()
    );
}

#[tokio::test]
async fn an_unwritable_file_is_reported_before_the_browser_opens() {
    let world = World::new().await;
    let place = world.folder.path().join("folder");
    fs::create_dir(&place).unwrap();
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command
        .args(["login", "--no-browser", "--config"])
        .arg(&place)
        .envs(&world.variables);
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
        end.status == 0 && end.output().contains("no refresh token"),
        "{}",
        end.output()
    );
    let stored = world.stored();
    assert_eq!(stored["added"], "meanwhile");
    assert_eq!(
        stored["oauth"].get("refresh_token"),
        None,
        "the refresh token of the earlier grant is gone"
    );
}

#[tokio::test]
async fn an_incomplete_credential_names_what_is_missing() {
    let mut world = World::new().await;
    world.variables.remove("OAUTH_CLIENT_ID");
    let end = world.run(&["login", "--no-browser"]).await;
    assert_eq!(end.status, 1);
    assert!(end.output().contains("OAUTH_CLIENT_ID"), "{}", end.output());
}
