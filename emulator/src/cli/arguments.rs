//! The arguments of the commands.

use crate::{provider::Knobs, standins::StandinName};
use clap::Args;
use std::path::PathBuf;

/// The platform, and the step on it.
#[derive(Args, Clone)]
pub(super) struct PlatformArgs {
    #[command(flatten)]
    pub(super) step: StepArgs,
    #[command(flatten)]
    pub(super) api: ApiArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// What the component is configured with.
#[derive(Args, Clone)]
pub(super) struct ConfigArgs {
    /// Fields and credentials, a JSON object
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Write refreshed tokens to the configuration file, because the provider may no longer accept the old ones
    #[arg(long, requires = "config")]
    pub(super) save_keys: bool,
}

#[derive(Args, Clone)]
pub(super) struct StepArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// The step's snapshot, JSON
    #[arg(long, value_name = "FILE")]
    pub(super) snapshot: Option<PathBuf>,
    /// Turn passthrough on: the step passes on what earlier steps emitted, from `passthrough` in the message file
    #[arg(long)]
    pub(super) passthrough: bool,
    /// How many messages the component processes at once
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) prefetch: u16,
    /// The encoding of messages: 1 is base64, 2 is raw
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..=2))]
    pub(super) protocol: i64,
    /// Run the component's startup hook
    #[arg(long)]
    pub(super) startup: bool,
    /// Do not parse the bodies of webhook requests, as for a component.json with consumesRawData
    #[arg(long)]
    pub(super) raw_webhooks: bool,
    /// Send large bodies through object storage
    #[arg(long)]
    pub(super) lightweight: bool,
    /// Speed up rebounds by this factor; on the platform the first takes 15 s
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rebound_speed_up: u32,
    /// Make this the last step of its flow: as on the platform, nothing is bound to its data key, and the flow ends there
    #[arg(long)]
    pub(super) without_next_step: bool,
    /// Do not collect error events and snapshots, as on some installations: nothing is bound to their keys
    #[arg(long)]
    pub(super) without_collector: bool,
    /// A custom routing key to bind a queue to; may be repeated. Unbound keys end the flow
    #[arg(long = "routing-key", value_name = "KEY")]
    pub(super) routing_keys: Vec<String>,
}

#[derive(Args, Clone)]
pub(super) struct ProviderArgs {
    /// Make the OAuth2 provider behave like this well-known one
    #[arg(long = "provider", value_name = "NAME", value_parser = preset)]
    pub(super) preset: Option<Preset>,
    /// The OAuth2 provider's behavior, a JSON object with members of `emulator::provider::Knobs`
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    pub(super) knobs: Option<PathBuf>,
    /// What goes wrong with responses of the API, the provider's and the stand-in's: a JSON object with members of
    /// `emulator::provider::Trouble`
    #[arg(long, value_name = "FILE")]
    pub(super) trouble: Option<PathBuf>,
    /// Refresh tokens can be used once; a second use revokes them all
    #[arg(long)]
    pub(super) rotating: bool,
    /// How many seconds a spent refresh token can be used again
    #[arg(long, value_name = "SECONDS")]
    pub(super) grace: Option<u64>,
    /// Lifetime of an access token in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(super) access_lifetime: Option<u64>,
}

/// The services that the component uses.
#[derive(Args, Clone)]
pub(super) struct ApiArgs {
    #[command(flatten)]
    pub(super) provider: ProviderArgs,
    /// Start a stand-in for a service's API too, with sample data. The OAuth2 provider behaves like the service's, unless
    /// --provider or --knobs is given. The addresses of both are in the variables that this repository's component for
    /// the service reads
    #[arg(long, value_name = "NAME")]
    pub(super) standin: Option<StandinName>,
}

#[derive(Args)]
pub(super) struct ProviderCommand {
    #[command(flatten)]
    pub(super) provider: ProviderArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    /// The port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(super) port: u16,
    /// Write the token response of an authorization to this file
    #[arg(long, value_name = "FILE")]
    pub(super) issue: Option<PathBuf>,
}

#[derive(Args, Clone, Copy)]
pub(super) struct OutputArgs {
    /// Print one JSON object per line to standard output, and everything else to standard error
    #[arg(long)]
    pub(super) json: bool,
    /// Do not show the component's output
    #[arg(long)]
    pub(super) quiet: bool,
}

/// The messages to send.
#[derive(Args, Clone)]
pub(super) struct MessageArgs {
    /// A message to send: an object with a member `body`; any other object is the body. `-` is standard input; may be
    /// repeated [default: a message with an empty body]
    #[arg(long = "message", value_name = "FILE")]
    pub(super) messages: Vec<PathBuf>,
    /// A header for all messages, such as reply_to=some.key; may be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) headers: Vec<(String, String)>,
}

