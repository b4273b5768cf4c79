//! `component check --descriptor`: the check of any component.json.

use crate::ROOT;
use serde_json::{Value, json};
use std::{fs, path::PathBuf, process::Stdio};
use test_rig::{Ended, Process, command};

/// Of a component in Node, with one error and one warning.
const WITH_ERROR: &str = r#"{
  "title": "Mail",
  "version": "1.0.0",
  "actions": {
    "send": { "title": "Send", "main": "./lib/actions/send.js", "fields": { "to": {
      "label": "To",
      "viewClass": "SelectView"
    } } }
  },
  "env": { "KEY": { "required": true } }
}
"#;

const WITH_WARNING: &str =
    r#"{"title": "Mail", "actions": {"send": {"title": "Send", "main": "./lib/actions/send.js"}}}"#;

fn file(json: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("component.json");
    fs::write(&path, json).unwrap();
    (folder, path)
}

/// Runs a check without any environment variable, with the file as standard input too.
async fn check(path: &str, json: &str, options: &[&str]) -> Ended {
    let (folder, input) = file(json);
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command.args(["check", "--descriptor", path]).args(options);
    command.current_dir(folder.path());
    command.stdin(Stdio::from(fs::File::open(input).unwrap()));
    Process::run(command).await
}

#[tokio::test]
async fn each_issue_is_a_line_with_its_place_and_remedy() {
    let ended = check("component.json", WITH_ERROR, &[]).await;
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let error = "component.json:5:83: error[select-without-model] /actions/send/fields/to: ";
    assert!(
        lines[0].starts_with(error) && lines[0].contains("add `model`"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("component.json:10:3: warning[misspelt-member] /env: "),
        "{}",
        lines[1]
    );
    assert_eq!(lines[2], "component.json: 1 error, 1 warning");
}

#[tokio::test]
async fn warnings_alone_end_with_0() {
    let ended = check("component.json", WITH_WARNING, &[]).await;
    assert_eq!((ended.status, ended.stderr.as_str()), (0, ""));
    assert!(
        ended.stdout.contains("warning[missing-version]"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn issues_are_printed_as_json() {
    let ended = check("component.json", WITH_ERROR, &["--json"]).await;
    assert_eq!(ended.status, 1);
    let mut printed: Value = serde_json::from_str(&ended.stdout).unwrap();
    let issues = printed["issues"].take();
    assert_eq!(
        printed,
        json!({ "descriptor": "component.json", "errors": 1, "warnings": 1, "issues": null })
    );
    let issue = &issues[0];
    assert_eq!(
        *issue,
        json!({
            "rule": "select-without-model", "severity": "error", "line": 5, "column": 83,
            "pointer": "/actions/send/fields/to", "problem": issue["problem"], "remedy": issue["remedy"]
        })
    );
    assert!(issue["problem"].is_string() && issue["remedy"].is_string());
    assert_eq!(
        (&issues[1]["severity"], issues.as_array().unwrap().len()),
        (&json!("warning"), 2)
    );
}

#[tokio::test]
async fn a_dash_reads_standard_input() {
    let ended = check("-", WITH_ERROR, &[]).await;
    assert_eq!(ended.status, 1);
    assert!(
        ended
            .stdout
            .starts_with("-:5:83: error[select-without-model]"),
        "{}",
        ended.stdout
    );
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_with_2() {
    for path in ["no-such.json", "."] {
        let ended = check(path, WITH_ERROR, &["--json"]).await;
        assert_eq!((ended.status, ended.stdout.as_str()), (2, ""), "{path}");
        assert!(
            ended
                .stderr
                .starts_with(&format!("{path} cannot be read: ")),
            "{}",
            ended.stderr
        );
    }
}

#[tokio::test]
async fn the_own_descriptor_is_reported_as_json_too() {
    let mut command = command(env!("CARGO_BIN_EXE_component"));
    command.args(["check", "--json"]).current_dir(ROOT);
    let ended = Process::run(command).await;
    assert_eq!(ended.status, 0, "{}", ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        (&found["errors"], &found["warnings"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&found["modules"], &found["metadata"]),
        (&json!([]), &json!([]))
    );
    let missing = ["AUTH_URI", "CLIENT_ID", "CLIENT_SECRET", "TOKEN_URI"];
    let missing = missing.map(|name| format!("OAUTH_{name}"));
    assert_eq!(found["missing_variables"], json!(missing));
}
