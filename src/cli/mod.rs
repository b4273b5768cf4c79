//! The command line of every component binary.

mod log;
mod login;

use login::{Login, Place};

use crate::{
    broker::amqp,
    clients::platform::PlatformError,
    component::{Component, SchemaPair},
    engine::{self, Shutdown, service},
    settings::{self, LogSettings, Mode, ServiceSettings, ServiceStart, Settings},
};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::{
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// Runs this component: in a container, as the platform tells it by environment variables.
#[derive(Debug, Parser)]
#[command(name = "component", version, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work on messages, as the platform's environment says (what happens without a command).
    Run,
    /// Answer one call and post its result: verifyCredentials, getMetaModel or selectModel.
    Service {
        /// The method's name.
        method: Option<String>,
        /// What else the platform passes on; not used.
        #[arg(hide = true)]
        rest: Vec<String>,
    },
    /// Compare component.json with the modules of this binary and with their types.
    Check,
    /// Print the metadata that follows from the types; with --write, bring the files that component.json names up to
    /// date.
    Schema {
        /// Write the files.
        #[arg(long)]
        write: bool,
    },
    /// Connect an account with the browser, and keep its tokens in a file for `emulator run --config`.
    Login(Login),
    /// Revoke the tokens in such a file, and take them out of it.
    Logout(Place),
}

const NOT_ON_A_PLATFORM: &str = "\
This is a component for elastic.io-style integration platforms. It is started by the platform, which tells it by
ELASTICIO_* environment variables what to do; there are none here.

To run it locally, start it on the emulator:   cargo run -p emulator -- run --function NAME --message FILE
To check it against its component.json:        component check
All commands:                                  component --help
";

