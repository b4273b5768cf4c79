//! `component doctor`: finds out why a step does nothing. It probes what the step needs with the runtime's own parts, and
//! changes nothing: it declares, publishes and acknowledges nothing, and uses up no token.
//!
//! The probes run side by side, each with a time limit. One that fails hides no other.

mod broker;
mod container;
mod effective;
mod finding;
mod platform;

use super::core_dumps;
use crate::{
    broker::amqp::BrokerAddress,
    clients::http,
    component::Component,
    engine::{platform_client, storage},
    monitoring::trace,
    protocol::StepIdentity,
    settings::{
        self, ApiSettings, InvalidVariable, LogSettings, MemoryShares, Mode, ObjectStorageSettings,
        Settings, TraceSettings,
    },
};
use effective::Shown;
use finding::{Finding, Level};
use serde_json::{Map, Value, json};
use std::io::{self, Write as _};

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    /// Print the settings and findings as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Probes everything and prints what it finds. Returns an error if a finding is one.
pub(super) async fn doctor(
    component: anyhow::Result<Component>,
    args: &DoctorArgs,
) -> anyhow::Result<()> {
    // The memory holds secrets.
    core_dumps::turn_off();
    let (settings, problems) = Settings::read_what_is_there(settings::environment);
    let log = LogSettings::read(settings::environment);
    let (traces, about_traces) = TraceSettings::read(settings::environment);
    let warnings = settings.warnings.iter().chain(&log.warnings);
    // A binary that sends no traces does not care how the variables for them are written.
    let about_traces = about_traces.iter().filter(|_| trace::IS_COMPILED_IN);
    let mut findings = of_settings(&problems, warnings.chain(about_traces));
    findings.extend(of_traces(traces.as_ref()));
    findings.push(of_component(&component, &settings));
    let probing = probes(&settings, &problems, component.as_ref().ok());
    findings.extend(Box::pin(probing).await);
    findings.sort_by_key(|finding| place(finding.probe));
    let broker = match &settings.mode {
        Mode::Run(run) => BrokerAddress::of(&run.amqp.uri),
        Mode::ShutdownHook => None,
    };
    let traces = traces.filter(|_| trace::IS_COMPILED_IN);
    let shown = effective::shown(&settings, &log, broker.as_ref(), traces.as_ref());
    if args.json {
        print_json(shown, &findings);
    } else {
        print_text(&shown, &findings);
    }
    let errors = count(&findings, Level::Error);
    anyhow::ensure!(errors == 0, "errors found: {errors}");
    Ok(())
}

/// The order of the report: what has to work first comes first.
const ORDER: [&str; 19] = [
    "settings",
    "component",
    "broker",
    "queue",
    "exchange",
    "rights",
    "data key",
    "error key",
    "rebound key",
    "snapshot key",
    "platform API",
    "clock",
    "object storage",
    "credential",
    "token endpoint",
    "memory",
    "open files",
    "cpu",
    "traces",
];

fn place(probe: &str) -> usize {
    let place = ORDER.iter().position(|name| *name == probe);
    place.unwrap_or(ORDER.len())
}

fn of_settings<'a>(
    problems: &[InvalidVariable],
    warnings: impl Iterator<Item = &'a String>,
) -> Vec<Finding> {
    let mut found: Vec<_> = problems
        .iter()
        .map(|InvalidVariable { variable, reason }| {
            let remedy = format!("set {variable}; without it the step does not start");
            Finding::error("settings", format!("{variable} {reason}"), remedy)
        })
        .collect();
    found.extend(warnings.map(|warning| {
        let remedy = "write the value as docs/settings.md describes it, or remove the variable";
        Finding::warning("settings", warning, remedy)
    }));
    if found.is_empty() {
        found.push(Finding::ok(
            "settings",
            "every required variable is set and valid",
        ));
    }
    found
}

/// Traces that are asked for and not sent. Platforms set these variables for all containers, so that is no mistake.
fn of_traces(settings: Option<&TraceSettings>) -> Option<Finding> {
    settings.filter(|_| !trace::IS_COMPILED_IN).map(|_| {
        let found = "no traces are sent, although the variables of OpenTelemetry ask for them: this component is built \
                     without the feature `opentelemetry` of elasticio-sailor";
        Finding::ok("traces", found)
    })
}

