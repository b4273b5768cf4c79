//! Processes of tests.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Lines},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

/// How a process ended, and what it printed.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status.
    pub status: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// The JSON lines of standard output whose member `event` is this name.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| serde_json::from_str::<Value>(line).expect(line))
            .filter(|event| event["event"] == name)
            .collect()
    }
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, ends by a signal, or prints something that is not UTF-8.
pub fn run(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        status: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A process in the background. It is killed when this is dropped.
pub struct Background {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Background {
    /// Starts a command and reads its standard output.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for the next line.
    ///
    /// # Panics
    /// When the output has ended.
    pub fn line(&mut self) -> String {
        self.lines.next().expect("the output has ended").unwrap()
    }

    /// Waits for the next line that contains this text, and returns all lines up to it.
    ///
    /// # Panics
    /// When the output ends before.
    pub fn lines_to(&mut self, text: &str) -> Vec<String> {
        let mut lines = vec![self.line()];
        while !lines[lines.len() - 1].contains(text) {
            lines.push(self.line());
        }
        lines
    }

    /// Sends SIGINT and waits for the end.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn interrupt(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(kill.success(), "the process has ended already");
        self.child.wait().unwrap()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It fails when the process has ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
