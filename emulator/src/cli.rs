//! The command line. Exit status: 0 all is well, 1 it is not, 2 the command or its files are wrong.

use crate::{
    broker::BrokerConfig,
    cargo,
    config::EmulatorConfig,
    demo,
    input::{InputError, read_as, read_json, read_message, read_object},
    keep::Keeper,
    platform::{PlatformConfig, Step},
    provider::{Knobs, ProviderConfig},
    run::{self, Plan},
    serve,
    service::{self, ServicePlan},
    standins,
    timeline::Timeline,
    up,
};
use clap::{Args, Parser, Subcommand};
use sailor::protocol::Headers;
use serde_json::{Value, json};
use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

/// A local platform for components: broker, REST API, object storage and OAuth2 provider on loopback. No account, no
/// network, no Docker.
#[derive(Parser)]
#[command(name = "emulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start a component, send it messages, and show what it does as a time line.
    ///
    /// In message, configuration and snapshot, {{EMULATOR_URL}} stands for the platform's address; a sample API is at
    /// {{EMULATOR_URL}}/sample/items. {{PROVIDER_URL}} is the OAuth2 provider's address, with an API at
    /// {{PROVIDER_URL}}/api/me, and a member that is "{{PROVIDER_TOKENS}}" or "{{PROVIDER_EXPIRED_TOKENS}}" becomes what
    /// the provider answered to an authorization. With --standin, {{STANDIN_URL}} is the base of the API's paths. The component finds PROVIDER_URL, OAUTH_CLIENT_ID,
    /// OAUTH_CLIENT_SECRET, OAUTH_AUTH_URI and OAUTH_TOKEN_URI in its environment; where it knows them by other names,
    /// --env NAME={{PROVIDER_URL}}/token gives them.
    Run(Run),
    /// See how a sailor keeps a connection alive: a stored token is expired, and one message comes.
    ///
    /// The component's command must run this repository's reference component. --rotating --concurrent 50 --replicas 3 is
    /// the hard case: refresh tokens are good once, and everybody needs a new one at the same time.
    Demo(Demo),
    /// Start the platform and leave it running, for a component that is started by hand.
    Up(Up),
    /// Start the OAuth2 provider alone and leave it running; show what becomes of its tokens.
    Provider(ProviderAlone),
    /// Execute verifyCredentials, getMetaModel or selectModel once, and print the result.
    Service(Service),
}

#[derive(Args)]
struct StepArgs {
    /// The step's fields and credentials, a JSON object
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tokens that the component refreshes go into the configuration's file; a provider may take the old ones no more
    #[arg(long, requires = "config")]
    save_keys: bool,
    /// What the step remembers from before, JSON
    #[arg(long, value_name = "FILE")]
    snapshot: Option<PathBuf>,
    /// The step passes on what earlier steps emitted: put that into the message file as `passthrough`
    #[arg(long)]
    passthrough: bool,
    /// How many messages the component may have at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    prefetch: u16,
    /// How messages are encoded: 1 is base64, 2 is raw
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=2))]
    protocol: i64,
    /// The component is to run its startup hook
    #[arg(long)]
    startup: bool,
    /// Webhook requests come with their bodies unparsed, as for a component.json with consumesRawData
    #[arg(long)]
    raw_webhooks: bool,
    /// Large bodies go through object storage
    #[arg(long)]
    lightweight: bool,
    /// Rebounds come back this many times faster than on the platform, where the first takes 15 s
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    rebound_speed_up: u32,
    /// Another step comes after this one. Without, this is the flow's last step: nothing is bound to its data key, as on
    /// the platform, and the flow ends with its data
    #[arg(long)]
    next_step: bool,
    /// No service collects error events and snapshots, as on some installations: nothing is bound to their keys
    #[arg(long)]
    without_collector: bool,
    /// A routing key of the component's own choice that shall lead somewhere; may be repeated. Under others, the flow ends
    #[arg(long = "routing-key", value_name = "KEY")]
    routing_keys: Vec<String>,
}

#[derive(Args, Clone)]
struct ProviderArgs {
    /// The OAuth2 provider has the ways of a well-known one
    #[arg(long = "provider", value_name = "NAME", value_parser = preset)]
    preset: Option<Preset>,
    /// How the OAuth2 provider behaves, a JSON object with members of `emulator::provider::Knobs`
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    knobs: Option<PathBuf>,
    /// Refresh tokens are good once; a second use ends them all
    #[arg(long)]
    rotating: bool,
    /// Seconds for which a spent refresh token may be used again
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// Seconds for which an access token is good
    #[arg(long, value_name = "SECONDS")]
    access_lifetime: Option<u64>,
}

