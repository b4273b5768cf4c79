//! The commands other than `emulator run`.

use crate::{command, emulator, folder, plain_component};
use serde_json::{Value, json};
use std::{net::TcpStream, process::Command};
use test_support::Background;

#[test]
fn up_writes_an_environment_file_and_runs_until_interrupted() {
    let folder = folder(&[]);
    let arguments = ["up", "--function", "it's", "--write-env", "env.sh"];
    let mut up = Background::start(&mut command(folder.path(), arguments));
    let banner = up.lines_to("Ctrl-C");
    assert_eq!(banner.len(), 5, "{banner:?}");
    assert!(banner[0].contains("in memory only"), "{banner:?}");
    assert_eq!(banner[1], "a component's environment: source env.sh");
    let read = ". ./env.sh; printf '%s\\n' \"$ELASTICIO_FUNCTION\" \"$ELASTICIO_API_URI\"";
    let shell = Command::new("sh")
        .current_dir(&folder)
        .args(["-c", read])
        .output()
        .unwrap();
    let shell = String::from_utf8(shell.stdout).unwrap();
    let (function, url) = shell.trim().split_once('\n').unwrap();
    assert_eq!(function, "it's");
    let address = url.strip_prefix("http://").unwrap();
    assert!(TcpStream::connect(address).is_ok());

    assert!(up.interrupt().success());
    assert!(TcpStream::connect(address).is_err());
}

/// The command works as it is printed. It has the address where no file can have it.
#[test]
fn up_says_how_to_send_a_message() {
    let message = ("m.json", json!({ "id": "m-1" }));
    let no_folder = (".emulator", json!("a file"));
    for (files, has_address_file) in [
        (vec![message.clone()], true),
        (vec![message, no_folder], false),
    ] {
        let folder = folder(&files);
        let arguments = ["up", "--function", "f", "--write-env", "env.sh"];
        let mut up = Background::start(&mut command(folder.path(), arguments));
        let banner = up.lines_to("Ctrl-C");
        let (_, platform) = banner[0].split_once("platform at ").unwrap();
        let (url, _) = platform.split_once(',').unwrap();
        let (shown, elsewhere) = if has_address_file {
            let elsewhere = format!(" (in another folder: --to {url})");
            ("emulator send --message FILE".to_owned(), elsewhere)
        } else {
            (
                format!("emulator send --message FILE --to {url}"),
                String::new(),
            )
        };
        assert_eq!(banner[2], format!("send a message: {shown}{elsewhere}"));
        let request = banner[3].strip_prefix("send a request: curl ").unwrap();
        assert!(request.ends_with(&format!(" {url}/hook/emulated-flow")));

        let send = shown.replace("FILE", "m.json");
        let sent = emulator(folder.path(), send.split(' ').skip(1));
        assert_eq!(sent.status, 0, "{}", sent.stderr);
        assert!(up.line().contains("m-1"));
    }
}

#[test]
fn completions_know_the_commands_and_options() {
    let folder = folder(&[]);
    for shell in ["bash", "zsh", "fish"] {
        let outcome = emulator(folder.path(), ["completions", shell]);
        assert_eq!(outcome.status, 0, "{}", outcome.stderr);
        for word in ["provider", "rebound-speed-up"] {
            assert!(
                outcome.stdout.contains(word),
                "{shell} does not know {word}"
            );
        }
    }
}

