//! The command line, and the files that it names.

use crate::{command, emulator, folder, run};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

#[test]
fn an_invalid_file_is_named_and_exits_with_2() {
    let folder = folder(&[("list.json", json!([1]))]);
    std::fs::write(folder.path().join("broken.json"), "{\n  \"a\": x}").unwrap();
    for (arguments, reason) in [
        (
            ["--message", "none.json"],
            "the message file none.json cannot be read",
        ),
        (
            ["--message", "broken.json"],
            "the message file broken.json is not JSON: line 2, column 8",
        ),
        (
            ["--message", "list.json"],
            "the message file list.json must hold a JSON object, but it holds a list",
        ),
        (
            ["--config", "broken.json"],
            "the configuration file broken.json is not JSON: line 2",
        ),
        (
            ["--snapshot", "none.json"],
            "the snapshot file none.json cannot be read",
        ),
    ] {
        let outcome = run(folder.path(), &arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}");
        assert!(outcome.stderr.contains(reason), "{}", outcome.stderr);
    }
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    let folder = folder(&[]);
    for arguments in [
        &["run"][..],
        &[],
        &["nonsense"],
        &["run", "--function", "f", "--prefetch", "x"],
    ] {
        assert_eq!(
            emulator(folder.path(), arguments).status,
            2,
            "{arguments:?}"
        );
    }
}

