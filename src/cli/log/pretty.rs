//! Lines for somebody who reads them in a terminal: time, level, target and message, then the fields.
//!
//! A message or a field can contain what an API has sent. So a character that a terminal might obey is escaped.

use super::{
    bunyan::{DROPPED, time_of_line},
    fields::Fields,
};
use crate::codes;
use anstyle::{AnsiColor, Style};
use serde_json::json;
use std::{
    borrow::Cow,
    io::{self, Write as _},
    time::SystemTime,
};
use tracing::{Level, Metadata};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

const DIM: Style = Style::new().dimmed();

/// Writes lines for a terminal.
#[derive(Clone)]
pub(super) struct Pretty {
    /// Whether the terminal shows colours, and the reader wants them.
    pub(super) has_colours: bool,
}

impl Pretty {
    pub(super) fn write<'a, S: LookupSpan<'a> + 'a>(
        &self,
        line: &mut Vec<u8>,
        metadata: &Metadata<'_>,
        event: &Fields,
        spans: impl Iterator<Item = SpanRef<'a, S>>,
    ) -> io::Result<()> {
        let level = if event.fatal {
            ("FATAL", AnsiColor::Red.on_default().bold().invert())
        } else {
            shown_level(*metadata.level())
        };
        self.write_start(line, level, metadata.target(), &event.message)?;
        event.write_with_spans(spans, |name, json| self.write_field(line, name, json))?;
        if let Some(error) = &event.error {
            self.write_field(line, "error", &json!(error).to_string())?;
        }
        writeln!(line)
    }

    /// Returns the line that replaces dropped lines.
    pub(super) fn dropped_lines(&self, dropped: u64) -> Vec<u8> {
        let mut line = Vec::new();
        let code = codes::LOG_LINES_DROPPED.to_string();
        // A vector takes everything.
        let _ = self
            .write_start(&mut line, shown_level(Level::WARN), super::SAILOR, DROPPED)
            .and_then(|()| self.write_field(&mut line, "code", &code))
            .and_then(|()| self.write_field(&mut line, "dropped", &dropped.to_string()));
        line.push(b'\n');
        line
    }

    fn write_start(
        &self,
        line: &mut Vec<u8>,
        (level, style): (&str, Style),
        target: &str,
        message: &str,
    ) -> io::Result<()> {
        let (dim, style) = (self.style(DIM), self.style(style));
        let time = time_of_line(SystemTime::now());
        let time = time.split_once('T').map_or(&*time, |(_, time)| time);
        let message = escaped(message);
        write!(
            line,
            "{dim}{time}{dim:#} {style}{level:5}{style:#} {dim}{target}:{dim:#} {message}"
        )
    }

    fn write_field(&self, line: &mut Vec<u8>, name: &str, json: &str) -> io::Result<()> {
        let (dim, value) = (self.style(DIM), escaped(without_quotes(json)));
        write!(line, " {dim}{name}={dim:#}{value}")
    }

    fn style(&self, style: Style) -> Style {
        if self.has_colours {
            style
        } else {
            Style::new()
        }
    }
}

fn shown_level(level: Level) -> (&'static str, Style) {
    match level {
        Level::TRACE => ("TRACE", DIM),
        Level::DEBUG => ("DEBUG", AnsiColor::Cyan.on_default()),
        Level::INFO => ("INFO", AnsiColor::Green.on_default()),
        Level::WARN => ("WARN", AnsiColor::Yellow.on_default()),
        Level::ERROR => ("ERROR", AnsiColor::Red.on_default()),
    }
}

/// Removes the quotes of a JSON text that is one word.
fn without_quotes(json: &str) -> &str {
    let word = json
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let is_word = |text: &&str| {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+@".contains(&byte);
        !text.is_empty() && text.bytes().all(is_part)
    };
    word.filter(is_word).unwrap_or(json)
}

/// Escapes what a terminal might obey: control characters, and those that change the direction of a text.
pub(super) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_obeyed(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

fn is_obeyed(character: char) -> bool {
    let turns_text = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || turns_text
}