/// The main function of a component's binary.
///
/// Exit status: 0 after a graceful stop, a finished shutdown hook or a delivered service result; 1 when the component
/// cannot start or run; 2 for a command line, or an environment, that makes no sense.
///
/// ```no_run
/// use sailor::prelude::*;
/// use std::process::ExitCode;
///
/// fn component() -> anyhow::Result<Component> {
///     Component::new(r#"{"title": "…"}"#)?.check()
/// }
///
/// fn main() -> ExitCode {
///     sailor::main(component)
/// }
/// ```
pub fn main(component: impl FnOnce() -> anyhow::Result<Component>) -> ExitCode {
    let _last_lines = LastLines;
    let cli = match Cli::try_parse_from(as_platform_calls(std::env::args().collect())) {
        Ok(cli) => cli,
        Err(message) => {
            // clap knows by itself whether this is help or a mistake; nothing can be done where it cannot be printed.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { 2 } else { 0 });
        }
    };
    let result = match cli.command.unwrap_or(Command::Run) {
        Command::Run if !settings::started_by_platform() => {
            eprint!("{NOT_ON_A_PLATFORM}");
            return ExitCode::from(2);
        }
        Command::Run => run(component),
        Command::Service { method, .. } => serve(component, method.as_deref()),
        Command::Check => component().and_then(|component| check(&component)),
        Command::Schema { write } => component().and_then(|component| schema(&component, write)),
        Command::Login(options) => {
            component().and_then(|component| in_runtime(login::login(&component, &options)))
        }
        Command::Logout(place) => {
            component().and_then(|component| in_runtime(login::logout(&component, &place)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            last_words(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// However the main function ends, the log has a second to get out.
struct LastLines;

impl Drop for LastLines {
    fn drop(&mut self) {
        log::flush();
    }
}

/// Says on standard error why the process ends. On a thread of its own: nobody may read it, and the process ends all the
/// same.
fn last_words(text: String) {
    let (said, wait) = mpsc::channel();
    let say = move || {
        // Where it cannot be said there is nobody to tell.
        let _ = writeln!(io::stderr(), "{text}");
        let _ = said.send(());
    };
    if thread::Builder::new().spawn(say).is_ok() {
        let _ = wait.recv_timeout(Duration::from_secs(1));
    }
}

/// The platform starts containers with a Node command line (wire-contract: Container commands): `node …/run.js`, or
/// `node …/runService.js METHOD`. The image carries this binary under the name `node` too.
fn as_platform_calls(args: Vec<String>) -> Vec<String> {
    let ends_with = |arg: Option<&String>, name: &str| {
        arg.is_some_and(|arg| Path::new(arg).file_name().is_some_and(|file| file == name))
    };
    let mut given = args.iter().skip(1).collect::<Vec<_>>();
    if ends_with(given.first().copied(), "node") {
        given.remove(0);
    }
    let command = match given.first().copied() {
        first if ends_with(first, "run.js") => "run",
        first if ends_with(first, "runService.js") => "service",
        _ => return args,
    };
    let rest = given[1..]
        .iter()
        .map(|arg| (*arg).clone())
        .filter(|_| command == "service");
    ["component".to_owned(), command.to_owned()]
        .into_iter()
        .chain(rest)
        .collect()
}

fn run(component: impl FnOnce() -> anyhow::Result<Component>) -> anyhow::Result<()> {
    let component = component();
    start_log(component.as_ref().ok());
    fatal(|| {
        let settings = Settings::read(settings::environment)?;
        for warning in &settings.warnings {
            tracing::warn!("{warning}");
        }
        let limit = match &settings.mode {
            Mode::Run(run) => run.shutdown_timeout,
            // Its time is the platform's.
            Mode::ShutdownHook => Duration::MAX,
        };
        let shutdown = on_signals(limit)?;
        let component = component.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"));
        in_runtime(engine::run_with(settings, component, shutdown))
    })
}

fn serve(
    component: impl FnOnce() -> anyhow::Result<Component>,
    method: Option<&str>,
) -> anyhow::Result<()> {
    let component = component();
    start_log(component.as_ref().ok());
    fatal(|| {
        let start: ServiceStart = ServiceSettings::read(method, settings::environment);
        in_runtime(service::serve(start, component))
    })
}

fn start_log(component: Option<&Component>) {
    let targets = component.map(Component::crate_names).unwrap_or_default();
    log::init(
        &LogSettings::read(settings::environment),
        &targets,
        &amqp::CLIENT_TARGETS,
    );
    std::panic::set_hook(Box::new(|panic| {
        // The place, not the text: it may hold message contents.
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "A panic");
        if cfg!(panic = "abort") {
            log::flush();
        }
    }));
}

/// What ends the process stands in the log too.
fn fatal(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    work().map_err(|error| {
        let text = without_contents(&error);
        tracing::error!(fatal = true, "{text}");
        anyhow::anyhow!(text)
    })
}

/// An error and its causes in one line, for the log. What the platform's API says to a request is left out: it may repeat
/// what it was sent.
fn without_contents(error: &anyhow::Error) -> String {
    let mut texts = Vec::new();
    for cause in error.chain() {
        if let Some(refusal) = cause.downcast_ref::<PlatformError>() {
            texts.push(refusal.without_contents());
            break;
        }
        texts.push(cause.to_string());
    }
    texts.join(": ")
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting tokio")?;
    let result = runtime.block_on(work);
    // What blocks here has had its time.
    runtime.shutdown_background();
    result
}

/// The first SIGTERM or SIGINT stops gracefully, a second one at once, and so does the end of `limit` with a margin.
///
/// On a thread of its own: a module that blocks its threads can hold up everything else, and has to be stopped then.
fn on_signals(limit: Duration) -> anyhow::Result<Shutdown> {
    const MARGIN: Duration = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting tokio")?;
    let entered = runtime.enter();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    drop(entered);
    let shutdown = Shutdown::default();
    let tokens = shutdown.clone();
    let watch = async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        tokens.graceful.cancel();
        // Running messages have their limit in the engine; this one holds when nothing there moves.
        let _ = tokio::time::timeout(limit.saturating_add(MARGIN), next()).await;
        tokens.immediate.cancel();
    };
    // Lives as long as the process: it is what ends it.
    let spawned = thread::Builder::new()
        .name("signals".into())
        .spawn(move || runtime.block_on(watch));
    spawned.context("starting the thread that listens for signals")?;
    Ok(shutdown)
}

fn check(component: &Component) -> anyhow::Result<()> {
    let differences = component.schema_differences(Path::new("."));
    anyhow::ensure!(
        differences.is_empty(),
        "the metadata differs from the types (mend with `component schema --write`):\n{}",
        differences.join("\n")
    );
    let descriptor = component.descriptor();
    println!(
        "{}: {} triggers, {} actions, all with their modules; metadata is up to date",
        descriptor.title,
        descriptor.triggers.len(),
        descriptor.actions.len()
    );
    Ok(())
}

fn schema(component: &Component, write: bool) -> anyhow::Result<()> {
    for SchemaPair {
        function,
        side,
        declared,
        derived,
    } in component.schemas()
    {
        let text = serde_json::to_string_pretty(&derived)? + "\n";
        match declared {
            Value::String(path) if write => {
                let path = Path::new(path);
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty());
                if let Some(folder) = folder {
                    std::fs::create_dir_all(folder)
                        .with_context(|| format!("making {}", folder.display()))?;
                }
                std::fs::write(path, text)
                    .with_context(|| format!("writing {}", path.display()))?;
                println!("{}", path.display());
            }
            _ if write => {
                println!(
                    "{function}, {side}: stands in component.json itself, compare it with `component check`"
                );
            }
            _ => println!("// {function}, {side}\n{text}"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platforms_node_command_lines_are_understood() {
        let table: [(&[&str], &[&str]); 8] = [
            (&["component"], &["component"]),
            (
                &["component", "service", "selectModel"],
                &["component", "service", "selectModel"],
            ),
            (
                &["node", "./node_modules/elasticio-sailor-nodejs/run.js"],
                &["component", "run"],
            ),
            (
                &["component", "node", "/home/node/node_modules/x/run.js"],
                &["component", "run"],
            ),
            (
                &["component", "/usr/local/bin/node", "run.js", "x"],
                &["component", "run"],
            ),
            (
                &["node", "x/runService.js", "verifyCredentials"],
                &["component", "service", "verifyCredentials"],
            ),
            (
                &["c", "node", "x/runService.js", "a", "b"],
                &["component", "service", "a", "b"],
            ),
            (&["node"], &["node"]),
        ];
        for (called, understood) in table {
            let called = called.iter().map(ToString::to_string).collect();
            assert_eq!(as_platform_calls(called), understood);
        }
    }
}