#[test]
fn an_unknown_command_is_named_in_the_error() {
    let folder = folder(&[]);
    let outcome = emulator(
        folder.path(),
        ["run", "--function", "f", "--", "no-such-program"],
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stderr
            .contains("\"no-such-program\" cannot be started"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn the_url_placeholder_is_replaced_in_files_and_environment() {
    let folder = folder(&[("m.json", json!({"deep": ["{{EMULATOR_URL}}/sample"]}))]);
    // It runs until the test has seen the message.
    let script = "echo url=$EMULATOR_URL more=$MORE elasticio=$ELASTICIO_LEFTOVER.; until [ -e seen ]; do sleep 0.02; done; exit 1";
    let mut command = Command::new(env!("CARGO_BIN_EXE_emulator"));
    command
        .current_dir(&folder)
        .env("ELASTICIO_LEFTOVER", "from the shell");
    command.args([
        "run",
        "--function",
        "f",
        "--message",
        "m.json",
        "--env",
        "MORE=b",
        "--",
        "sh",
        "-c",
        script,
    ]);
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = String::new();
    for line in BufReader::new(running.stdout.take().unwrap()).lines() {
        output += &(line.unwrap() + "\n");
        if output.contains("/sample") && output.contains("│ url=") {
            fs::write(folder.path().join("seen"), "").unwrap();
        }
    }
    running.wait().unwrap();
    let url = output
        .split_once("│ url=")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap();
    assert!(url.starts_with("http://127.0.0.1:"), "{output}");
    assert!(
        output.contains(&format!("{{\"deep\":[\"{url}/sample\"]}}")),
        "{output}"
    );
    assert!(output.contains("more=b elasticio=."), "{output}");
}

/// The platform's variables of the shell do not reach the component, so they do not count more than `.env` either.
#[test]
fn a_variable_in_the_file_counts_if_that_of_the_shell_does_not() {
    let folder = folder(&[]);
    let lines = "ELASTICIO_EXTRA=file\nEXTRA=file\nBOTH=$ELASTICIO_EXTRA-$EXTRA\n";
    fs::write(folder.path().join(".env"), lines).unwrap();
    let script = "echo found=$ELASTICIO_EXTRA,$EXTRA,$BOTH.";
    let arguments = [
        "service",
        "verifyCredentials",
        "--",
        "sh",
        "-c",
        script,
        "{METHOD}",
    ];
    let mut command = command(folder.path(), arguments);
    command
        .env("ELASTICIO_EXTRA", "shell")
        .env("EXTRA", "shell");
    let outcome = test_support::run(&mut command);
    assert!(
        outcome.stdout.contains("found=file,shell,file-shell."),
        "{}{}",
        outcome.stdout,
        outcome.stderr
    );
}

#[test]
fn provider_placeholders_are_replaced() {
    let config = json!({"url": "{{PROVIDER_URL}}/api", "oauth": "{{PROVIDER_EXPIRED_TOKENS}}", "other": "{{OTHER}}"});
    let folder = folder(&[("config.json", config)]);
    let script = "echo cfg=$ELASTICIO_CFG; echo client=$OAUTH_CLIENT_ID,$OAUTH_CLIENT_SECRET; echo at=$PROVIDER_URL";
    let run = [
        "service",
        "verifyCredentials",
        "--config",
        "config.json",
        "--provider",
        "salesforce",
    ];
    let outcome = emulator(
        folder.path(),
        run.iter().chain(&["--", "sh", "-c", script, "{METHOD}"]),
    );
    let line = |name: &str| {
        outcome
            .stdout
            .split_once(name)
            .unwrap()
            .1
            .lines()
            .next()
            .unwrap()
    };
    let config: Value = serde_json::from_str(line("│ cfg=")).unwrap();
    let url = line("│ at=");
    assert_eq!(config["url"], format!("{url}/api"));
    assert_eq!(config["oauth"]["instance_url"], format!("{url}/api"));
    assert!(config["oauth"]["refresh_token"].is_string());
    assert_eq!(config["other"], "{{OTHER}}");
    assert_eq!(line("│ client="), "emulator-client,emulator-client-secret");
}

#[test]
fn a_named_stand_in_sets_addresses_and_provider() {
    for (name, own) in [
        ("graph", "GRAPH_BASE_URL"),
        ("salesforce", "SALESFORCE_TOKEN_URI"),
    ] {
        let folder = folder(&[("m.json", json!({"op": "echo", "url": "{{STANDIN_URL}}/x"}))]);
        let outcome = run(
            folder.path(),
            &[
                "--standin",
                name,
                "--message",
                "m.json",
                "--env",
                "X={{STANDIN_URL}}",
            ],
        );
        assert_eq!(outcome.status, 0, "{}", outcome.stdout);
        assert!(
            outcome.stdout.contains("\"url\":\"http://127.0.0.1:"),
            "{}",
            outcome.stdout
        );
        let script = format!("echo api=$STANDIN_URL x=$X own=${own} >&2; exit 1");
        let words = [
            "run",
            "--function",
            "f",
            "--standin",
            name,
            "--env",
            "X={{STANDIN_URL}}",
            "--",
            "sh",
            "-c",
            &script,
        ];
        let outcome = emulator(folder.path(), words);
        let port = outcome
            .stdout
            .split_whitespace()
            .find_map(|word| word.strip_prefix("api=http://127.0.0.1:"));
        let port = port.unwrap_or_else(|| panic!("{}", outcome.stdout));
        assert!(
            outcome
                .stdout
                .contains(&format!("x=http://127.0.0.1:{port}")),
            "{}",
            outcome.stdout
        );
        assert!(
            outcome.stdout.contains("own=http://127.0.0.1:"),
            "{}",
            outcome.stdout
        );
    }
}

#[test]
fn invalid_knobs_and_trouble_exit_with_2() {
    let folder = folder(&[
        ("knobs.json", json!({"rotat": true})),
        ("trouble.json", json!({"random": {"sead": 1}})),
    ]);
    for (arguments, why) in [
        (["--knobs", "knobs.json"], "unknown field `rotat`"),
        (
            ["--trouble", "trouble.json"],
            "the trouble file trouble.json cannot be used: unknown field `sead`",
        ),
        (
            ["--provider", "nobody"],
            "must be one of atlassian, dropbox",
        ),
    ] {
        let outcome = run(folder.path(), &arguments);
        assert_eq!(outcome.status, 2);
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    }
}
