//! Starts the traces of a process that processes messages, and sends the last spans at its end. A failure is a warning: a step
//! does not stop for its traces.

use crate::{
    clients::http,
    codes::{self, Code},
    monitoring::trace::{IS_COMPILED_IN, Traces},
    settings::{self, TraceSettings},
};
use std::sync::OnceLock;

/// What is sent, once it has started.
static TRACES: OnceLock<Traces> = OnceLock::new();

/// The traces of a process, if it has any, and what the log is to be told once it has started.
#[derive(Default)]
pub(super) struct Started {
    pub(super) traces: Option<&'static Traces>,
    warnings: Vec<(Code, String)>,
    is_left_out: bool,
}

impl Started {
    pub(super) fn log_warnings(&self) {
        for (code, warning) in &self.warnings {
            tracing::warn!(%code, "{warning}");
        }
        if self.is_left_out {
            // Platforms set these variables for all containers, so this is no mistake.
            tracing::info!(
                "No traces are sent, although the variables of OpenTelemetry ask for them: this component is built without \
                 the feature `opentelemetry` of elasticio-sailor"
            );
        }
    }
}

/// Starts traces if the variables of OpenTelemetry ask for them.
pub(super) fn start() -> Started {
    let (settings, warnings) = TraceSettings::read(settings::environment);
    if !IS_COMPILED_IN {
        return Started {
            is_left_out: settings.is_some(),
            ..Started::default()
        };
    }
    let doubtful = |warning| (codes::DOUBTFUL_SETTING, warning);
    let mut started = Started {
        warnings: warnings.into_iter().map(doubtful).collect(),
        ..Started::default()
    };
    match settings.as_ref().map(start_with) {
        None => {}
        Some(Ok(traces)) => started.traces = Some(TRACES.get_or_init(|| traces)),
        Some(Err(error)) => {
            let warning = format!("No traces are sent: {error:#}");
            started.warnings.push((codes::TRACES_NOT_STARTED, warning));
        }
    }
    started
}

fn start_with(settings: &TraceSettings) -> anyhow::Result<Traces> {
    // A redirect would carry the headers for the collector elsewhere.
    let http = http::client_without_redirects()?;
    let address = http::redacted_url(&settings.endpoint);
    Traces::start(settings, http, http::reason, address)
}

/// Sends the last spans, for at most two seconds.
pub(super) fn flush() {
    if let Some(traces) = TRACES.get() {
        traces.flush();
    }
}
