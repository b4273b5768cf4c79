//! Writes events as bunyan lines: one JSON object per line, and each line with one write.
//!
//! A line contains the fields of the process, the platform's context variables, the fields of the event, and the fields of
//! its spans. No name occurs twice: the event wins over its spans, and an inner span wins over an outer one.

use super::{Filter, SAILOR};
use crate::{
    monitoring::trace,
    protocol::{MAX_LOGGED_ID, truncated},
    settings::LogSettings,
};
use jiff::Timestamp;
use serde_json::json;
use std::{
    cell::RefCell,
    error::Error,
    fmt,
    io::{self, Write as _},
    time::SystemTime,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer,
    fmt::MakeWriter,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

/// The names of bunyan's own members. A field with such a name gets an underscore.
const RESERVED: [&str; 9] = [
    "name", "hostname", "pid", "level", "tag", "err", "msg", "time", "v",
];

/// Writes the events that pass the filter.
pub(super) struct BunyanLayer<W> {
    filter: Filter,
    writer: W,
    /// The members that are the same on every line, with a comma after each.
    process_fields: String,
}

impl<W> BunyanLayer<W> {
    pub(super) fn new(settings: &LogSettings, filter: Filter, writer: W) -> Self {
        Self {
            filter,
            writer,
            process_fields: process_fields(settings),
        }
    }
}

fn process_fields(settings: &LogSettings) -> String {
    let host = gethostname::gethostname();
    let mut fields = format!(
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
        fields += &format!("{}:{},", json!(name), json!(value));
    }
    fields
}

/// Returns a function that builds the line that replaces dropped lines.
pub(super) fn dropped_lines_record(
    settings: &LogSettings,
) -> impl Fn(u64) -> Vec<u8> + Send + Sync + 'static {
    const MESSAGE: &str = "Log lines are missing here: standard output was not read fast enough";
    let process_fields = process_fields(settings);
    move |dropped| {
        let time = time_of_line(SystemTime::now());
        let line = format!(
            r#"{{"name":"{SAILOR}",{process_fields}"level":40,"dropped":{dropped},"msg":"{MESSAGE}","time":"{time}","v":0}}"#
        );
        (line + "\n").into_bytes()
    }
}

impl<S, W> Layer<S> for BunyanLayer<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.filter.enabled(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.filter.enabled(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.max_level)
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        // What spans of a trace tell is not for the log.
        if attributes.metadata().target() != trace::TARGET
            && let Some(span) = context.span(id)
        {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        // Formatting a field runs other code, which may log too. So it happens before the buffer is borrowed.
        let mut fields = Fields::default();
        event.record(&mut fields);
        LINE.with_borrow_mut(|line| {
            line.clear();
            // There is nowhere to report that the log cannot be written.
            let scope = context.event_scope(event);
            let _ = self.write_line(line, event.metadata(), &fields, scope.into_iter().flatten());
            let _ = self
                .writer
                .make_writer_for(event.metadata())
                .write_all(line);
        });
    }
}

impl<W> BunyanLayer<W> {
    fn write_line<'a, S: LookupSpan<'a> + 'a>(
        &self,
        line: &mut Vec<u8>,
        metadata: &Metadata<'_>,
        event: &Fields,
        scope: impl Iterator<Item = SpanRef<'a, S>>,
    ) -> io::Result<()> {
        let name = if is_own(metadata.target()) {
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
        let mut written = Vec::with_capacity(16);
        event.write_unwritten(line, &mut written)?;
        for span in scope {
            if let Some(fields) = span.extensions().get::<Fields>() {
                fields.write_unwritten(line, &mut written)?;
            }
        }
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
}

/// Returns true for the target of the runtime and the targets below it.
fn is_own(target: &str) -> bool {
    target
        .strip_prefix(SAILOR)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// The fields of one event or span. The values are JSON, and the last value of a name counts.
#[derive(Default)]
struct Fields {
    list: Vec<(&'static str, String)>,
    message: String,
    error: Option<String>,
    fatal: bool,
}

impl Fields {
    /// Writes the fields whose names are not yet `written`.
    fn write_unwritten(
        &self,
        line: &mut Vec<u8>,
        written: &mut Vec<&'static str>,
    ) -> io::Result<()> {
        for (name, json) in &self.list {
            if !written.contains(name) {
                written.push(name);
                let suffix = if RESERVED.contains(name) { "_" } else { "" };
                write!(line, r#""{name}{suffix}":{json},"#)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, field: &Field, json: String) {
        let name = field.name().trim_start_matches("r#");
        match self.list.iter_mut().find(|(known, _)| *known == name) {
            Some((_, value)) => *value = json,
            None => self.list.push((name, json)),
        }
    }

    fn set_text(&mut self, field: &Field, text: String) {
        match field.name() {
            "message" => self.message = text,
            "error" => self.error = Some(text),
            name => {
                let is_id = name.ends_with("Id") || name.ends_with("_id");
                self.set(
                    field,
                    if is_id {
                        json!(truncated(&text, MAX_LOGGED_ID)).to_string()
                    } else {
                        json!(text).to_string()
                    },
                );
            }
        }
    }
}

impl Visit for Fields {
    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "fatal" {
            self.fatal = value;
        } else {
            self.set(field, value.to_string());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinities: they become null.
        self.set(field, json!(value).to_string());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set_text(field, value.to_owned());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let causes = std::iter::successors(value.source(), |cause| (*cause).source());
        self.set_text(
            field,
            causes.fold(value.to_string(), |line, cause| format!("{line}: {cause}")),
        );
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set_text(field, format!("{value:?}"));
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