/// What the component is, and its environment.
#[derive(Args, Clone)]
pub(super) struct EnvironmentArgs {
    /// The component's component.json [default: that of the package that cargo runs, or of this folder]
    #[arg(long, value_name = "FILE")]
    pub(super) descriptor: Option<PathBuf>,
    /// An environment variable for the component; may be repeated
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) env: Vec<(String, String)>,
    /// A file with variables for the component, NAME=VALUE in each line; may be repeated. `.env` of this folder is read anyway
    #[arg(long = "env-file", value_name = "FILE")]
    pub(super) env_files: Vec<PathBuf>,
    /// Leave {{…}} in files as it is
    #[arg(long)]
    pub(super) no_placeholders: bool,
}

#[derive(Args)]
pub(super) struct SendArgs {
    #[command(flatten)]
    pub(super) messages: MessageArgs,
    /// The platform's address, which `emulator up` prints [default: that of the `emulator up` in this folder]
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<String>,
    /// Print one JSON object per message to standard output, and everything else to standard error
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Args, Clone)]
pub(super) struct RunArgs {
    /// The trigger or action to run [default: the only one of component.json]
    #[arg(long, value_name = "NAME")]
    pub(super) function: Option<String>,
    #[command(flatten)]
    pub(super) messages: MessageArgs,
    #[command(flatten)]
    pub(super) platform: PlatformArgs,
    #[command(flatten)]
    pub(super) environment: EnvironmentArgs,
    /// Record the run for a test: the message, the configuration, the component's HTTP exchanges and its events, without
    /// secrets. `emulator::replay` compares them with a later run. The file is written only if the message is acknowledged
    /// without an error event
    #[arg(long, value_name = "FILE", conflicts_with_all = ["watch", "startup", "shutdown", "replicas", "lightweight"])]
    pub(super) record: Option<PathBuf>,
    /// At the end, start the component once more to run its shutdown hook, as the platform does when a flow is stopped
    #[arg(long)]
    pub(super) shutdown: bool,
    /// When a source or a file of this command changes, build the component and run it again, until Ctrl-C
    #[arg(long)]
    pub(super) watch: bool,
    /// How many seconds after the first delivery all messages must be settled
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) timeout: u64,
    /// How many seconds the component may take until the first delivery
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(super) start_timeout: u64,
    #[command(flatten)]
    pub(super) component: ComponentArgs,
}

/// The processes of the component.
#[derive(Args, Clone)]
pub(super) struct ComponentArgs {
    /// How many processes of the component share the messages
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) replicas: u16,
    /// The component's command [default: cargo run]
    #[arg(last = true)]
    pub(super) command: Vec<String>,
}

#[derive(Args)]
pub(super) struct DemoArgs {
    /// How many messages to send at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) concurrent: u16,
    #[command(flatten)]
    pub(super) provider: ProviderArgs,
    /// Print one JSON object per line to standard output, and everything else to standard error
    #[arg(long)]
    pub(super) json: bool,
    /// Show the component's output too
    #[arg(long)]
    pub(super) log: bool,
    #[command(flatten)]
    pub(super) component: ComponentArgs,
}

#[derive(Args)]
pub(super) struct UpArgs {
    /// The trigger or action to run [default: the only one of component.json]
    #[arg(long, value_name = "NAME")]
    pub(super) function: Option<String>,
    #[command(flatten)]
    pub(super) platform: PlatformArgs,
    #[command(flatten)]
    pub(super) environment: EnvironmentArgs,
    /// Write the component's environment to this file instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(super) write_env: Option<PathBuf>,
    /// The broker's port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(super) broker_port: u16,
    /// The platform's port [default: a free one]
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(super) platform_port: u16,
}

#[derive(Args)]
pub(super) struct ServiceArgs {
    /// verifyCredentials, getMetaModel or selectModel
    pub(super) method: String,
    /// The trigger or action, for getMetaModel and selectModel
    #[arg(long, value_name = "NAME")]
    pub(super) function: Option<String>,
    /// The name of the select model
    #[arg(long, value_name = "NAME")]
    pub(super) model: Option<String>,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    #[command(flatten)]
    pub(super) api: ApiArgs,
    #[command(flatten)]
    pub(super) output: OutputArgs,
    #[command(flatten)]
    pub(super) environment: EnvironmentArgs,
    /// How many seconds the component may take
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(super) timeout: u64,
    /// The component's command. {METHOD} is replaced by the method. Without it, the method is appended: to a script of the Node
    /// sailor alone, otherwise as `service METHOD` [default: cargo run --]
    #[arg(last = true)]
    pub(super) command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("must look like NAME=VALUE".into()),
    }
}

/// The behavior of a well-known provider.
#[derive(Clone)]
pub(super) struct Preset {
    pub(super) name: String,
    pub(super) knobs: Knobs,
}

pub(super) fn preset(name: &str) -> Result<Preset, String> {
    let knobs = Knobs::preset(name)
        .ok_or_else(|| format!("must be one of {}", Knobs::presets().join(", ")))?;
    Ok(Preset {
        name: name.to_owned(),
        knobs,
    })
}
