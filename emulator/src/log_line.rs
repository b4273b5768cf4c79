//! Log lines of a component, for people: a bunyan line becomes level, message, cause, code and fields.

use serde_json::{Map, Value};
use std::borrow::Cow;

/// Members of every line, and those that are shown in another form.
const LEFT_OUT: [&str; 12] = [
    "name",
    "hostname",
    "pid",
    "tag",
    "level",
    "msg",
    "time",
    "v",
    "code",
    "err",
    "reported_message",
    "fatal",
];

/// Ids of the emulated message that no other line of the time line shows.
const IDS: [&str; 2] = ["parentMessageId", "threadId"];

/// A line that a component has printed.
pub(crate) struct LogLine {
    /// As it is shown.
    pub(crate) shown: String,
    /// The error that ends the process. Some sailors print it once more.
    pub(crate) fatal: Option<Fatal>,
}

/// An error that ends the process.
pub(crate) struct Fatal {
    pub(crate) text: String,
    /// The line for people who have read the text before.
    pub(crate) short: String,
}

impl LogLine {
    pub(crate) fn read(line: &str) -> Self {
        let record = match serde_json::from_str(line) {
            Ok(Value::Object(record)) => Some(record),
            _ => None,
        };
        match record.as_ref().and_then(Record::read) {
            Some(record) => Self {
                shown: record.shown(&record.text),
                fatal: (record.level == "fatal").then(|| Fatal {
                    short: record.shown("the process ends with this error"),
                    text: record.text,
                }),
            },
            None => Self {
                shown: without_controls(line).into_owned(),
                fatal: None,
            },
        }
    }
}

/// A bunyan line.
struct Record {
    level: &'static str,
    text: String,
    /// What stands after the text: causes, code and fields.
    rest: String,
}

impl Record {
    /// Reads a line; nothing for other JSON.
    fn read(record: &Map<String, Value>) -> Option<Self> {
        let level = level(record.get("level")?.as_u64()?);
        let text = match record.get("msg")? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let cause = record
            .get("err")
            .and_then(|error| error["message"].as_str());
        // The text of an error event that was not published.
        let reported = record.get("reported_message").and_then(Value::as_str);
        let causes = [cause, reported].into_iter().flatten();
        let mut rest: String = causes.map(|cause| format!(": {cause}")).collect();
        if let Some(code) = record.get("code").and_then(Value::as_str) {
            rest += &format!(" [{code}]");
        }
        for (name, value) in record.iter().filter(|(name, _)| is_field(name)) {
            rest += &format!(" {name}={}", word(value));
        }
        Some(Self { level, text, rest })
    }

    /// The line with this text.
    fn shown(&self, text: &str) -> String {
        let line = format!("{:<5} {text}{}", self.level, self.rest);
        without_controls(&line).into_owned()
    }
}

fn level(number: u64) -> &'static str {
    match number {
        ..20 => "trace",
        20..30 => "debug",
        30..40 => "info",
        40..50 => "warn",
        50..60 => "error",
        _ => "fatal",
    }
}

/// Whether a member is a field of this line, rather than one of the process or of the step.
fn is_field(name: &str) -> bool {
    !LEFT_OUT.contains(&name) && !IDS.contains(&name) && !name.starts_with("ELASTICIO_")
}

/// A value without quotes if it is one word.
fn word(value: &Value) -> String {
    match value {
        Value::String(text)
            if !text.is_empty()
                && !text.contains(|c: char| {
                    c.is_whitespace() || c.is_control() || "\"'=".contains(c)
                }) =>
        {
            text.clone()
        }
        other => other.to_string(),
    }
}

/// Replaces what a terminal would obey.
fn without_controls(text: &str) -> Cow<'_, str> {
    let is_obeyed = |c: char| c.is_control() && c != '\t' && c != '\n';
    if text.contains(is_obeyed) {
        text.replace(is_obeyed, "\u{fffd}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        LogLine::read(line).shown
    }

    #[test]
    fn a_bunyan_line_shows_level_message_cause_and_code() {
        for (line, expected) in [
            (r#"{"level":30,"msg":"ready","pid":1}"#, "info  ready"),
            (
                r#"{"level":60,"msg":"failed","err":{"message":"no queue"}}"#,
                "fatal failed: no queue",
            ),
            (
                r#"{"level":60,"msg":"not told","reported_message":"x"}"#,
                "fatal not told: x",
            ),
            (
                r#"{"level":40,"code":"broker-blocked","msg":"waiting"}"#,
                "warn  waiting [broker-blocked]",
            ),
            (r#"{"other":1}"#, r#"{"other":1}"#),
            ("plain", "plain"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }

    /// It is shown when the text itself was shown before.
    #[test]
    fn the_short_form_of_an_error_is_without_its_text() {
        let short = |line: &str| LogLine::read(line).fatal.unwrap().short;
        for text in ["fatal", "f", "", "cannot start", "a\\u001b[2J"] {
            let line = format!(
                r#"{{"level":60,"msg":"{text}","code":"start-failed","err":{{"message":"no\u001b queue"}}}}"#
            );
            let expected =
                "fatal the process ends with this error: no\u{fffd} queue [start-failed]";
            assert_eq!(short(&line), expected, "{text:?}");
        }
        assert!(LogLine::read(r#"{"level":50,"msg":"x"}"#).fatal.is_none());
    }

    #[test]
    fn each_field_of_a_line_is_shown_and_those_of_the_process_are_not() {
        let line = r#"{"name":"sailor","hostname":"h","ELASTICIO_STEP_ID":"step_1","pid":1,"tag":"f","level":50,
            "place":"src/a.rs:1:2","wait":1.5,"status":429,"text":"two words","list":["a"],"empty":"","messageId":"m",
            "threadId":"t","none":null,"ok":true,"code":"panicked","msg":"A panic occurred","time":"x","v":0}"#;
        let line = line.replace('\n', "");
        assert_eq!(
            shown(&line),
            "error A panic occurred [panicked] empty=\"\" list=[\"a\"] messageId=m none=null ok=true place=src/a.rs:1:2 \
             status=429 text=\"two words\" wait=1.5"
        );
    }

    #[test]
    fn a_terminal_obeys_no_line_of_a_component() {
        assert_eq!(shown("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        let line = r#"{"level":30,"msg":"a\u001b[2J","x":"\u001b"}"#;
        assert_eq!(shown(line), "info  a\u{fffd}[2J x=\"\\u001b\"");
    }
}
