//! The settings of a process: environment variables become typed values (wire-contract: Environment variables), and
//! component.json becomes a [`Descriptor`](descriptor::Descriptor). This folder does not depend on clients, the broker
//! or modules: it only reads the configuration.
//!
//! This is the only folder that reads the environment. [`Settings::read`], [`ServiceSettings::read`] and
//! [`LogSettings::read`] take a function that returns the value of a variable. A process passes [`environment`], a test
//! its own table.

mod cpu_limit;
pub mod descriptor;
mod env_reader;
mod inspect;
pub mod lint;
mod log;
mod memory_limit;
mod oauth;
mod parse;
mod service;
mod step;
pub(crate) mod template;
#[cfg(test)]
mod tests;
mod tls;
mod trace;
mod variable;
mod variables;

pub(crate) use cpu_limit::container_cpus;
pub use env_reader::{InvalidVariable, SettingsError};
pub(crate) use inspect::{CryptoSettings, QueueSettings};
pub use log::{LogFormat, LogSettings};
pub use memory_limit::MemoryShares;
pub(crate) use memory_limit::system_limit;
pub(crate) use oauth::MODE_VARIABLE as OAUTH_MODE_VARIABLE;
pub use oauth::{OAuthMode, UnknownOAuthMode};
pub use service::{Method, ResultTarget, ServiceSettings, ServiceStart};
pub(crate) use step::health_port;
pub use tls::{NamedFile, TlsSettings};
pub(crate) use trace::{Sampling, TraceSettings};
#[doc(hidden)]
pub use variable::{IfUnset, Kind, Section, Variable};
#[doc(hidden)]
pub use variables::VARIABLES;

use crate::protocol::StepIdentity;
use secrecy::SecretString;
use std::{path::PathBuf, time::Duration};

/// How often a request to object storage is retried in a one-time call, and in a step whose setting is no such number.
const STORAGE_RETRIES: u32 = 2;
/// The default of `OUTGOING_MESSAGE_SIZE_LIMIT`, in bytes after encryption.
pub(crate) const OUTGOING_MESSAGE_SIZE_LIMIT: u32 = 10 << 20;

/// Returns the value of an environment variable of this process. Bytes that are not UTF-8 become U+FFFD.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Returns true if this process has any `ELASTICIO_*` variable, that is, if the platform has started it.
#[must_use]
pub fn started_by_platform() -> bool {
    std::env::vars_os().any(|(name, _)| is_platform_variable(&name.to_string_lossy()))
}

fn is_platform_variable(name: &str) -> bool {
    name.starts_with(env_reader::PREFIX)
}

/// Reads `COMPONENT_PATH`: the folder of component.json, relative to the working directory. The default is the empty path.
///
/// ```
/// use sailor::settings::component_path;
/// use std::path::Path;
///
/// let path = component_path(|name| (name == "ELASTICIO_COMPONENT_PATH").then(|| "/mail".to_owned()));
/// assert_eq!(path, Path::new("mail"));
/// ```
pub fn component_path(get: impl Fn(&str) -> Option<String>) -> PathBuf {
    // The value is relative, even if it begins with a slash.
    get(variables::COMPONENT_PATH.name)
        .unwrap_or_default()
        .trim_start_matches('/')
        .into()
}

/// The settings of a step.
#[derive(Debug)]
pub struct Settings {
    /// The identity of this step.
    pub identity: StepIdentity,
    /// The platform's REST API.
    pub api: ApiSettings,
    /// Object storage, if it is configured.
    pub object_storage: Option<ObjectStorageSettings>,
    /// `ADDITIONAL_VARS_FOR_HEADERS`: names and values of headers.
    pub additional_headers: Vec<(String, String)>,
    /// `FLOW_WEBHOOK_URI`: the URL at which the flow receives requests. Hooks subscribe it to events of an API.
    pub webhook_uri: Option<String>,
    /// `OAUTH_MODE` (our own): when access tokens are refreshed. It overrides the component's choice.
    pub oauth_mode: Option<OAuthMode>,
    /// What the process does.
    pub mode: Mode,
    /// Values that are unusual but usable, to be logged at the start.
    pub warnings: Vec<String>,
}

/// What the process does.
#[derive(Debug)]
pub enum Mode {
    /// Process messages.
    Run(Box<RunSettings>),
    /// `HOOK_SHUTDOWN`: run the module's shutdown hook and exit.
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
    /// `API_REQUEST_RETRY_ATTEMPTS`: the number of attempts of a request. Without it, a request is retried for 30 s.
    pub attempts: Option<u32>,
    /// `API_REQUEST_RETRY_DELAY`: the delay between attempts. If neither variable is set, the delays grow.
    pub retry_delay: Option<Duration>,
    /// `CONFIGURATION_SIZE_LIMIT` (our own): the largest step, account or secret that is read, in bytes.
    pub configuration_limit: usize,
}

