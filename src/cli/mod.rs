//! The command line of every component binary: it reads the arguments and the environment, starts the log and the tokio
//! runtime, and calls the engine. It does not handle messages or the broker.

mod check;
mod core_dumps;
mod doctor;
mod health;
mod inspect;
mod log;
mod login;
mod metadata;
mod node_command;
mod signals;
mod traces;

use crate::{
    broker::amqp,
    clients::platform::PlatformError,
    codes::{self, Code},
    component::{Component, Mismatch, error::code_of},
    engine::{self, service},
    settings::{self, LogSettings, Mode, ServiceSettings, Settings},
};
use anyhow::Context as _;
use check::CheckArgs;
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use doctor::DoctorArgs;
use health::HealthArgs;
use inspect::InspectArgs;
use login::{ConfigArg, LoginArgs};
use metadata::SchemaArgs;
use std::{
    ffi::OsStr,
    io::{self, Write as _},
    panic::PanicHookInfo,
    path::Path,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};
use traces::Started;

/// How long the process waits for its last error to be printed.
const PRINT_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs this component in a container. The platform configures it with environment variables.
#[derive(Debug, Parser)]
#[command(name = "component", arg_required_else_help = false)]
struct Cli {
    /// Print the version of the component, and that of the sailor that it was built with.
    #[arg(short = 'V', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Process messages as the platform's environment variables say (the default command).
    Run,
    /// Make one call and post its result: verifyCredentials, getMetaModel or selectModel.
    Service {
        /// The name of the method.
        method: Option<String>,
        /// Further arguments of the platform; ignored.
        #[arg(hide = true)]
        rest: Vec<String>,
    },
    /// Compare component.json with the modules of this binary and with their types; with --descriptor, check any
    /// component.json.
    Check(CheckArgs),
    /// Print the metadata that is derived from the types; with --write, update the files that component.json names.
    Schema(SchemaArgs),
    /// Find out why a step does nothing: in its container, check its settings, the broker, the platform, the token endpoint
    /// and the container. It changes nothing. docs/doctor.md explains each finding.
    Doctor(DoctorArgs),
    /// Ask the health port of the step in this container. The exit status is 0 if it says yes, and 1 otherwise.
    Health(HealthArgs),
    /// Tell what a captured message is, and decrypt it: from a file, standard input or the step's queue. docs/inspect.md
    /// has examples.
    Inspect(InspectArgs),
    /// Connect an account in the browser, and write its tokens to a file for `emulator run --config FILE`.
    Login(LoginArgs),
    /// Revoke the tokens in that file and remove them from it.
    Logout(ConfigArg),
    /// Print a script that completes the commands and options of this binary in a shell.
    ///
    /// The binary has to be on PATH, and the script completes it by the name of its file. For bash: source <(component completions bash)
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The command line of a component binary, for the tests of the documentation.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

const HELP_WITHOUT_ENVIRONMENT: &str = "\
This is a component for elastic.io-style integration platforms. The platform starts it and configures it with
ELASTICIO_* environment variables, none of which are set.

To run it locally, start it on the emulator:   emulator run --function NAME --message FILE
To make one of its calls there:                emulator service METHOD --config FILE
To find out why a step does nothing:           component doctor, in the step's container
To compare it with its component.json:         component check
To check any component.json:                   component check --descriptor FILE
All commands:                                  component --help

Inside of the sailor's repository, `cargo run -p elasticio-emulator --` stands for `emulator`, also if it is not installed.
";

/// Runs a component's binary. Call it from the `main` function.
///
/// The exit status is 0 after a graceful stop, a finished shutdown hook or a posted result. It is 1 if the component cannot
/// start or run, or if a check, `doctor` or `inspect` has found errors, and 2 if the command line or the environment is wrong,
/// or a file to check cannot be read.
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
    let _flush = FlushOnDrop;
    let args = node_command::translate_node_command(std::env::args().collect());
    let command = match Cli::try_parse_from(args) {
        Ok(cli) if cli.version => return print_version(component),
        Ok(cli) => cli.command.unwrap_or(Command::Run),
        Err(message) => {
            // The message is help or an error. If it cannot be printed, nothing else can be done.
            let _ = message.print();
            return ExitCode::from(if message.use_stderr() { 2 } else { 0 });
        }
    };
    let needs_platform = matches!(
        command,
        Command::Run | Command::Service { .. } | Command::Doctor(_)
    );
    if needs_platform && !settings::started_by_platform() {
        eprint!("{HELP_WITHOUT_ENVIRONMENT}");
        return ExitCode::from(2);
    }
    if let Command::Check(args) = &command
        && let Some(path) = &args.descriptor
    {
        // Neither the component nor the environment is needed.
        return check::check_file(path, args);
    }
    match execute(command, component) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints the version in component.json, and the sailor's. A mismatch with the modules does not matter here.
fn print_version(created: impl FnOnce() -> anyhow::Result<Component>) -> ExitCode {
    let component = match unchecked(created()) {
        Ok(component) => component.versioned_title(),
        Err(error) => {
            print_error(format!("{error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let sailor = env!("CARGO_PKG_VERSION");
    let _ = writeln!(io::stdout(), "{component}\nelasticio-sailor {sailor}");
    ExitCode::SUCCESS
}

/// Returns the component although its author has checked it, and it does not match its component.json.
fn unchecked(created: anyhow::Result<Component>) -> anyhow::Result<Component> {
    created.or_else(|error| error.downcast().map(Mismatch::into_component))
}

fn execute(
    command: Command,
    created: impl FnOnce() -> anyhow::Result<Component>,
) -> anyhow::Result<()> {
    match command {
        Command::Run => run(checked(created)),
        Command::Service { method, .. } => serve(checked(created), method.as_deref()),
        // A mismatch must not hide what else is wrong.
        Command::Check(args) => check::check_own(unchecked(created())?, args.json),
        Command::Schema(args) => metadata::schema(created()?, &args),
        Command::Doctor(args) => block_on(doctor::doctor(checked(created), &args)),
        Command::Health(args) => health::health(&args),
        Command::Inspect(args) => block_on(inspect::inspect(&args)),
        Command::Login(args) => block_on(login::login(&checked(created)?, &args)),
        Command::Logout(config) => block_on(login::logout(&checked(created)?, &config)),
        Command::Completions { shell } => {
            print_completions(shell);
            Ok(())
        }
    }
}

/// Prints a script for the name that this binary is called by.
fn print_completions(shell: Shell) {
    let program = std::env::args().next().unwrap_or_default();
    let name = Path::new(&program).file_stem().and_then(OsStr::to_str);
    let mut script = Vec::new();
    clap_complete::generate(
        shell,
        &mut Cli::command(),
        name.unwrap_or("component"),
        &mut script,
    );
    // A reader that has read enough is no error.
    let _ = io::stdout().write_all(&script);
}

/// Creates the component, and checks its registration whether its author has done so or not.
fn checked(created: impl FnOnce() -> anyhow::Result<Component>) -> anyhow::Result<Component> {
    created()?.check()
}

fn run(component: anyhow::Result<Component>) -> anyhow::Result<()> {
    start_log(component.as_ref().ok(), traces::start());
    log_fatal(codes::START_FAILED, start_engine(component))
}

fn start_engine(component: anyhow::Result<Component>) -> anyhow::Result<()> {
    let settings = Settings::read(settings::environment)?;
    for warning in &settings.warnings {
        tracing::warn!(code = %codes::DOUBTFUL_SETTING, "{warning}");
    }
    let limit = match &settings.mode {
        Mode::Run(run) => run.shutdown_timeout,
        // The platform limits the time of a shutdown hook.
        Mode::ShutdownHook => Duration::MAX,
    };
    let shutdown = signals::shutdown_on_signals(limit)?;
    let component = component.as_ref().map_err(|e| anyhow::anyhow!("{e:#}"));
    block_on(engine::run_with(settings, component, shutdown))
}

fn serve(component: anyhow::Result<Component>, method: Option<&str>) -> anyhow::Result<()> {
    start_log(component.as_ref().ok(), Started::default());
    let start = ServiceSettings::read(method, settings::environment);
    log_fatal(
        codes::RESULT_NOT_DELIVERED,
        block_on(service::run_call(start, component)),
    )
}

fn start_log(component: Option<&Component>, started: Started) {
    core_dumps::turn_off();
    let targets = component.map(Component::crate_names).unwrap_or_default();
    log::init(
        &LogSettings::read(settings::environment),
        &targets,
        &amqp::CLIENT_TARGETS,
        started.traces,
    );
    started.log_warnings();
    std::panic::set_hook(Box::new(log_panic));
}

/// Logs only the location of a panic. Its message may contain parts of a message.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(code = %codes::PANICKED, place, "A panic occurred");
    if cfg!(panic = "abort") {
        log::flush();
    }
}

/// Logs the error that ends the process, with `code` if it has no code of its own. Returns it without the texts that must
/// not be logged.
fn log_fatal(code: Code, result: anyhow::Result<()>) -> anyhow::Result<()> {
    result.map_err(|error| {
        let text = without_contents(&error);
        let code = code_of(&error).unwrap_or(code);
        tracing::error!(%code, fatal = true, "{text}");
        anyhow::anyhow!(text)
    })
}

/// Returns an error and its causes in one line, without the body of a response of the platform, which may repeat the request.
fn without_contents(error: &anyhow::Error) -> String {
    let mut texts = Vec::new();
    for cause in error.chain() {
        if let Some(platform_error) = cause.downcast_ref::<PlatformError>() {
            texts.push(platform_error.without_contents());
            break;
        }
        texts.push(cause.to_string());
    }
    texts.join(": ")
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting tokio")?;
    let result = runtime.block_on(work);
    // Does not wait for blocking tasks: their time limit is over.
    runtime.shutdown_background();
    result
}

/// Prints to standard error on a thread, because the process must end even if nobody reads the output.
fn print_error(text: String) {
    let (done, wait) = mpsc::channel();
    let print = move || {
        let _ = writeln!(io::stderr(), "{}", log::escaped_lines(&text));
        let _ = done.send(());
    };
    if thread::Builder::new().spawn(print).is_ok() {
        let _ = wait.recv_timeout(PRINT_TIMEOUT);
    }
}

/// Sends the last spans and writes the last lines of the log, regardless of how the main function ends.
struct FlushOnDrop;

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        if !signals::is_stopped_at_once() {
            traces::flush();
        }
        log::flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_does_not_hide_what_else_is_wrong() {
        let created = || Component::new(r#"{"actions": {"a": {"main": "./a.rs"}}}"#)?.check();
        assert!(created().is_err());
        let component = unchecked(created().context("making it")).unwrap();
        let rules: Vec<_> = component.lint(None).iter().map(|i| i.rule.id()).collect();
        assert!(rules.contains(&"missing-title"), "{rules:?}");
        assert!(component.check().is_err());
        assert!(unchecked(Component::new("{")).is_err());
    }

    #[test]
    fn registration_is_checked_without_the_call_of_an_author() {
        let unregistered = || {
            Component::new(r#"{"title": "T", "actions": {"a": {"title": "A", "main": "./a.rs"}}}"#)
        };
        let error = checked(unregistered).unwrap_err();
        assert!(error.is::<crate::Mismatch>(), "{error}");
    }
}
