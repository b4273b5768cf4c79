//! The log in a terminal: lines that somebody can read, and nothing that controls the terminal.

use super::*;
use std::{fs::File, io::Read, process::Stdio, thread};
use test_rig::signal;
use test_support::{shown, terminal};
use tokio::process::Child;

/// Starts the component in a new terminal. Returns the side where its output is shown.
fn start_in_terminal(rig: &Rig) -> (Child, File) {
    let (screen, output) = terminal();
    let mut command = rig.command();
    command.stdout(output).stderr(Stdio::null());
    (command.spawn().unwrap(), screen)
}

async fn stopped(mut child: Child) -> Option<i32> {
    signal(&child, "TERM");
    soon("the end of the process", child.wait())
        .await
        .unwrap()
        .code()
}

/// What a terminal shows of a step that has processed a message with an escape sequence in an id.
async fn shown_of_an_attack(rig: &Rig) -> String {
    let (child, screen) = start_in_terminal(rig);
    let reader = thread::spawn(move || shown(screen));
    rig.send_with(
        json!([["throw", "no"]]),
        json!({ "threadId": "\u{1b}[2Jt1\r\n\u{9b}31m" }),
    );
    rig.settled().await;
    assert_eq!(stopped(child).await, Some(0));
    reader.join().unwrap()
}

/// The text without the sequences that begin and end a colour.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let (codes, rest) = part.split_once('m').unwrap();
        assert!(
            codes.bytes().all(|b| b.is_ascii_digit() || b == b';'),
            "{part:?}"
        );
        plain += rest;
    }
    plain
}

fn assert_pretty(text: &str) {
    // The terminal itself puts a carriage return before each line feed.
    let lines: Vec<_> = text.split("\r\n").collect();
    for line in &lines {
        assert!(!line.contains(char::is_control), "{line:?}");
    }
    let failure = lines.iter().find(|line| line.contains("The module failed"));
    let failure = failure.unwrap_or_else(|| panic!("{text}"));
    for part in [
        "ERROR sailor::engine::run: The module failed; its error event says why code=module-failed",
        r#"threadId="\u001b[2Jt1\r\n\u{9b}31m""#,
        " messageId=",
    ] {
        assert!(failure.contains(part), "{part} is not in {failure}");
    }
}

#[tokio::test]
async fn in_a_terminal_lines_are_pretty_and_in_colour() {
    let rig = scripted(1).await.variable("TERM", "xterm-256color");
    let text = shown_of_an_attack(&rig).await;
    let plain = without_colours(&text);
    assert!(plain.len() < text.len(), "no colours: {text}");
    assert_pretty(&plain);
}

#[tokio::test]
async fn no_color_leaves_lines_pretty_without_colours() {
    let rig = scripted(1).await.variable("TERM", "xterm-256color");
    assert_pretty(&shown_of_an_attack(&rig.variable("NO_COLOR", "1")).await);
}

#[tokio::test]
async fn a_terminal_can_be_given_bunyan_lines() {
    let rig = scripted(1).await.variable("TERM", "xterm");
    let rig = rig.variable("ELASTICIO_LOG_FORMAT", "bunyan");
    let text = shown_of_an_attack(&rig).await;
    for line in text.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|_| panic!("{line}"));
    }
    assert!(text.contains(r#""code":"module-failed""#), "{text}");
}

#[tokio::test]
async fn a_stopped_terminal_blocks_neither_messages_nor_sigterm() {
    const MESSAGES: usize = 100;
    let rig = scripted(10).await.variable("TERM", "xterm");
    let rig = rig.variable("ELASTICIO_ERROR_RATE_LIMIT", "1000");
    let (child, mut screen) = start_in_terminal(&rig);
    // The first byte shows that the log is being written. Much more follows than the terminal takes.
    (0..MESSAGES).for_each(|_| drop(rig.send(json!([["throw", "no"]]))));
    screen.read_exact(&mut [0]).unwrap();
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Rejected).len(), MESSAGES);
    assert_eq!(stopped(child).await, Some(0));
}
