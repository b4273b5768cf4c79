//! The fields of events and spans, as JSON.

use crate::protocol::{MAX_LOGGED_ID, truncated};
use serde_json::json;
use std::{error::Error, fmt, io};
use tracing::field::{Field, Visit};
use tracing_subscriber::registry::{LookupSpan, SpanRef};

/// The fields of one event or span. The values are JSON, and the last value of a name counts.
#[derive(Default)]
pub(super) struct Fields {
    list: Vec<(&'static str, String)>,
    pub(super) message: String,
    pub(super) error: Option<String>,
    pub(super) fatal: bool,
}

impl Fields {
    /// Passes each field of an event and of its spans to `write`: its name, and its value as JSON.
    pub(super) fn write_with_spans<'a, S: LookupSpan<'a> + 'a>(
        &self,
        spans: impl Iterator<Item = SpanRef<'a, S>>,
        mut write: impl FnMut(&str, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut written = Vec::with_capacity(16);
        self.write_unwritten(&mut written, &mut write)?;
        for span in spans {
            if let Some(fields) = span.extensions().get::<Self>() {
                fields.write_unwritten(&mut written, &mut write)?;
            }
        }
        Ok(())
    }

    /// Writes the fields whose names are not yet `written`.
    fn write_unwritten(
        &self,
        written: &mut Vec<&'static str>,
        write: &mut impl FnMut(&str, &str) -> io::Result<()>,
    ) -> io::Result<()> {
        for (name, json) in &self.list {
            if !written.contains(name) {
                written.push(name);
                write(name, json)?;
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
