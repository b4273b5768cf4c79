//! What the component prints, on the time line.

use crate::{command, emulator, folder};
use std::process::Stdio;

fn run_script(script: &str, options: &[&str]) -> String {
    let folder = folder(&[]);
    let words = ["run", "--function", "f"].iter().chain(options);
    let outcome = emulator(folder.path(), words.chain(&["--", "sh", "-c", script]));
    assert_eq!(outcome.status, 1);
    outcome.stdout
}

#[test]
fn the_fields_of_a_log_line_are_shown() {
    let line = r#"{"name":"sailor","pid":1,"level":50,"code":"panicked","place":"src/main.rs:1:2","msg":"A panic occurred"}"#;
    let stdout = run_script(&format!("echo '{line}'"), &[]);
    let shown = "│ error A panic occurred [panicked] place=src/main.rs:1:2\n";
    assert!(stdout.contains(shown), "{stdout}");
}

#[test]
fn nothing_of_an_early_end_is_told_twice() {
    // The error is printed once more when the log has been read.
    let folder = folder(&[]);
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "log",
        "{\"level\":60,\"msg\":\"cannot start:\\n  A is missing\"}\n",
    );
    write("error", "cannot start:\n  A is missing\n");
    let words = ["run", "--function", "f", "--", "cat", "log", "error"];
    let stdout = emulator(folder.path(), words).stdout;
    assert_eq!(stdout.matches("cannot start:").count(), 1, "{stdout}");
    assert_eq!(stdout.matches("│   A is missing").count(), 1, "{stdout}");
    // Without the component's output, its last lines are all that there is.
    let stdout = run_script("echo last", &["--quiet"]);
    assert_eq!(stdout.matches("│ last").count(), 1, "{stdout}");
}

#[test]
fn the_time_line_has_colours_in_a_terminal_only() {
    let folder = folder(&[]);
    let ends_at_once = || {
        let words = ["run", "--function", "f", "--", "sh", "-c", "exit 3"];
        let mut command = command(folder.path(), words);
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        command
    };
    let piped = test_support::run(&mut ends_at_once()).stdout;
    assert!(piped.contains("■ emulator"), "{piped}");
    assert!(!piped.contains('\u{1b}'), "{piped:?}");

    let (screen, output) = test_support::terminal();
    let spawned = ends_at_once().stdout(output).stderr(Stdio::null()).spawn();
    let shown = test_support::shown(screen);
    assert_eq!(spawned.unwrap().wait().unwrap().code(), Some(1));
    let coloured = "\u{1b}[1m■ emulator";
    assert!(shown.contains(coloured), "{shown:?}");
}