fn of_component(component: &anyhow::Result<Component>, settings: &Settings) -> Finding {
    let function = &settings.identity.function;
    let found = match component {
        Ok(component) => component.module(function).map(drop),
        Err(error) => Err(anyhow::anyhow!("{error:#}")),
    };
    match found {
        Ok(()) => Finding::ok("component", format!("it has the function {function}")),
        Err(error) => Finding::error(
            "component",
            format!("{error:#}"),
            "check ELASTICIO_FUNCTION, and the component with `component check`",
        ),
    }
}

/// Runs all probes side by side.
async fn probes(
    settings: &Settings,
    problems: &[InvalidVariable],
    component: Option<&Component>,
) -> Vec<Finding> {
    let is_missing = |name: &str| problems.iter().any(|problem| problem.variable == name);
    let (api, identity) = (&settings.api, &settings.identity);
    let platform = ["API_URI", "API_USERNAME", "API_KEY", "FLOW_ID", "STEP_ID"]
        .iter()
        .all(|name| !is_missing(&format!("ELASTICIO_{name}")))
        .then(|| client_of(api, identity));
    let platform = platform.unwrap_or_else(|| Err(Finding::not_probed("platform API", "settings")));
    let broker = async {
        match &settings.mode {
            Mode::Run(run) => broker::findings(&run.amqp, is_missing).await,
            Mode::ShutdownHook => {
                vec![Finding::ok(
                    "broker",
                    "not used: the process runs the shutdown hook",
                )]
            }
        }
    };
    let api = platform::findings(platform, component, settings.oauth_mode);
    let storage = of_storage(settings.object_storage.as_ref(), identity);
    let (mut found, api, storage) = tokio::join!(broker, api, storage);
    found.extend(api);
    found.push(storage);
    let memory = match &settings.mode {
        Mode::Run(run) => run.amqp.memory,
        Mode::ShutdownHook => MemoryShares::new(None),
    };
    found.extend(container::findings(memory));
    found
}

fn client_of(api: &ApiSettings, identity: &StepIdentity) -> Result<crate::Platform, Finding> {
    let direct = http::client_without_redirects().map_err(|error| {
        let remedy = "check the files that ELASTICIO_CA_CERTS and SSL_CERT_FILE name";
        Finding::failed("platform API", &error.without_contents(), remedy)
    })?;
    Ok(platform_client(direct, api, identity))
}

async fn of_storage(settings: Option<&ObjectStorageSettings>, identity: &StepIdentity) -> Finding {
    match storage(settings, None, identity) {
        Ok(storage) => platform::object_storage(storage.as_ref()).await,
        Err(error) => {
            let remedy = "check the files that ELASTICIO_CA_CERTS and SSL_CERT_FILE name";
            Finding::failed("object storage", &format!("{error:#}"), remedy)
        }
    }
}

fn count(findings: &[Finding], level: Level) -> usize {
    let of_level = findings.iter().filter(|finding| finding.level == level);
    of_level.count()
}

/// docs/doctor.md describes this shape.
fn print_json(shown: Shown, findings: &[Finding]) {
    let shown = shown
        .into_iter()
        .map(|(name, value)| (name, Value::from(value)));
    let printed = json!({
        "settings": shown.collect::<Map<_, _>>(),
        "findings": findings,
        "errors": count(findings, Level::Error),
        "warnings": count(findings, Level::Warning),
        "unknown": count(findings, Level::Unknown),
    });
    // A reader that has read enough, such as `head`, is no error.
    let _ = writeln!(io::stdout(), "{printed}");
}

fn print_text(shown: &Shown, findings: &[Finding]) {
    let mut text = String::from("Settings, without secrets:\n");
    for (name, value) in shown {
        text += &format!("  {name}={}\n", in_one_line(value));
    }
    text += "\nFindings:\n";
    for Finding {
        probe,
        level,
        found,
        remedy,
    } in findings
    {
        text += &format!("  {:<8} {probe}: {}\n", level.name(), in_one_line(found));
        if let Some(remedy) = remedy {
            text += &format!("           remedy: {}\n", in_one_line(remedy));
        }
    }
    let numbers = [Level::Error, Level::Warning, Level::Unknown, Level::Ok]
        .map(|level| format!("{} {}", count(findings, level), level.name()));
    text += &format!("\n{}\n", numbers.join(", "));
    let _ = io::stdout().write_all(text.as_bytes());
}

/// A text of somebody else cannot begin a line of the report, or control the terminal.
fn in_one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}
