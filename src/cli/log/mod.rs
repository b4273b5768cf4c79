//! The log of a process: bunyan lines on standard output, which is where the platform reads them (wire-contract: Bunyan lines).
//!
//! `LOG_LEVEL` counts for the runtime and for the component. Other crates are heard from `warn` up only: below that,
//! clients print what they send, tokens included.

mod bunyan;
mod output;

use crate::settings::LogSettings;
use bunyan::Bunyan;
use output::Output;
use std::{sync::OnceLock, time::Duration};
use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{filter::Targets, fmt::MakeWriter, layer::SubscriberExt};

/// The runtime's own target.
const SAILOR: &str = env!("CARGO_CRATE_NAME");

/// The process's standard output, once there is a log.
static OUTPUT: OnceLock<Output> = OnceLock::new();

/// How long the last lines have to get out.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Starts the log of this process and tells what is odd about its settings.
///
/// `component_targets` are the names of the component's own crates, as `env!("CARGO_CRATE_NAME")` gives them;
/// `silent_targets` are not heard at all. Where a
/// log is running already, it stays as it is, so this may be called more than once.
pub(crate) fn init(settings: &LogSettings, component_targets: &[&str], silent_targets: &[&str]) {
    let output = OUTPUT.get_or_init(|| Output::standard(bunyan::gap(settings)));
    let subscriber = subscriber(settings, component_targets, silent_targets, output.clone());
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
    }
}

/// Gives the last lines before the process ends a second to get out.
pub(crate) fn flush() {
    if let Some(output) = OUTPUT.get() {
        output.flush(LAST_LINES);
    }
}

fn subscriber<W>(
    settings: &LogSettings,
    component_targets: &[&str],
    silent_targets: &[&str],
    writer: W,
) -> impl tracing::Subscriber + use<W>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = Filter::new(settings.level, component_targets, silent_targets);
    tracing_subscriber::registry().with(Bunyan::new(settings, filter, writer))
}

/// Which events and spans are heard.
struct Filter {
    events: Targets,
    spans: Targets,
    most: LevelFilter,
}

impl Filter {
    fn new(level: LevelFilter, component_targets: &[&str], silent_targets: &[&str]) -> Self {
        let own = |level: LevelFilter, others: LevelFilter| {
            let names = component_targets
                .iter()
                .map(|name| name.replace('-', "_"))
                .chain([SAILOR.to_owned()]);
            let silent = silent_targets
                .iter()
                .map(|name| ((*name).to_owned(), LevelFilter::OFF));
            Targets::new()
                .with_default(others)
                .with_targets(names.map(|name| (name, level)))
                .with_targets(silent)
        };
        // Spans say which message a line is about, so they are kept when only warnings are wanted.
        let spans = level.max(LevelFilter::INFO);
        Self {
            events: own(level, level.min(LevelFilter::WARN)),
            spans: own(spans, LevelFilter::OFF),
            most: spans,
        }
    }

    fn hears(&self, metadata: &Metadata<'_>) -> bool {
        let targets = if metadata.is_span() {
            &self.spans
        } else {
            &self.events
        };
        targets.would_enable(metadata.target(), metadata.level())
    }
}

#[cfg(test)]
mod tests;