/// What the component works with.
#[derive(Args)]
struct ApiArgs {
    #[command(flatten)]
    provider: ProviderArgs,
    /// A stand-in for a service's API runs too, with sample data. The OAuth2 provider has the ways of the service's
    /// unless told otherwise, and the component finds both in the variables that this repository's component for the
    /// service reads
    #[arg(long, value_name = "NAME")]
    standin: Option<standins::StandinName>,
}

#[derive(Args)]
struct ProviderAlone {
    #[command(flatten)]
    provider: ProviderArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// The port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    port: u16,
    /// Write what an authorization answers to this file, for a configuration
    #[arg(long, value_name = "FILE")]
    issue: Option<PathBuf>,
}

#[derive(Args, Clone)]
struct OutputArgs {
    /// One JSON object per line on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
    /// Do not show what the component prints
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct Run {
    /// The trigger or action to run
    #[arg(long, value_name = "NAME")]
    function: String,
    /// A message to send: an object with a member `body`; any other JSON is the body of one. `-` is standard input; may be
    /// repeated. Without: an empty body
    #[arg(long = "message", value_name = "FILE")]
    messages: Vec<PathBuf>,
    /// A header of all messages, such as reply_to=some.key; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    step: StepArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Another environment variable for the component; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Seconds from the first delivery until all messages must be settled
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    timeout: u64,
    /// Seconds until the component must take a message
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    start_timeout: u64,
    /// How many processes of the component share the messages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    replicas: u16,
    /// The component's command [default: cargo run]
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct Demo {
    /// How many messages come at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    concurrent: u16,
    /// How many processes of the component share them
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    replicas: u16,
    #[command(flatten)]
    provider: ProviderArgs,
    /// One JSON object per line on standard output, everything else on standard error
    #[arg(long)]
    json: bool,
    /// Show what the component prints too
    #[arg(long)]
    log: bool,
    /// The component's command [default: cargo run]
    #[arg(last = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct Up {
    /// The trigger or action that the component is to run
    #[arg(long, value_name = "NAME", default_value = "")]
    function: String,
    #[command(flatten)]
    step: StepArgs,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Write the component's environment to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The broker's port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    broker_port: u16,
    /// The platform's port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    platform_port: u16,
}

#[derive(Args)]
struct Service {
    /// verifyCredentials, getMetaModel or selectModel
    method: String,
    /// The trigger or action, for getMetaModel and selectModel
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// The name of the select model
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Fields and credentials, a JSON object
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Tokens that the component refreshes go into the configuration's file
    #[arg(long, requires = "config")]
    save_keys: bool,
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Another environment variable for the component; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Seconds until the component must have ended
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u64,
    /// The component's command, to which `service METHOD` is added; or with {METHOD} in it
    /// [default: cargo run --]
    #[arg(last = true)]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must look like NAME=VALUE".into()),
    }
}

/// A well-known provider.
#[derive(Clone)]
struct Preset {
    name: String,
    knobs: Knobs,
}

fn preset(name: &str) -> Result<Preset, String> {
    let knobs = Knobs::preset(name)
        .ok_or_else(|| format!("must be one of {}", Knobs::presets().join(", ")))?;
    Ok(Preset {
        name: name.to_owned(),
        knobs,
    })
}

/// Reads the command line and does what it says.
#[must_use]
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

/// The same for a command line of the caller's, beginning with the command's own name: so that tests can do what a guide
/// tells. Not for use inside a tokio runtime; a command line that makes no sense ends the process.
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
        Command::Run(arguments) => {
            let output = arguments.output.clone();
            let mut plan = arguments.plan()?;
            plan.command = cargo::built(plan.command)?;
            run::run(plan, &output.timeline()).await
        }
        Command::Demo(arguments) => {
            let command = cargo::built(arguments.command)?;
            let timeline = Timeline::new(arguments.json, !arguments.log);
            let (provider, profile) = (
                arguments.provider.config()?,
                arguments.provider.preset.map(|preset| preset.name),
            );
            let plan = demo::plan(
                provider,
                profile,
                arguments.concurrent,
                arguments.replicas,
                command,
            );
            run::run(plan, &timeline).await
        }
        Command::Up(arguments) => {
            let timeline = arguments.output.timeline();
            let (broker, platform) = (
                BrokerConfig {
                    port: arguments.broker_port,
                    ..BrokerConfig::default()
                },
                PlatformConfig {
                    port: arguments.platform_port,
                    ..PlatformConfig::default()
                },
            );
            let (provider, standin) = (arguments.api.config()?, arguments.api.standin);
            let keeper = arguments.step.keeper();
            let config = EmulatorConfig {
                broker,
                platform,
                provider,
                ..arguments.step.config(&arguments.function)?
            };
            up::up(config, standin, arguments.env_file, &keeper, &timeline)
                .await
                .map(|()| true)
        }
        Command::Provider(arguments) => {
            let timeline = arguments.output.timeline();
            let config = ProviderConfig {
                port: arguments.port,
                ..arguments.provider.config()?
            };
            serve::provider(config, arguments.issue.as_deref(), &timeline)
                .await
                .map(|()| true)
        }
        Command::Service(arguments) => {
            let output = arguments.output.clone();
            let mut plan = arguments.plan()?;
            plan.command = cargo::built(plan.command)?;
            service::service(plan, &output.timeline()).await
        }
    }
}

