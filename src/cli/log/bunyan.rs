//! Bunyan lines: one JSON object per line (wire-contract: Bunyan lines).
//!
//! A line contains the fields of the process, the platform's context variables, and the fields of the event and its spans.

use super::{SAILOR, fields::Fields, filter::is_in};
use crate::{codes, settings::LogSettings};
use jiff::Timestamp;
use serde_json::json;
use std::{
    io::{self, Write as _},
    time::SystemTime,
};
use tracing::{Level, Metadata};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// What a line says in place of lines that were dropped.
pub(super) const DROPPED: &str =
    "Log lines are missing here: standard output was not read fast enough";

/// The names of bunyan's own members. A field with such a name gets an underscore.
const RESERVED: [&str; 9] = [
    "name", "hostname", "pid", "level", "tag", "err", "msg", "time", "v",
];

/// Writes bunyan lines.
#[derive(Clone)]
pub(super) struct Bunyan {
    /// The members that are the same on every line, with a comma after each.
    process_fields: String,
}

impl Bunyan {
    pub(super) fn new(settings: &LogSettings) -> Self {
        let host = gethostname::gethostname();
        let mut process_fields = format!(
            r#""hostname":{},"pid":{},"#,
            json!(host.to_string_lossy()),
            std::process::id()
        );
        let tag = settings.tag.iter().map(|tag| ("tag", tag));
        for (name, value) in settings
            .context
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .chain(tag)
        {
            process_fields += &format!("{}:{},", json!(name), json!(value));
        }
        Self { process_fields }
    }

    pub(super) fn write<'a, S: LookupSpan<'a> + 'a>(
        &self,
        line: &mut Vec<u8>,
        metadata: &Metadata<'_>,
        event: &Fields,
        spans: impl Iterator<Item = SpanRef<'a, S>>,
    ) -> io::Result<()> {
        let name = if is_in(metadata.target(), SAILOR) {
            "sailor"
        } else {
            "component"
        };
        let level = if event.fatal {
            60
        } else {
            level_number(*metadata.level())
        };
        let process_fields = &self.process_fields;
        write!(
            line,
            r#"{{"name":"{name}",{process_fields}"level":{level},"#
        )?;
        event.write_with_spans(spans, |name, json| {
            let suffix = if RESERVED.contains(&name) { "_" } else { "" };
            write!(line, r#""{name}{suffix}":{json},"#)
        })?;
        if let Some(error) = &event.error {
            write!(line, r#""err":{{"message":{}}},"#, json!(error))?;
        }
        writeln!(
            line,
            r#""msg":{},"time":"{}","v":0}}"#,
            json!(event.message),
            time_of_line(SystemTime::now())
        )
    }

    /// Returns the line that replaces dropped lines.
    pub(super) fn dropped_lines(&self, dropped: u64) -> Vec<u8> {
        let (process_fields, code) = (&self.process_fields, codes::LOG_LINES_DROPPED);
        let time = time_of_line(SystemTime::now());
        let line = format!(
            r#"{{"name":"{SAILOR}",{process_fields}"level":40,"code":"{code}","dropped":{dropped},"msg":"{DROPPED}","time":"{time}","v":0}}"#
        );
        (line + "\n").into_bytes()
    }
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::TRACE => 10,
        Level::DEBUG => 20,
        Level::INFO => 30,
        Level::WARN => 40,
        Level::ERROR => 50,
    }
}

/// Formats the time of a line in UTC, to the millisecond: `2026-02-28T23:59:59.999Z`.
pub(super) fn time_of_line(time: SystemTime) -> String {
    // A time outside of jiff's range is replaced by a fixed time.
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{time:.3}")
}
