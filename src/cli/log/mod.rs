//! The log of the process, on standard output: bunyan lines where the platform reads them (wire-contract: Bunyan lines), and
//! lines that are easy to read in a terminal. It writes what the rest of the program reports with `tracing`, and knows
//! nothing of messages or credentials.

mod bunyan;
mod fields;
mod filter;
mod layer;
mod log_writer;
mod pretty;
#[cfg(test)]
mod tests;

use crate::{
    codes,
    monitoring::trace::Traces,
    settings::{LogFormat, LogSettings},
};
use bunyan::Bunyan;
use filter::Filter;
use layer::{Format, LogLayer};
use log_writer::LogWriter;
use pretty::Pretty;
use std::{
    io::{self, IsTerminal as _},
    sync::OnceLock,
    time::Duration,
};
use tracing::subscriber::set_global_default;
use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan};

/// The runtime's own target.
const SAILOR: &str = env!("CARGO_CRATE_NAME");

/// Writes to standard output, once the log has started.
static WRITER: OnceLock<LogWriter> = OnceLock::new();

/// How long [`flush`] waits.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the log of this process, and logs the warnings of its settings.
///
/// `component_targets` are the names of the component's own crates, as in `env!("CARGO_CRATE_NAME")`. `silent_targets` are
/// not logged at all. Spans also become those of `traces`. A second call changes nothing.
pub(crate) fn init(
    settings: &LogSettings,
    component_targets: &[&str],
    silent_targets: &[&str],
    traces: Option<&Traces>,
) {
    let format = format(settings, io::stdout().is_terminal());
    let (filter, refused) = Filter::new(settings, component_targets, silent_targets);
    let writer = WRITER.get_or_init(|| {
        let format = format.clone();
        LogWriter::to_stdout(move |dropped| format.dropped_lines(dropped))
    });
    let writer = writer.clone();
    let is_started = match traces {
        None => set_global_default(subscriber(format, filter, writer)),
        Some(traces) => {
            let subscriber = subscriber(format, filter.with_traces(), writer);
            set_global_default(subscriber.with(traces.layer(component_targets)))
        }
    };
    if is_started.is_ok() {
        for warning in &settings.warnings {
            tracing::warn!(code = %codes::DOUBTFUL_SETTING, "{warning}");
        }
        for warning in refused {
            tracing::warn!(code = %codes::LOG_TARGET_REFUSED, "{warning}");
        }
    }
}

/// Returns a text of several lines whose characters cannot control a terminal.
pub(crate) fn escaped_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(pretty::escaped).collect();
    lines.join("\n")
}

/// Waits until the log is written, for at most one second. Called before the process ends.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

/// Returns the form of the lines: what the settings say, or else what suits the reader.
fn format(settings: &LogSettings, is_terminal: bool) -> Format {
    match settings.format {
        Some(LogFormat::Bunyan) => Format::Bunyan(Bunyan::new(settings)),
        None if !is_terminal => Format::Bunyan(Bunyan::new(settings)),
        Some(LogFormat::Pretty) | None => Format::Pretty(Pretty {
            has_colours: is_terminal && settings.colours,
        }),
    }
}

/// Returns the subscriber of the process. Further layers can be put on it.
fn subscriber<W>(
    format: Format,
    filter: Filter,
    writer: W,
) -> impl tracing::Subscriber + for<'a> LookupSpan<'a> + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(LogLayer {
        filter,
        format,
        writer,
    })
}
