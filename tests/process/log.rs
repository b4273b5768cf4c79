//! The log: the component does not wait for the log's reader.

use super::*;
use std::{
    io::{BufRead, PipeReader, PipeWriter, Read, Write, pipe},
    process::Stdio,
};
use test_rig::signal;
use tokio::process::Child;

/// Lines of 32 KB, so that a few hundred of them exceed what the pipe and the process can hold.
fn with_long_lines(rig: Rig) -> Rig {
    rig.variable("ELASTICIO_COMP_NAME", "x".repeat(32_000))
        .variable("ELASTICIO_ERROR_RATE_LIMIT", "1000")
}

fn send_failing(rig: &Rig, messages: usize) {
    (0..messages).for_each(|_| drop(rig.send(json!([["throw", "no"]]))));
}

/// Starts the component with its log in a pipe.
fn start(rig: &Rig) -> (Child, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    (
        rig.command()
            .stdout(writer)
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
        reader,
    )
}

async fn stopped(mut child: Child) -> Option<i32> {
    signal(&child, "TERM");
    let status = soon("the end of the process", child.wait()).await;
    status.unwrap().code()
}

/// A pipe that is full and stays full, as long as the reader lives.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (mut reader, writer) = pipe().unwrap();
    let mut filler = writer.try_clone().unwrap();
    std::thread::spawn(move || filler.write_all(&vec![b'\n'; 4 * 1024 * 1024]));
    // The first byte shows that the log is being written. Much more follows immediately.
    reader.read_exact(&mut [0]).unwrap();
    (reader, writer)
}

#[tokio::test]
async fn an_unread_log_blocks_neither_messages_nor_sigterm() {
    const MESSAGES: usize = 400;
    let rig = with_long_lines(scripted(10).await);
    let (child, _reader) = start(&rig);
    send_failing(&rig, MESSAGES);
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Rejected).len(), MESSAGES);
    assert_eq!(stopped(child).await, Some(0));
}

#[tokio::test]
async fn a_log_that_is_read_late_says_how_many_lines_are_missing() {
    const MESSAGES: usize = 400;
    let rig = with_long_lines(scripted(10).await);
    let (child, reader) = start(&rig);
    send_failing(&rig, MESSAGES);
    rig.settled().await;
    let lines = std::io::BufReader::new(reader).lines();
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let is_failure = |line: &Value| line["msg"] == "The module failed; its error event says why";
    let mut read = 0;
    let gap = loop {
        let line = lines.next().expect("the log has ended");
        read += usize::from(is_failure(&line));
        if line["dropped"].is_u64() {
            break line;
        }
    };
    assert_eq!(
        (&gap["level"], &gap["name"], &gap["tag"]),
        (&json!(40), &json!("sailor"), &json!("emulated-flow"))
    );
    let rest = std::thread::spawn(move || lines.collect::<Vec<_>>());
    assert_eq!(stopped(child).await, Some(0));
    let rest = rest.join().unwrap();
    read += rest.iter().filter(|line| is_failure(line)).count();
    let dropped = rest
        .iter()
        .chain([&gap])
        .filter_map(|line| line["dropped"].as_u64())
        .sum::<u64>();
    assert!(
        read < MESSAGES && read + dropped as usize >= MESSAGES,
        "{read} read, {dropped} dropped"
    );
    assert_eq!(rest.last().unwrap()["msg"], "What this process has done");
}

#[tokio::test]
async fn a_log_whose_reader_has_gone_blocks_nothing() {
    const MESSAGES: usize = 30;
    let rig = with_long_lines(scripted(10).await);
    let (child, reader) = start(&rig);
    drop(reader);
    send_failing(&rig, MESSAGES);
    rig.settled().await;
    assert_eq!(rig.so_far(EventKind::Rejected).len(), MESSAGES);
    assert_eq!(stopped(child).await, Some(0));
}

#[tokio::test]
async fn a_failed_start_exits_even_if_stderr_is_not_read() {
    let rig = scripted(1).await.variable("ELASTICIO_EXEC_ID", "");
    for service in [false, true] {
        let (_reader, writer) = full_pipe();
        let mut command = rig.command();
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        if service {
            command.args(["service", "verifyCredentials"]);
        }
        let mut child = command.spawn().unwrap();
        drop(command);
        let status = soon("the end of the process", child.wait()).await;
        assert_eq!(status.unwrap().code(), Some(1));
    }
}

#[tokio::test]
async fn a_long_id_is_truncated_in_log_lines() {
    let rig = scripted(1).await;
    let component = rig.start();
    rig.send_with(
        json!([["throw", "no"]]),
        json!({ "threadId": "ä".repeat(60_000), "messageId": "i".repeat(1_024) }),
    );
    rig.settled().await;
    let (_, log) = component.stop().await;
    let line = log
        .iter()
        .find(|line| line["threadId"].is_string())
        .unwrap();
    assert_eq!(line["threadId"], "ä".repeat(512) + "…");
    assert_eq!(line["messageId"], "i".repeat(1_024));
    assert_eq!(
        rig.so_far(EventKind::Error)[0].headers["threadId"],
        "ä".repeat(60_000)
    );
}
