//! The time line: one line for every event, for people or for machines.

use crate::{
    event::{Event, EventKind},
    log_line::LogLine,
    platform::ServiceResult,
};
use sailor::settings::{self, LogSettings};
use serde_json::{Map, Value, json};
use std::{
    collections::HashSet,
    io::{IsTerminal, Write},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Longer bodies are truncated in the time line for people.
const SHOWN: usize = 400;
/// How many lines of an error's stack are shown.
const STACK_LINES: usize = 6;

const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const BOLD: &str = "1";

/// Prints what happens.
pub(crate) struct Timeline {
    start: Instant,
    json: bool,
    quiet: bool,
    colours: bool,
    told: Mutex<Told>,
}

/// Errors that have been told.
#[derive(Default)]
struct Told {
    /// The texts of error events: one that ends the process is in its log too.
    events: HashSet<String>,
    /// The lines of errors that have ended a process: sailors print them once more, after their log.
    fatal: HashSet<String>,
}

impl Timeline {
    /// `json`: one object per line on standard output, and nothing else. `quiet`: without the component's output.
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            start: Instant::now(),
            json,
            quiet,
            colours: !json
                && std::io::stdout().is_terminal()
                && allows_colours(settings::environment),
            told: Mutex::default(),
        }
    }

    /// A note from the emulator itself.
    pub(crate) fn note(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            self.entry(self.start.elapsed(), "■", BOLD, "emulator", text);
        }
    }

    /// Text without a time, such as the banner.
    pub(crate) fn plain(&self, text: &str) {
        if self.json {
            eprintln!("{text}");
        } else {
            say(text);
        }
    }

    /// A line that the component printed.
    pub(crate) fn component(&self, line: &str) {
        if self.quiet {
        } else if self.json {
            eprintln!("{line}");
        } else if let Some(shown) = self.shown(line) {
            say(&self.paint(DIM, &indented(&shown)));
        }
    }

    /// The last lines of the component's output, to explain its end, if they have not been shown.
    pub(crate) fn last_lines<'a>(&self, lines: impl Iterator<Item = &'a str>) {
        let mut lines = lines.filter(|_| self.quiet).peekable();
        if lines.peek().is_some() {
            self.note("the last lines of the component:");
        }
        for shown in lines.filter_map(|line| self.shown(line)) {
            self.plain(&indented(&shown));
        }
    }

    /// Lines that explain the end of the component.
    pub(crate) fn details<'a>(&self, what: &str, lines: impl Iterator<Item = &'a str>) {
        let mut lines = lines.peekable();
        if lines.peek().is_some() {
            self.note(what);
        }
        lines.for_each(|line| self.plain(&indented(line)));
    }

    /// A line of the component as it is shown; nothing for one that repeats the error that has ended the process.
    fn shown(&self, line: &str) -> Option<String> {
        let LogLine { shown, fatal } = LogLine::read(line);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fatal) = fatal else {
            return (!told.fatal.contains(line.trim())).then_some(shown);
        };
        let lines = fatal.text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty());
        told.fatal.extend(lines.map(str::to_owned));
        Some(if told.events.contains(&fatal.text) {
            fatal.short
        } else {
            shown
        })
    }

    /// The final result, for machines. People read the note.
    pub(crate) fn result(&self, result: &Value) {
        if self.json {
            say(&result.to_string());
        }
    }

    /// The result of a one-time call.
    pub(crate) fn call_result(&self, result: &ServiceResult) {
        let status = if result.success { "success" } else { "error" };
        let result = json!({"status": status, "data": result.data});
        say(&if self.json {
            result.to_string()
        } else {
            format!("{result:#}")
        });
    }

    /// An event.
    pub(crate) fn event(&self, event: &Event) {
        if self.json {
            say(&for_machines(event).to_string());
            return;
        }
        let (symbol, colour, kind) = style(event.kind);
        self.entry(event.at, symbol, colour, kind, &what(event));
        if let Some(problem) = &event.problem {
            say(&self.paint(RED, &format!("              ! {problem}")));
        }
        if let Some(why) = &event.end_of_flow {
            self.remark(&format!("end of the flow: {why}"));
        }
        if event.kind == EventKind::Error {
            self.stack(&event.body["error"]);
        }
    }

    /// The stack of an error event, which begins with the message.
    fn stack(&self, error: &Value) {
        let text = |name: &str| error[name].as_str().unwrap_or_default();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.events.insert(text("message").to_owned());
        let message_lines = text("message").lines().count().max(1);
        for line in text("stack").lines().skip(message_lines).take(STACK_LINES) {
            say(&self.paint(DIM, &indented(line)));
        }
    }

    /// The meaning of an event, below it.
    pub(crate) fn remark(&self, text: &str) {
        if !self.json {
            say(&self.paint(DIM, &format!("                 {text}")));
        }
    }

    fn entry(&self, at: Duration, symbol: &str, colour: &str, kind: &str, what: &str) {
        let at = format!("{:>7} ms", at.as_millis());
        say(&format!(
            "{}  {} {what}",
            self.paint(DIM, &at),
            self.paint(colour, &format!("{symbol} {kind:<14}")),
            what = what.replace('\n', "\n                 ")
        ));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Whether the variables allow colours in a terminal, as for the lines of a component.
fn allows_colours(get: impl Fn(&str) -> Option<String>) -> bool {
    LogSettings::read(get).colours
}

/// Writes a line. If the reader is gone, the command continues: its exit status still counts.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// The lines of the component, beside those of the time line.
fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("              │ {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

fn style(kind: EventKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        EventKind::Connected => ("⇄", DIM, "connected"),
        EventKind::Disconnected => ("⇄", DIM, "disconnected"),
        EventKind::Sent => ("→", BOLD, "message"),
        EventKind::Delivered => ("→", DIM, "delivered"),
        EventKind::Data => ("←", CYAN, "data"),
        EventKind::Error => ("✗", RED, "error"),
        EventKind::ErrorReply => ("✗", RED, "error reply"),
        EventKind::Rebound => ("↺", YELLOW, "rebound"),
        EventKind::CameBack => ("↻", YELLOW, "came back"),
        EventKind::Snapshot => ("◆", CYAN, "snapshot"),
        EventKind::SnapshotUpdate => ("◆", CYAN, "snapshot part"),
        EventKind::HttpReply => ("⇐", CYAN, "http reply"),
        EventKind::UpdateKeys => ("*", CYAN, "update keys"),
        EventKind::Acked => ("✓", GREEN, "acknowledged"),
        EventKind::Rejected => ("✗", RED, "rejected"),
        EventKind::Requeued => ("↺", YELLOW, "requeued"),
        EventKind::DeadLettered => ("✗", DIM, "dead letter"),
        EventKind::Returned => ("!", RED, "returned"),
        EventKind::Refused => ("!", YELLOW, "refused"),
        EventKind::Call => ("·", DIM, "call"),
        EventKind::TokenCall => ("·", YELLOW, "token call"),
        EventKind::Token => ("○", YELLOW, "token"),
        EventKind::ApiCall => ("·", CYAN, "API call"),
        EventKind::Lost => ("!", RED, "events lost"),
    }
}

fn what(event: &Event) -> String {
    let body = &event.body;
    match event.kind {
        EventKind::Connected | EventKind::Disconnected => event.routing_key.clone(),
        EventKind::Sent => format!("{} {}", event.message_id(), message(body)),
        EventKind::Data => message(body),
        EventKind::Error => error(&body["error"]),
        EventKind::ErrorReply => error(body),
        EventKind::Rebound => {
            let header = |name: &str| {
                event
                    .headers
                    .get(name)
                    .map(Value::to_string)
                    .unwrap_or_default()
            };
            format!(
                "{} number {}: {}",
                event.message_id(),
                header("reboundIteration"),
                header("reboundReason")
            )
        }
        EventKind::UpdateKeys => {
            let account = body["accountId"].as_str().unwrap_or_default();
            format!("account {account}: {}", redacted(&body["keys"]))
        }
        EventKind::Snapshot | EventKind::SnapshotUpdate | EventKind::HttpReply => {
            truncated(&body.to_string())
        }
        EventKind::Call => {
            let text = |name: &str| body[name].as_str().unwrap_or_default();
            let status = body["status"]
                .as_u64()
                .map_or("no response".into(), |status| status.to_string());
            format!("{} {} → {status}", text("method"), text("path"))
        }
        EventKind::TokenCall | EventKind::Token | EventKind::ApiCall => {
            body["text"].as_str().unwrap_or_default().to_owned()
        }
        EventKind::Lost => format!("{body} events; the summary may be wrong"),
        _ => event.message_id().to_owned(),
    }
}

/// A message's body, and the names in its other members.
fn message(message: &Value) -> String {
    let mut text = truncated(&message["body"].to_string());
    for (name, member) in message.as_object().into_iter().flatten() {
        match member {
            Value::Object(members) if name != "body" && !members.is_empty() => {
                let names: Vec<&str> = members.keys().map(String::as_str).collect();
                text += &format!("  {name}({})", names.join(", "));
            }
            _ => {}
        }
    }
    text
}

fn error(error: &Value) -> String {
    let text = |name: &str| error[name].as_str().unwrap_or_default();
    format!("{}: {}", text("name"), text("message"))
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}… ({} characters)", &text[..at], text.chars().count()),
        None => text.to_owned(),
    }
}

