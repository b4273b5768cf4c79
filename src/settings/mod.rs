//! `ELASTICIO_*` → [`Settings`], by the rules of wire-contract: Environment variables. The only reader of the environment.
//!
//! Reading is pure: [`Settings::read`], [`ServiceSettings::read`] and [`LogSettings::read`] take a function that gives
//! a variable's value. A process hands in [`environment`], a test its own table.

pub mod descriptor;
mod log;
mod memory;
mod oauth;
mod parse;
mod read;
mod reader;
mod service;
#[cfg(test)]
mod tests;

pub use log::LogSettings;
pub use oauth::{OAuthMode, UnknownOAuthMode};
pub use reader::{InvalidVariable, SettingsError};
pub use service::{Method, ResultTarget, ServiceSettings, ServiceStart};

pub(crate) use memory::share_of_one_body;

use crate::protocol::StepIdentity;
use secrecy::SecretString;
use std::{path::PathBuf, time::Duration};

/// The value of a variable of this process. Bytes that are not UTF-8 are replaced.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// True when this process has any `ELASTICIO_*` variable: when the platform has started it, rather than a person.
#[must_use]
pub fn started_by_platform() -> bool {
    any_platform_variable(std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()))
}

/// True when any of these names of variables is one of the platform's.
pub fn any_platform_variable(names: impl IntoIterator<Item = impl AsRef<str>>) -> bool {
    names
        .into_iter()
        .any(|name| name.as_ref().starts_with(reader::PREFIX))
}

/// The folder that holds component.json, relative to the working directory: `COMPONENT_PATH`, else the empty path.
pub fn component_path(get: impl Fn(&str) -> Option<String>) -> PathBuf {
    // The platform's value may begin with a slash and still means a folder below the working directory.
    get("ELASTICIO_COMPONENT_PATH")
        .unwrap_or_default()
        .trim_start_matches('/')
        .into()
}

/// How a step runs: everything the platform says by environment variables.
#[derive(Debug)]
pub struct Settings {
    /// Who this step is.
    pub identity: StepIdentity,
    /// The platform's REST API.
    pub api: ApiSettings,
    /// Where large bodies are kept, if anywhere.
    pub object_storage: Option<ObjectStorageSettings>,
    /// `ADDITIONAL_VARS_FOR_HEADERS`: header names and their values.
    pub additional_headers: Vec<(String, String)>,
    /// `FLOW_WEBHOOK_URI`: where requests from outside reach the flow, for hooks that subscribe to something.
    pub webhook_uri: Option<String>,
    /// `OAUTH_MODE` (our own): when access tokens are refreshed, whatever the component says.
    pub oauth_mode: Option<OAuthMode>,
    /// What the process is to do.
    pub mode: Mode,
    /// What is odd about the variables but can be lived with: to be logged at the start.
    pub warnings: Vec<String>,
}

/// What the process is to do.
#[derive(Debug)]
pub enum Mode {
    /// Work on messages.
    Run(Box<RunSettings>),
    /// `HOOK_SHUTDOWN`: run the module's shutdown hook and end.
    ShutdownHook,
}

/// The platform's REST API and the credentials for it.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// `API_URI` without trailing slashes.
    pub uri: String,
    /// `API_USERNAME`.
    pub username: String,
    /// `API_KEY`.
    pub key: SecretString,
    /// `API_REQUEST_RETRY_ATTEMPTS`: how often a request is tried in all; none means for half a minute.
    pub attempts: Option<u32>,
    /// `API_REQUEST_RETRY_DELAY`: the pause between tries; none means that pauses grow.
    pub retry_delay: Option<Duration>,
    /// `CONFIGURATION_SIZE_LIMIT` (our own), in bytes: how much is read of a step, an account or a secret.
    pub configuration_limit: usize,
}

/// Object storage ("maester").
#[derive(Clone, Debug)]
pub struct ObjectStorageSettings {
    /// `OBJECT_STORAGE_URI` without trailing slashes.
    pub uri: String,
    /// `OBJECT_STORAGE_TOKEN`, sent as a bearer token as it is.
    pub token: SecretString,
    /// `REQUEST_MAX_RETRY`: tries after the first; none means for half a minute.
    pub retries: Option<u32>,
    /// `REQUEST_TIMEOUT`: for one try.
    pub timeout: Duration,
    /// `OBJECT_STORAGE_SIZE_LIMIT` (our own), in bytes: how much is read of one body; none means by the container's
    /// memory.
    pub size_limit: Option<usize>,
}

