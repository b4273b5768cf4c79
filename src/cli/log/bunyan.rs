//! Events as bunyan lines: one JSON object per line, each handed to the writer whole.
//!
//! What a line says, from the general to the special: the process, the platform's context, the event's fields, the
//! fields of its spans. No name stands twice: the event comes before its spans, an inner span before an outer one.

use super::{Filter, SAILOR};
use crate::{
    protocol::{MAX_LOGGED_ID, truncated},
    settings::LogSettings,
};
use serde_json::json;
use std::{
    cell::RefCell,
    error::Error,
    fmt,
    io::{self, Write as _},
    time::{Duration, SystemTime},
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

/// Names that the format itself needs; fields called so get an underscore.
const RESERVED: [&str; 9] = [
    "name", "hostname", "pid", "level", "tag", "err", "msg", "time", "v",
];

/// Writes what the filter hears to what the writer makes.
pub(super) struct Bunyan<W> {
    filter: Filter,
    writer: W,
    /// The members that are the same on every line, with a comma after each.
    process: String,
}

impl<W> Bunyan<W> {
    pub(super) fn new(settings: &LogSettings, filter: Filter, writer: W) -> Self {
        Self {
            filter,
            writer,
            process: process(settings),
        }
    }
}

fn process(settings: &LogSettings) -> String {
    let host = gethostname::gethostname();
    let mut process = format!(
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
        process += &format!("{}:{},", json!(name), json!(value));
    }
    process
}

/// Writes the line that stands in the place of lines that are missing.
pub(super) fn gap(settings: &LogSettings) -> impl Fn(u64) -> Vec<u8> + Send + Sync + 'static {
    const MESSAGE: &str = "Log lines are missing here: standard output was not read fast enough";
    let process = process(settings);
    move |dropped| {
        let time = now();
        let line = format!(
            r#"{{"name":"{SAILOR}",{process}"level":40,"dropped":{dropped},"msg":"{MESSAGE}","time":"{time}","v":0}}"#
        );
        (line + "\n").into_bytes()
    }
}

impl<S, W> Layer<S> for Bunyan<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.filter.hears(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.filter.hears(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.filter.most)
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        if let Some(span) = context.span(id) {
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
        // Fields run foreign code, which may log, so they are read before the buffer is taken.
        let mut fields = Fields::default();
        event.record(&mut fields);
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Nothing can be done about a log that cannot be written, and a vector always takes what it is given.
            let scope = context.event_scope(event);
            let _ = self.write_line(line, event.metadata(), &fields, scope.into_iter().flatten());
            let _ = self
                .writer
                .make_writer_for(event.metadata())
                .write_all(line);
        });
    }
}

impl<W> Bunyan<W> {
    fn write_line<'a, S: LookupSpan<'a> + 'a>(
        &self,
        line: &mut Vec<u8>,
        metadata: &Metadata<'_>,
        event: &Fields,
        scope: impl Iterator<Item = SpanRef<'a, S>>,
    ) -> io::Result<()> {
        let own = metadata
            .target()
            .strip_prefix(SAILOR)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let name = if own { "sailor" } else { "component" };
        let level = if event.fatal {
            60
        } else {
            level_number(*metadata.level())
        };
        write!(
            line,
            r#"{{"name":"{name}",{}"level":{level},"#,
            self.process
        )?;
        let mut written: Vec<&'static str> = Vec::with_capacity(16);
        let mut write_fields = |line: &mut Vec<u8>, fields: &Fields| -> io::Result<()> {
            for (name, json) in &fields.list {
                if !written.contains(name) {
                    written.push(name);
                    let mark = if RESERVED.contains(name) { "_" } else { "" };
                    write!(line, r#""{name}{mark}":{json},"#)?;
                }
            }
            Ok(())
        };
        write_fields(line, event)?;
        for span in scope {
            if let Some(fields) = span.extensions().get::<Fields>() {
                write_fields(line, fields)?;
            }
        }
        if let Some(error) = &event.error {
            write!(line, r#""err":{{"message":{}}},"#, json!(error))?;
        }
        writeln!(
            line,
            r#""msg":{},"time":"{}","v":0}}"#,
            json!(event.message),
            now()
        )
    }
}

/// Fields of one event or span, values already written as JSON. The last value of a name counts.
#[derive(Default)]
struct Fields {
    list: Vec<(&'static str, String)>,
    message: String,
    error: Option<String>,
    fatal: bool,
}

impl Fields {
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

fn now() -> String {
    iso_time(
        SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default(),
    )
}

/// A time since the epoch as `2026-02-28T23:59:59.999Z`.
pub(super) fn iso_time(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since_epoch.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of the Gregorian calendar, from days since 1970-01-01.
///
/// Years are counted from the first of March here, so that the leap day is the last of its year, and in eras of 400
/// years, which are all alike.
fn civil_date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / ERA, days % ERA);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}
