//! The command line. Exit status: 0 is success, 1 is failure, 2 is an invalid command line or file.

mod arguments;
mod new_arguments;
mod plans;

use crate::{
    cargo, demo,
    input::InputError,
    new,
    provider::ProviderConfig,
    provider_command,
    run::{self, Outcome},
    send, service,
    timeline::Timeline,
    up,
    watch::{self, Sources},
};
use arguments::{DemoArgs, ProviderCommand, RunArgs, SendArgs, ServiceArgs, UpArgs};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use new_arguments::NewArgs;
use std::{ffi::OsString, io::Write as _, process::ExitCode};
use tokio_util::sync::CancellationToken;

/// A local platform for components: broker, REST API, object storage and OAuth2 provider on loopback. It needs no account,
/// no network and no Docker.
#[derive(Parser)]
#[command(name = "emulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a new component: an action, a trigger, tests, and all that it takes to build, run and deploy it.
    New(NewArgs),
    /// Start a component, send it messages, and show what it does as a time line.
    ///
    /// Message, configuration and snapshot files may contain placeholders. {{EMULATOR_URL}} is the platform's address; it
    /// serves a sample API at {{EMULATOR_URL}}/sample/items. {{PROVIDER_URL}} is the OAuth2 provider's address; it serves
    /// an API at {{PROVIDER_URL}}/api/me. A member "{{PROVIDER_TOKENS}}" or "{{PROVIDER_EXPIRED_TOKENS}}" becomes the
    /// provider's response to an authorization. With --standin, {{STANDIN_URL}} is the base of the API's paths.
    ///
    /// The component's environment has PROVIDER_URL, OAUTH_CLIENT_ID, OAUTH_CLIENT_SECRET, OAUTH_AUTH_URI and
    /// OAUTH_TOKEN_URI, and the same under the names that credentials.oauth2 of component.json has for them. `.env` of this
    /// folder is read too.
    Run(RunArgs),
    /// Show how a sailor keeps a connection alive: a stored token is expired, and one message comes.
    ///
    /// The component's command must run this repository's reference component. --rotating --concurrent 50 --replicas 3 is
    /// the hard case: refresh tokens can be used once, and all messages need a new token at the same time.
    Demo(DemoArgs),
    /// Start the platform and leave it running, for a component that is started by hand.
    Up(UpArgs),
    /// Send messages to the component of `emulator up`.
    Send(SendArgs),
    /// Start only the OAuth2 provider and leave it running; show what happens to its tokens.
    Provider(ProviderCommand),
    /// Run verifyCredentials, getMetaModel or selectModel once, and print the result.
    Service(ServiceArgs),
    /// Print a script that completes the commands and options of the emulator in a shell.
    ///
    /// For bash: source <(emulator completions bash)
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// The command line of the emulator, for the tests of the documentation.
#[must_use]
pub fn command_line() -> clap::Command {
    Cli::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

/// Runs a command line that begins with the command's name, for tests of a guide's commands. It starts a tokio
/// runtime, so it must not be called from one. An invalid command line ends the process.
#[must_use]
pub fn main_with(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let cli = Cli::parse_from(arguments);
    match execute(cli.command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("emulator: {error:#}");
            if error.is::<InputError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

#[tokio::main]
async fn execute(command: Command) -> anyhow::Result<bool> {
    match command {
        Command::New(arguments) => new::create(arguments.plan()?).await.map(|()| true),
        Command::Run(arguments) => run_command(arguments).await,
        Command::Demo(arguments) => {
            let timeline = Timeline::new(arguments.json, !arguments.log);
            let mut plan = arguments.plan()?;
            plan.command = cargo::built(plan.command)?;
            let never = CancellationToken::new();
            let outcome = run::run(demo::plan(plan), &never, &timeline).await?;
            Ok(outcome == Outcome::Succeeded)
        }
        Command::Up(arguments) => {
            let timeline = arguments.platform.output.timeline();
            up::up(arguments.plan()?, &timeline).await.map(|()| true)
        }
        Command::Send(arguments) => {
            let (messages, headers) = (arguments.messages.read()?, arguments.messages.headers());
            let timeline = Timeline::new(arguments.json, false);
            let sent = send::send(arguments.to, messages, headers, &timeline);
            sent.await.map(|()| true)
        }
        Command::Provider(arguments) => {
            let timeline = arguments.output.timeline();
            let config = ProviderConfig {
                port: arguments.port,
                ..arguments.provider.config()?
            };
            let running = provider_command::run(config, arguments.issue.as_deref(), &timeline);
            running.await.map(|()| true)
        }
        Command::Service(arguments) => {
            let output = arguments.output;
            let mut plan = arguments.plan()?;
            plan.command = cargo::built(plan.command)?;
            service::service(plan, &output.timeline()).await
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "emulator", &mut script);
            // A reader that has read enough is no error.
            let _ = std::io::stdout().write_all(&script);
            Ok(true)
        }
    }
}

/// Runs the component once, or with `--watch` each time that a file changes.
async fn run_command(arguments: RunArgs) -> anyhow::Result<bool> {
    let output = arguments.platform.output;
    let run = async |outdated: &CancellationToken| {
        let mut plan = arguments.clone().plan()?;
        plan.command = cargo::built(plan.command)?;
        run::run(plan, outdated, &output.timeline()).await
    };
    if arguments.watch {
        let sources = Sources::of(&arguments.component.command, arguments.files())
            .without(arguments.written());
        return watch::repeat(&sources, &output.timeline(), run).await;
    }
    let outcome = run(&CancellationToken::new()).await?;
    Ok(outcome == Outcome::Succeeded)
}