/// The shape of a value without its contents, which may be secret.
fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, member)| (name.clone(), redacted(member)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(values) => values.iter().map(redacted).collect(),
        Value::Null => Value::Null,
        _ => "…".into(),
    }
}

fn for_machines(event: &Event) -> Value {
    let mut line = json!(event);
    if event.kind == EventKind::UpdateKeys {
        line["body"]["keys"] = redacted(&line["body"]["keys"]);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_ends_the_process_is_told_once() {
        let timeline = Timeline::new(false, false);
        let shown = |line: &str| timeline.shown(line);
        let fatal = r#"{"level":60,"code":"start-failed","msg":"cannot start:\n  A is missing"}"#;
        assert_eq!(shown("cannot start:").unwrap(), "cannot start:");
        let text = "fatal cannot start:\n  A is missing [start-failed]";
        assert_eq!(shown(fatal).unwrap(), text);
        assert_eq!(shown("cannot start:"), None);
        assert_eq!(shown("  A is missing"), None);
        assert_eq!(shown("another line").unwrap(), "another line");
        // An error event has told it before.
        timeline.stack(&json!({ "message": "cannot start:\n  A is missing" }));
        let short = "fatal the process ends with this error [start-failed]";
        assert_eq!(shown(fatal).unwrap(), short);
    }

    #[test]
    fn no_color_and_dumb_terminals_turn_colours_off() {
        for (no_color, term, expected) in [
            (None, Some("xterm"), true),
            (Some(""), Some("xterm"), true),
            (Some("1"), Some("xterm"), false),
            (None, Some("dumb"), false),
            (None, None, false),
        ] {
            let get = |name: &str| match name {
                "NO_COLOR" => no_color.map(str::to_owned),
                "TERM" => term.map(str::to_owned),
                _ => None,
            };
            assert_eq!(allows_colours(get), expected, "{no_color:?} {term:?}");
        }
    }

    #[test]
    fn only_the_names_of_keys_are_shown() {
        let keys = json!({"oauth": {"access_token": "secret", "scopes": ["s"], "expires_in": 3600, "x": null}});
        let expected =
            json!({"oauth": {"access_token": "…", "scopes": ["…"], "expires_in": "…", "x": null}});
        assert_eq!(redacted(&keys), expected);
    }

    #[test]
    fn a_long_text_is_truncated_at_a_character_with_its_length() {
        let long = "ä".repeat(SHOWN + 1);
        assert_eq!(
            truncated(&long),
            format!("{}… (401 characters)", "ä".repeat(SHOWN))
        );
        assert_eq!(truncated(&long[2..]), long[2..]);
    }
}
