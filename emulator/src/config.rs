//! The configuration of the emulated flow, and its start errors.

use crate::{
    broker::BrokerConfig,
    platform::{PlatformConfig, Step},
    provider::ProviderConfig,
};
use sailor::protocol::CipherError;
use std::{fmt, io};

/// The configuration of the emulated flow.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// The broker.
    pub broker: BrokerConfig,
    /// The REST API and object storage.
    pub platform: PlatformConfig,
    /// The OAuth2 provider.
    pub provider: ProviderConfig,
    /// The workspace's id.
    pub workspace: String,
    /// The flow's id.
    pub flow: String,
    /// `ordinary`, `debug` or `long_running`.
    pub flow_type: String,
    /// The one step, with its function, configuration and snapshot.
    pub step: Step,
    /// How many messages the component processes at once.
    pub prefetch: u16,
    /// The encoding of messages in both directions: 1 is base64, 2 is raw.
    pub protocol_version: i64,
    /// Whether the component runs its startup hook.
    pub startup: bool,
    /// Whether changed keys can go over the broker as well as over REST.
    pub update_keys_over_broker: bool,
    /// Whether large bodies go through object storage.
    pub lightweight: bool,
    /// The factor by which rebounds are faster than on the platform, where the longest delay is ten minutes.
    pub rebound_speed_up: u32,
    /// Whether there is a step after this one. Its queue is bound to this step's data key. Nothing is bound to the data key
    /// of a flow's last step.
    pub next_step: bool,
    /// Whether services collect error events and snapshots. On some installations nothing is bound to their keys.
    pub collector: bool,
    /// Custom routing keys to bind queues to. Unbound keys end the flow.
    pub routing_keys: Vec<String>,
    /// The password of all payloads.
    pub crypto_password: String,
    /// The initialisation vector of all payloads: 16 bytes of text.
    pub crypto_iv: String,
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            broker: BrokerConfig::default(),
            platform: PlatformConfig::default(),
            provider: ProviderConfig::default(),
            workspace: "emulated-workspace".into(),
            flow: "emulated-flow".into(),
            flow_type: "ordinary".into(),
            step: Step::default(),
            prefetch: 1,
            protocol_version: 1,
            startup: false,
            update_keys_over_broker: false,
            lightweight: false,
            rebound_speed_up: 1,
            next_step: false,
            collector: true,
            routing_keys: Vec::new(),
            crypto_password: "emulator-crypto-password".into(),
            crypto_iv: "emulator-iv-0016".into(),
        }
    }
}

impl fmt::Debug for EmulatorConfig {
    /// Shows neither passwords nor the step's configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = f.debug_struct("EmulatorConfig");
        config
            .field("flow", &self.flow)
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

/// Why the emulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error(
        "the emulator cannot listen on port {port} of 127.0.0.1: {cause}; another emulator may be running, port 0 takes a free one"
    )]
    Listen {
        /// The port.
        port: u16,
        /// The operating system's error.
        cause: io::Error,
    },
    /// The password or the initialisation vector is not valid.
    #[error(transparent)]
    Cipher(#[from] CipherError),
}
