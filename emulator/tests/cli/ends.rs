//! How `emulator run` and its component end.

use crate::{emulator, folder, run};
use serde_json::json;

#[test]
fn a_crashed_component_shows_its_last_lines() {
    let folder = folder(&[("m.json", json!({"op": "crash"}))]);
    let outcome = run(
        folder.path(),
        &[
            "--message",
            "m.json",
            "--quiet",
            "--env",
            "RUST_BACKTRACE=0",
        ],
    );
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("ended with status 101"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("crashed as told"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn an_unsettled_message_times_out_with_status_1() {
    let folder = folder(&[("m.json", json!({"op": "hang"}))]);
    let outcome = run(folder.path(), &["--message", "m.json", "--timeout", "1"]);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome
            .stdout
            .contains("did not settle all messages within 1 s"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome.stdout.contains("1 not settled"),
        "{}",
        outcome.stdout
    );
}

#[test]
fn ending_a_command_ends_its_child_processes() {
    let folder = folder(&[]);
    let script = "sleep 1000 & echo child=$!; wait";
    let arguments = [
        "run",
        "--function",
        "f",
        "--start-timeout",
        "1",
        "--",
        "sh",
        "-c",
        script,
    ];
    let outcome = emulator(folder.path(), arguments);
    assert_eq!(outcome.status, 1);
    assert!(
        outcome.stdout.contains("took no message within 1 s"),
        "{}",
        outcome.stdout
    );
    let (_, child) = outcome.stdout.split_once("│ child=").unwrap();
    let stat = format!("/proc/{}/stat", child.lines().next().unwrap());
    // A killed process may take a moment to end. If a child keeps running, the test's time limit fails it.
    while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        std::thread::yield_now();
    }
}

#[test]
fn replicas_share_messages_and_are_all_ended() {
    let folder = folder(&[("m.json", json!({"op": "echo"}))]);
    let messages = ["--message", "m.json"].repeat(4);
    let outcome = run(
        folder.path(),
        &[
            &["--replicas", "2", "--prefetch", "2", "--json"],
            &messages[..],
        ]
        .concat(),
    );
    assert_eq!(outcome.status, 0, "{}", outcome.stderr);
    assert_eq!(
        (
            outcome.events("connected").len(),
            outcome.events("acked").len()
        ),
        (2, 4)
    );
    assert_eq!(
        outcome.stderr.matches("the component ended with").count(),
        2,
        "{}",
        outcome.stderr
    );
}