impl OutputArgs {
    fn timeline(&self) -> Timeline {
        Timeline::new(self.json, self.quiet)
    }
}

impl ApiArgs {
    fn config(&self) -> Result<ProviderConfig, InputError> {
        let mut provider = self.provider.clone();
        if let Some(standin) = self.standin
            && provider.preset.is_none()
            && provider.knobs.is_none()
        {
            provider.preset = preset(standin.preset()).ok();
        }
        provider.config()
    }
}

impl ProviderArgs {
    fn config(&self) -> Result<ProviderConfig, InputError> {
        let mut knobs = match (&self.preset, &self.knobs) {
            (Some(preset), _) => preset.knobs.clone(),
            (None, Some(path)) => read_as("knobs", path)?,
            (None, None) => Knobs::default(),
        };
        if self.rotating {
            (knobs.rotate, knobs.kill_family_on_reuse) = (true, true);
        }
        if let Some(seconds) = self.grace {
            knobs.grace = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.access_lifetime {
            knobs.access_lifetime = Duration::from_secs(seconds);
        }
        Ok(ProviderConfig {
            knobs,
            ..ProviderConfig::default()
        })
    }
}

impl StepArgs {
    fn keeper(&self) -> Keeper {
        Keeper(self.config.clone().filter(|_| self.save_keys))
    }

    fn config(&self, function: &str) -> Result<EmulatorConfig, InputError> {
        let step = Step {
            function: function.to_owned(),
            config: config(self.config.as_ref())?,
            snapshot: self
                .snapshot
                .as_ref()
                .map_or(Ok(json!({})), |path| read_json("snapshot", path))?,
            is_passthrough: self.passthrough,
            consumes_raw_data: self.raw_webhooks,
            ..Step::default()
        };
        Ok(EmulatorConfig {
            step,
            prefetch: self.prefetch,
            protocol_version: self.protocol,
            startup: self.startup,
            lightweight: self.lightweight,
            rebound_speed_up: self.rebound_speed_up,
            next_step: self.next_step,
            collector: !self.without_collector,
            routing_keys: self.routing_keys.clone(),
            ..EmulatorConfig::default()
        })
    }
}

/// A configuration always names an account, as the platform's do, so that changed keys have somewhere to go.
fn config(path: Option<&PathBuf>) -> Result<Value, InputError> {
    let mut config = path.map_or(Ok(Default::default()), |path| {
        read_object("configuration", path)
    })?;
    config
        .entry("_account")
        .or_insert_with(|| "emulated-account".into());
    Ok(config.into())
}

impl Run {
    fn plan(self) -> Result<Plan, InputError> {
        let mut messages: Vec<Value> = self
            .messages
            .iter()
            .map(|path| read_message(path))
            .collect::<Result<_, InputError>>()?;
        if messages.is_empty() {
            messages.push(json!({"body": {}}));
        }
        Ok(Plan {
            keeper: self.step.keeper(),
            emulator: EmulatorConfig {
                provider: self.api.config()?,
                ..self.step.config(&self.function)?
            },
            standin: self.api.standin,
            messages,
            headers: self
                .headers
                .into_iter()
                .map(|(name, value)| (name, value.into()))
                .collect::<Headers>(),
            command: self.command,
            replicas: self.replicas.into(),
            story: None,
            env: self.env,
            start_timeout: Duration::from_secs(self.start_timeout),
            timeout: Duration::from_secs(self.timeout),
        })
    }
}

impl Service {
    fn plan(self) -> Result<ServicePlan, InputError> {
        Ok(ServicePlan {
            config: config(self.config.as_ref())?,
            keeper: Keeper(self.config.filter(|_| self.save_keys)),
            provider: self.api.config()?,
            standin: self.api.standin,
            method: self.method,
            function: self.function,
            model: self.model,
            command: self.command,
            env: self.env,
            timeout: Duration::from_secs(self.timeout),
        })
    }
}
