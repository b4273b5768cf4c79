//! What the command knows from component.json, and the component's variables.

use crate::{command, emulator, folder, plain_component, run};
use serde_json::{Value, json};
use std::fs;

fn descriptor() -> Value {
    json!({
        "triggers": { "poll": { "type": "polling" }, "hook": { "type": "webhook" } },
        "actions": { "act": {} },
    })
}

#[test]
fn an_unknown_function_lists_the_known_ones() {
    let folder = folder(&[
        ("component.json", descriptor()),
        ("other.json", json!({"actions": {"f": {}}})),
    ]);
    for arguments in [
        &["run", "--function", "f"][..],
        &["run"],
        &["up", "--function", "f"],
    ] {
        let outcome = emulator(folder.path(), arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}");
        let listed = "There are: hook, poll, act";
        assert!(outcome.stderr.contains(listed), "{}", outcome.stderr);
    }
    let outcome = run(folder.path(), &["--descriptor", "other.json"]);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
}

#[test]
fn the_only_function_of_a_component_needs_no_name() {
    let folder = folder(&[("component.json", json!({"actions": {"only": {}}}))]);
    let words = [vec!["run".to_owned(), "--".to_owned()], plain_component()].concat();
    let outcome = emulator(folder.path(), words);
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    let script = ["run", "--", "sh", "-c", "echo function=$ELASTICIO_FUNCTION"];
    let outcome = emulator(folder.path(), script);
    assert!(
        outcome.stdout.contains("│ function=only\n"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn a_webhook_trigger_gets_a_key_to_reply_to() {
    let folder = folder(&[
        ("component.json", descriptor()),
        ("m.json", json!({"op": "reply"})),
    ]);
    let replies = |function: &str, more: &[&str]| {
        let words = [
            "run",
            "--function",
            function,
            "--message",
            "m.json",
            "--json",
        ];
        let words = words.iter().chain(more).map(|&word| word.to_owned());
        let words = words.chain(["--".to_owned()]).chain(plain_component());
        let outcome = emulator(folder.path(), words.collect::<Vec<_>>());
        let replies = outcome.events("http-reply");
        replies
            .iter()
            .map(|reply| reply["routing_key"].clone())
            .collect::<Vec<_>>()
    };
    let key = "emulated-workspace.emulated-flow/ordinary.step_1.reply";
    assert_eq!(replies("hook", &[]), [key]);
    assert_eq!(
        replies("hook", &["--header", "reply_to=my.key"]),
        ["my.key"]
    );
    for function in ["poll", "act"] {
        assert_eq!(replies(function, &[]), [""; 0]);
    }
}

#[test]
fn missing_variables_end_the_command_before_the_build() {
    let required = json!({
        "actions": { "f": {} },
        "envVars": { "TEST_A": { "required": true, "description": "The key" }, "TEST_B": { "required": true } },
    });
    let folder = folder(&[("component.json", required)]);
    // There is no package here: a build would fail with another error.
    let outcome = emulator(folder.path(), ["run"]);
    assert_eq!(outcome.status, 2);
    let listed = "  TEST_A: The key\n  TEST_B\n";
    assert!(outcome.stderr.contains(listed), "{}", outcome.stderr);

    fs::write(
        folder.path().join(".env"),
        "TEST_A=from-file\nTEST_B=from-file\nTEST_C=c\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("more.env"),
        "TEST_C={{EMULATOR_URL}}/c\n",
    )
    .unwrap();
    let script = "echo a=$TEST_A b=$TEST_B c=$TEST_C.";
    let words = [
        "run",
        "--env-file",
        "more.env",
        "--env",
        "TEST_B=option",
        "--",
        "sh",
        "-c",
        script,
    ];
    let outcome = test_support::run(command(folder.path(), words).env("TEST_A", "from-shell"));
    let shown = "a=from-shell b=option c=http://127.0.0.1:";
    assert!(outcome.stdout.contains(shown), "{}", outcome.stdout);
    let note = ".env sets TEST_B, TEST_C\n";
    assert!(outcome.stdout.contains(note), "{}", outcome.stdout);
}

#[test]
fn a_mistyped_placeholder_starts_nothing() {
    let folder = folder(&[
        ("m.json", json!({"url": "{{EMULATOR_URI}}"})),
        ("config.json", json!({"oauth": "{{PROVIDER_TOKEN}}"})),
    ]);
    let table = [
        (["--message", "m.json"], "a message has {{EMULATOR_URI}}"),
        (
            ["--config", "config.json"],
            "the configuration file has {{PROVIDER_TOKEN}}",
        ),
        (
            ["--snapshot", "m.json"],
            "the snapshot file has {{EMULATOR_URI}}",
        ),
        (
            ["--env", "X={{STANDIN_URL}}"],
            "the variable X has {{STANDIN_URL}}",
        ),
    ];
    for (arguments, why) in table {
        let outcome = run(folder.path(), &arguments);
        assert_eq!(outcome.status, 2, "{arguments:?}");
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
        assert!(!outcome.stdout.contains("starts "), "{}", outcome.stdout);
    }
    let outcome = run(
        folder.path(),
        &["--message", "m.json", "--no-placeholders", "--json"],
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        outcome.events("data")[0]["body"]["body"]["url"],
        "{{EMULATOR_URI}}"
    );
}