#[tokio::test]
async fn the_provider_command_prints_a_line_per_token() {
    http_double::choose_cryptography();
    let folder = folder(&[("knobs.json", json!({"rotate": true, "grace": 3600}))]);
    let arguments = [
        "provider",
        "--knobs",
        "knobs.json",
        "--issue",
        "tokens.json",
    ];
    let mut provider = Background::start(&mut command(folder.path(), arguments));
    let banner = provider.lines_to("Ctrl-C");
    let value = |what: &str| {
        let mut lines = banner.iter();
        let value = lines.find_map(|line| line.trim().strip_prefix(what));
        value.unwrap().trim().to_owned()
    };
    let (id, secret) = (value("client id"), value("client secret"));
    assert_eq!(
        (id.as_str(), secret.as_str()),
        ("emulator-client", "emulator-client-secret")
    );

    let record = std::fs::read(folder.path().join("tokens.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", record["refresh_token"].as_str().unwrap()),
        ("client_id", &id),
        ("client_secret", &secret),
    ];
    for _ in 0..2 {
        let request = reqwest::Client::new().post(value("token endpoint"));
        let response = request.form(&form).send().await.unwrap();
        response.error_for_status().unwrap();
    }
    let expected = [
        "○ token          issued at-2 and rt-1 (grant 0)",
        "○ token          spent rt-1",
        "○ token          issued at-4 and rt-3 (grant 0)",
        "· token call     refresh_token of rt-1 → 200",
        "○ token          spent rt-1 again, within the grace period",
        "○ token          issued at-6 and rt-5 (grant 0)",
        "· token call     refresh_token of rt-1 → 200",
    ];
    let lines = expected.map(|_| provider.line());
    let texts = lines.map(|line| line.split_once("ms  ").unwrap().1.to_owned());
    assert_eq!(texts, expected);
}

#[test]
fn up_takes_messages_of_send_and_says_how() {
    let folder = folder(&[
        (
            "m.json",
            json!({"id": "m-1", "body": {"url": "{{EMULATOR_URL}}"}}),
        ),
        ("wrong.json", json!({"url": "{{EMULATER_URL}}"})),
        (
            "component.json",
            json!({"triggers": {"hook": {"type": "webhook"}}}),
        ),
    ]);
    let mut up = Background::start(&mut command(folder.path(), ["up", "--json"]));
    // With --json, the banner goes to standard error: the file tells that the emulator runs.
    let address = folder.path().join(".emulator/address");
    while !address.exists() {
        std::thread::yield_now();
    }
    let send = ["send", "--message", "m.json", "--header", "threadId=t-1"];
    let sent = emulator(folder.path(), send);
    assert_eq!(sent.status, 0, "{}", sent.stderr);
    assert!(sent.stdout.contains("sent m-1"), "{}", sent.stdout);
    let event: Value = serde_json::from_str(&up.line()).unwrap();
    let url = std::fs::read_to_string(&address).unwrap();
    assert_eq!(event["event"], "sent");
    assert_eq!(event["body"]["body"]["url"], url.trim());
    assert_eq!(event["headers"]["threadId"], "t-1");
    assert!(event["headers"]["reply_to"].is_string(), "{event}");

    let wrong = emulator(folder.path(), ["send", "--message", "wrong.json"]);
    assert_eq!(wrong.status, 2);
    assert!(
        wrong.stderr.contains("{{EMULATER_URL}}"),
        "{}",
        wrong.stderr
    );

    assert!(up.interrupt().success());
    let alone = emulator(folder.path(), ["send"]);
    assert_eq!(alone.status, 2);
    assert!(alone.stderr.contains("emulator up"), "{}", alone.stderr);
    let gone = emulator(folder.path(), ["send", "--to", url.trim()]);
    assert_eq!(gone.status, 2);
    assert!(
        gone.stderr.contains("no emulator responds"),
        "{}",
        gone.stderr
    );
}

#[test]
fn a_demo_that_never_ran_does_not_call_the_token_bad() {
    let folder = folder(&[]);
    let outcome = emulator(folder.path(), ["demo", "--", "sh", "-c", "exit 3"]);
    assert_eq!(outcome.status, 1);
    let state = "the stored refresh token is valid for the next refresh";
    assert!(outcome.stdout.contains(state), "{}", outcome.stdout);
}

#[test]
fn the_demo_fails_if_the_component_does_not_refresh() {
    let folder = folder(&[]);
    let outcome = emulator(
        folder.path(),
        [vec!["demo".to_owned(), "--".into()], plain_component()].concat(),
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stdout
            .contains("0 refreshes, 0 updates of the keys"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_call_without_a_result_shows_the_log_and_fails() {
    let folder = folder(&[]);
    let arguments = [
        "service",
        "verifyCredentials",
        "--quiet",
        "--",
        "sh",
        "-c",
        "echo $0 $1; exit 4",
    ];
    let outcome = emulator(folder.path(), arguments);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("service verifyCredentials"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome
            .stderr
            .contains("ended with status 4 without posting a result"),
        "{}",
        outcome.stderr
    );
}
