//! The log of the process: bunyan lines on standard output, where the platform reads them (wire-contract: Bunyan lines). It
//! writes what the rest of the program reports with `tracing`, and knows nothing of messages or credentials.
//!
//! `LOG_LEVEL` applies to the runtime and to the component. Other crates are logged from `warn` up only, because below
//! that level HTTP clients log what they send, including tokens.

mod bunyan;
mod log_writer;
#[cfg(test)]
mod tests;

use crate::{
    monitoring::trace::{self, Traces},
    settings::LogSettings,
};
use bunyan::BunyanLayer;
use log_writer::LogWriter;
use std::{sync::OnceLock, time::Duration};
use tracing::{Metadata, level_filters::LevelFilter, subscriber::set_global_default};
use tracing_subscriber::{
    filter::Targets, fmt::MakeWriter, layer::SubscriberExt, registry::LookupSpan,
};

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
    let writer =
        WRITER.get_or_init(|| LogWriter::to_stdout(bunyan::dropped_lines_record(settings)));
    let filter = Filter::new(settings.level, component_targets, silent_targets);
    let writer = writer.clone();
    let is_started = match traces {
        None => set_global_default(subscriber(settings, filter, writer)),
        Some(traces) => {
            let subscriber = subscriber(settings, filter.with_traces(), writer);
            set_global_default(subscriber.with(traces.layer(component_targets)))
        }
    };
    if is_started.is_ok() {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Waits until the log is written, for at most one second. Called before the process ends.
pub(crate) fn flush() {
    if let Some(writer) = WRITER.get() {
        writer.flush(FLUSH_TIMEOUT);
    }
}

fn subscriber<W>(
    settings: &LogSettings,
    filter: Filter,
    writer: W,
) -> impl tracing::Subscriber + for<'a> LookupSpan<'a> + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::registry().with(BunyanLayer::new(settings, filter, writer))
}

/// Decides which events and spans are logged.
struct Filter {
    events: Targets,
    spans: Targets,
    max_level: LevelFilter,
}

impl Filter {
    fn new(level: LevelFilter, component_targets: &[&str], silent_targets: &[&str]) -> Self {
        let names: Vec<_> = component_targets
            .iter()
            .map(|name| name.replace('-', "_"))
            .chain([SAILOR.to_owned()])
            .collect();
        // Spans name the message of a line, so they are kept even if only warnings are logged.
        let max_level = level.max(LevelFilter::INFO);
        Self {
            events: targets(&names, level, level.min(LevelFilter::WARN), silent_targets),
            spans: targets(&names, max_level, LevelFilter::OFF, silent_targets)
                .with_target(trace::TARGET, LevelFilter::OFF),
            max_level,
        }
    }

    /// Keeps the spans of traces too. They name nothing in the log.
    fn with_traces(self) -> Self {
        Self {
            spans: self.spans.with_target(trace::TARGET, LevelFilter::DEBUG),
            max_level: self.max_level.max(LevelFilter::DEBUG),
            ..self
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let targets = if metadata.is_span() {
            &self.spans
        } else {
            &self.events
        };
        targets.would_enable(metadata.target(), metadata.level())
    }
}

/// The levels of the targets `names`, of all others, and of those that are silent.
fn targets(names: &[String], level: LevelFilter, others: LevelFilter, silent: &[&str]) -> Targets {
    Targets::new()
        .with_default(others)
        .with_targets(names.iter().map(|name| (name.clone(), level)))
        .with_targets(
            silent
                .iter()
                .map(|name| ((*name).to_owned(), LevelFilter::OFF)),
        )
}