/// Settings of a step that works on messages.
#[derive(Debug)]
pub struct RunSettings {
    /// The broker.
    pub amqp: AmqpSettings,
    /// `MESSAGE_CRYPTO_PASSWORD`.
    pub crypto_password: SecretString,
    /// `MESSAGE_CRYPTO_IV`, 16 bytes of text.
    pub crypto_iv: SecretString,
    /// `PROTOCOL_VERSION` of data that goes out.
    pub protocol_version: i64,
    /// `INPUT_FORMAT` is `error`: messages are error events (wire-contract: Error events as input).
    pub input_is_error: bool,
    /// `STARTUP_REQUIRED`: run the module's startup hook first.
    pub startup_required: bool,
    /// `NO_SELF_PASSTRHOUGH` (the platform's spelling).
    pub no_self_passthrough: bool,
    /// Not `NO_ERROR_REPLIES`: errors are copied to who waits for an answer.
    pub error_replies: bool,
    /// `EMIT_LIGHTWEIGHT_MESSAGE`: large bodies go to object storage.
    pub emit_lightweight: bool,
    /// `OBJECT_STORAGE_SIZE_THRESHOLD`, in bytes.
    pub lightweight_threshold: usize,
    /// `OUTGOING_MESSAGE_SIZE_LIMIT`, in bytes after encryption.
    pub outgoing_size_limit: usize,
    /// Events per interval.
    pub rates: RateSettings,
    /// `OAUTH_LOCK` (our own) is `broker`: replicas refresh one after the other.
    pub oauth_lock: bool,
    /// `SHUTDOWN_TIMEOUT` (our own): how long running messages may take after SIGTERM, 25 s by default.
    pub shutdown_timeout: Duration,
}

/// How many events may go out per interval.
#[derive(Clone, Debug)]
pub struct RateSettings {
    /// `DATA_RATE_LIMIT`.
    pub data: u32,
    /// `ERROR_RATE_LIMIT`.
    pub error: u32,
    /// `SNAPSHOT_RATE_LIMIT`.
    pub snapshot: u32,
    /// `RATE_INTERVAL`.
    pub interval: Duration,
}

/// The broker: where to connect, what to consume, where to publish.
#[derive(Clone, Debug)]
pub struct AmqpSettings {
    /// `AMQP_URI`; it holds a password.
    pub uri: SecretString,
    /// `LISTEN_MESSAGES_ON`: the queue.
    pub queue: String,
    /// `PUBLISH_MESSAGES_TO`: the exchange.
    pub exchange: String,
    /// `DATA_ROUTING_KEY`.
    pub data_key: String,
    /// `ERROR_ROUTING_KEY`.
    pub error_key: String,
    /// `REBOUND_ROUTING_KEY`.
    pub rebound_key: String,
    /// `SNAPSHOT_ROUTING_KEY`.
    pub snapshot_key: String,
    /// `UPDATE_KEYS_ROUTING_KEY`, where the platform takes new credentials over its queue.
    pub update_keys_key: Option<String>,
    /// `RABBITMQ_PREFETCH_SAILOR`: how many messages are worked on at once.
    pub prefetch: u16,
    /// `AMQP_PERSISTENT_MESSAGES`.
    pub persistent: bool,
    /// `REBOUND_INITIAL_EXPIRATION`.
    pub rebound_initial_expiration: Duration,
    /// `REBOUND_LIMIT`.
    pub rebound_limit: u32,
    /// `AMQP_PUBLISH_RETRY_DELAY`: the pause before the second try of a publish; doubles each time.
    pub publish_retry_delay: Duration,
    /// `AMQP_PUBLISH_MAX_RETRY_DELAY`: the longest pause.
    pub publish_max_retry_delay: Duration,
    /// `AMQP_PUBLISH_RETRY_ATTEMPTS`: tries in all; none means without end.
    pub publish_attempts: Option<u32>,
    /// `UNBOUND_ROUTING_KEYS` (our own) is `error`: data and snapshots that no queue is bound for are an error, rather
    /// than the end of the flow.
    pub absence_is_error: bool,
    /// `BINDING_TIMEOUT` (our own): how long a queue for rebounds and error events is waited for, where none has been
    /// bound yet; 30 s by default.
    pub binding_timeout: Duration,
    /// `AMQP_RECONNECT_ATTEMPTS`: tries after the first when the process starts; later there is no end.
    pub connect_retries: u32,
    /// `AMQP_RECONNECT_TIMEOUT`: the pause between these.
    pub connect_retry_delay: Duration,
}