/// Object storage ("maester").
#[derive(Clone, Debug)]
pub struct ObjectStorageSettings {
    /// `OBJECT_STORAGE_URI` without trailing slashes.
    pub uri: String,
    /// `OBJECT_STORAGE_TOKEN`, which is sent unchanged as a bearer token.
    pub token: SecretString,
    /// `REQUEST_MAX_RETRY`: the number of retries. Without it, a request is retried for 30 s.
    pub retries: Option<u32>,
    /// `REQUEST_TIMEOUT`: the time limit of one attempt.
    pub timeout: Duration,
    /// `OBJECT_STORAGE_SIZE_LIMIT` (our own): the largest body that is read, in bytes. By default the largest one
    /// that the memory limit allows.
    pub size_limit: Option<usize>,
}

/// The settings of a step that processes messages.
#[derive(Debug)]
pub struct RunSettings {
    /// The broker.
    pub amqp: AmqpSettings,
    /// `MESSAGE_CRYPTO_PASSWORD`.
    pub crypto_password: SecretString,
    /// `MESSAGE_CRYPTO_IV`, 16 bytes of text.
    pub crypto_iv: SecretString,
    /// `PROTOCOL_VERSION` of emitted data.
    pub protocol_version: i64,
    /// `INPUT_FORMAT` is `error`: incoming messages are error events (wire-contract: Error events as input).
    pub input_is_error: bool,
    /// `STARTUP_REQUIRED`: run the module's startup hook first.
    pub startup_required: bool,
    /// `NO_SELF_PASSTRHOUGH` (the platform's spelling).
    pub no_self_passthrough: bool,
    /// Whether an error is also sent as a reply to the request that started the flow. `NO_ERROR_REPLIES` turns this
    /// off.
    pub error_replies: bool,
    /// `EMIT_LIGHTWEIGHT_MESSAGE`: large bodies are stored in object storage.
    pub emit_lightweight: bool,
    /// `OBJECT_STORAGE_SIZE_THRESHOLD`: larger bodies are stored in object storage. In bytes.
    pub lightweight_threshold: usize,
    /// `OUTGOING_MESSAGE_SIZE_LIMIT`, in bytes after encryption.
    pub outgoing_size_limit: usize,
    /// Rate limits of events.
    pub rates: RateSettings,
    /// `OAUTH_LOCK` (our own) is not `off`: replicas refresh a credential one at a time, with a lock on the broker.
    pub oauth_lock: bool,
    /// `PROCESS_TIMEOUT` (our own): how long the module may take for one message. Without it there is no limit.
    pub process_timeout: Option<Duration>,
    /// `DEDUPLICATE` (our own): messages that the step has finished before are dropped, and events that are emitted again
    /// have the same ids.
    pub deduplicate: bool,
    /// `HEALTH_PORT` (our own): where health and metrics are served over HTTP. Without it nothing listens.
    pub health_port: Option<u16>,
    /// `SHUTDOWN_TIMEOUT` (our own): how long messages in progress may take after SIGTERM; 25 s by default.
    pub shutdown_timeout: Duration,
}

/// How many events may be published per interval.
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

/// The broker: its URI, the queue to consume and the exchange to publish to.
#[derive(Clone, Debug)]
pub struct AmqpSettings {
    /// `AMQP_URI`, which contains a password.
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
    /// `UPDATE_KEYS_ROUTING_KEY`, if the platform takes refreshed credentials from a queue.
    pub update_keys_key: Option<String>,
    /// `RABBITMQ_PREFETCH_SAILOR`: how many messages are processed at the same time.
    pub prefetch: u16,
    /// `MEMORY_LIMIT` (our own), or the system's limit: what messages may take, which can lower the prefetch.
    pub memory: MemoryShares,
    /// `AMQP_PERSISTENT_MESSAGES`.
    pub persistent: bool,
    /// `REBOUND_INITIAL_EXPIRATION`.
    pub rebound_initial_expiration: Duration,
    /// `REBOUND_LIMIT`.
    pub rebound_limit: u32,
    /// `AMQP_PUBLISH_RETRY_DELAY`: the delay before the second attempt of a publish. It doubles with each attempt.
    pub publish_retry_delay: Duration,
    /// `AMQP_PUBLISH_MAX_RETRY_DELAY`: the longest delay.
    pub publish_max_retry_delay: Duration,
    /// `AMQP_PUBLISH_RETRY_ATTEMPTS`: the number of attempts. Without it there is no limit.
    pub publish_attempts: Option<u32>,
    /// `UNBOUND_ROUTING_KEYS` (our own) is `error`: data or a snapshot with an unbound routing key is an error, rather
    /// than the end of the flow.
    pub unbound_is_error: bool,
    /// `BINDING_TIMEOUT` (our own): how long to wait for the first binding of the queues for rebounds and error events;
    /// 30 s by default.
    pub binding_timeout: Duration,
    /// `REFUSAL_TIMEOUT` (our own): how long the broker may refuse while the process runs, because the queue, the exchange
    /// or the user's rights are gone; 60 s by default.
    pub refusal_timeout: Duration,
    /// `AMQP_RECONNECT_ATTEMPTS`: the number of retries of the first connection. Later reconnects have no limit.
    pub connect_retries: u32,
    /// `AMQP_RECONNECT_TIMEOUT`: the delay between these retries.
    pub connect_retry_delay: Duration,
}
