//! One emulated step: broker, platform, provider and topology, and everything that its component does.

use crate::{
    broker::{BasicProperties, Broker},
    collector::Collector,
    config::{EmulatorConfig, StartError},
    decode,
    event::Decoder,
    event_log::{EventLog, Events},
    platform::{Platform, Webhook},
    provider::Provider,
    topology::Topology,
    webhook,
};
use http_double::percent_encoded;
use sailor::protocol::{Cipher, Encoding, Headers};
use serde_json::{Map, Value};
use std::{
    fmt,
    sync::{Arc, Weak},
    time::Instant,
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// The step before this one: messages seem to come from it.
const PREVIOUS_STEP: &str = "step_0";
/// The delay of a first rebound on the platform, in milliseconds.
const REBOUND_INITIAL_EXPIRATION: u64 = 15_000;
const EXEC: &str = "emulated-exec";
const USER: &str = "emulated-user";

/// A running emulator. Clones are handles to the same one; it stops with [`Emulator::shutdown`] or the last handle.
///
/// ```
/// use emulator::{Emulator, EmulatorConfig, EventKind};
/// use serde_json::json;
///
/// # async fn example() -> anyhow::Result<()> {
/// let emulator = Emulator::start(EmulatorConfig::default()).await?;
/// let variables = emulator.env(); // start a component with these
/// let id = emulator.send(&json!({"body": {"name": "Ada"}}), &Default::default());
///
/// let mut events = emulator.events();
/// let data = events.find(|event| event.kind == EventKind::Data).await;
/// let acked = events.find(|event| event.kind == EventKind::Acked && event.message_id() == id).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Emulator {
    inner: Arc<Inner>,
}

struct Inner {
    config: EmulatorConfig,
    broker: Broker,
    platform: Platform,
    provider: Provider,
    topology: Topology,
    cipher: Cipher,
    log: Arc<EventLog>,
    _stop: DropGuard,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.log.end();
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Emulator(broker {}, platform {})",
            self.inner.broker.addr(),
            self.inner.platform.addr()
        )
    }
}

impl Emulator {
    /// Starts broker, platform and provider, and declares the step's exchange and queues.
    ///
    /// # Errors
    /// When a port is taken, or the initialisation vector is not 16 bytes long.
    pub async fn start(config: EmulatorConfig) -> Result<Self, StartError> {
        let start = Instant::now();
        let cipher = Cipher::new(&config.crypto_password, &config.crypto_iv)?;
        let (broker, platform, provider) = start_services(&config).await?;
        platform.set_step(&config.flow, config.step.clone());
        let topology = Topology::new(
            &config.workspace,
            &config.flow,
            &config.step.id,
            PREVIOUS_STEP,
        );
        topology.declare(&broker, &config);

        let log = Arc::<EventLog>::default();
        let stop = CancellationToken::new();
        let collector = Collector {
            start,
            flow: config.flow.clone(),
            step: config.step.id.clone(),
            decoder: Decoder::new(cipher.clone(), topology.clone()),
            broker: broker.watch(),
            calls: platform.watch(),
            provider: provider.watch(),
            platform: platform.clone(),
            log: log.clone(),
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(collector.run()));
        let webhooks = platform.webhooks(&config.flow);
        let inner = Arc::new(Inner {
            config,
            broker,
            platform,
            provider,
            topology,
            cipher,
            log,
            _stop: stop.clone().drop_guard(),
        });
        // Weak, so that waiting for requests does not keep the emulator alive.
        let serving = serve_webhooks(webhooks, Arc::downgrade(&inner));
        tokio::spawn(stop.run_until_cancelled_owned(serving));
        Ok(Self { inner })
    }

    /// The broker, to inspect queues and to inject faults.
    #[must_use]
    pub fn broker(&self) -> &Broker {
        &self.inner.broker
    }

    /// The platform, to inspect calls, to change what the step gets, and to inject faults.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        &self.inner.platform
    }

    /// The OAuth2 provider, to issue tokens, to turn its knobs, and to see what happened to its tokens.
    #[must_use]
    pub fn provider(&self) -> &Provider {
        &self.inner.provider
    }

    /// Names of queues and routing keys.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.inner.topology
    }

    /// Encrypts and decrypts payloads as this emulator's platform does.
    #[must_use]
    pub fn cipher(&self) -> &Cipher {
        &self.inner.cipher
    }

    /// Every variable that the platform sets for a step's container (wire-contract: Environment variables).
    #[must_use]
    pub fn env(&self) -> Vec<(String, String)> {
        let Inner {
            config,
            broker,
            platform,
            topology,
            ..
        } = &*self.inner;
        let url = platform.url();
        let expiration =
            (REBOUND_INITIAL_EXPIRATION / u64::from(config.rebound_speed_up.max(1))).max(1);
        let mut variables = vec![
            ("FLOW_ID", config.flow.clone()),
            ("FLOW_TYPE", config.flow_type.clone()),
            ("FLOW_VERSION", "1".into()),
            (
                "FLOW_WEBHOOK_URI",
                format!("{url}/hook/{}", percent_encoded(&config.flow)),
            ),
            ("EXEC_ID", EXEC.into()),
            ("EXEC_TYPE", "flow".into()),
            ("STEP_ID", config.step.id.clone()),
            ("CONTAINER_ID", "emulated-container".into()),
            ("CONTRACT_ID", "emulated-contract".into()),
            ("WORKSPACE_ID", config.workspace.clone()),
            ("TENANT_ID", "emulated-tenant".into()),
            ("USER_ID", USER.into()),
            ("COMP_ID", config.step.comp_id.clone()),
            ("COMP_NAME", config.step.comp_id.clone()),
            ("FUNCTION", config.step.function.clone()),
            ("API_URI", url.clone()),
            ("API_USERNAME", config.platform.username.clone()),
            ("API_KEY", config.platform.key.clone()),
            ("AMQP_URI", broker.uri()),
            ("LISTEN_MESSAGES_ON", topology.input.clone()),
            ("PUBLISH_MESSAGES_TO", topology.exchange.clone()),
            ("DATA_ROUTING_KEY", topology.keys.data.clone()),
            ("ERROR_ROUTING_KEY", topology.keys.error.clone()),
            ("REBOUND_ROUTING_KEY", topology.keys.rebound.clone()),
            ("SNAPSHOT_ROUTING_KEY", topology.keys.snapshot.clone()),
            ("MESSAGE_CRYPTO_PASSWORD", config.crypto_password.clone()),
            ("MESSAGE_CRYPTO_IV", config.crypto_iv.clone()),
            ("PROTOCOL_VERSION", config.protocol_version.to_string()),
            ("RABBITMQ_PREFETCH_SAILOR", config.prefetch.to_string()),
            ("REBOUND_INITIAL_EXPIRATION", expiration.to_string()),
            ("REBOUND_LIMIT", "20".into()),
            ("OBJECT_STORAGE_URI", url),
            (
                "OBJECT_STORAGE_TOKEN",
                config.platform.storage_token.clone(),
            ),
        ];
        // Set only if they are on: some sailors take any value for true.
        if config.startup {
            variables.push(("STARTUP_REQUIRED", "true".into()));
        }
        if config.lightweight {
            variables.push(("EMIT_LIGHTWEIGHT_MESSAGE", "true".into()));
        }
        if config.update_keys_over_broker {
            variables.push(("UPDATE_KEYS_ROUTING_KEY", topology.keys.update_keys.clone()));
        }
        variables
            .into_iter()
            .map(|(name, value)| (format!("ELASTICIO_{name}"), value))
            .collect()
    }

    /// Encrypts a message and puts it into the input queue. Its headers are those of the platform, overridden by `headers`; a
    /// header that is null is left out. Returns the `messageId` header.
    ///
    /// A queue is bound for a `reply_to` header, so that replies are not returned.
    pub fn send(&self, message: &Value, headers: &Headers) -> String {
        let encoding = Encoding::of(self.inner.config.protocol_version);
        let id = message
            .get("id")
            .and_then(Value::as_str)
            .map_or_else(uuid, str::to_owned);
        self.send_raw(
            self.inner
                .cipher
                .encrypt(message.to_string().into(), encoding),
            &id,
            headers,
        )
    }

    /// Puts a payload into the input queue unchanged, for invalid messages and for error events.
    pub fn send_raw(&self, payload: Vec<u8>, message_id: &str, headers: &Headers) -> String {
        let Inner {
            config,
            broker,
            topology,
            ..
        } = &*self.inner;
        let mut table: Map<String, Value> = [
            ("execId", EXEC),
            ("taskId", &config.flow),
            ("workspaceId", &config.workspace),
            ("userId", USER),
            ("stepId", PREVIOUS_STEP),
            ("threadId", &uuid()),
            ("messageId", message_id),
            ("parentMessageId", &uuid()),
        ]
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into_iter()
        .collect();
        if config.protocol_version > 1 {
            table.insert("protocolVersion".into(), config.protocol_version.into());
        }
        table.extend(headers.clone());
        if let Some(Value::String(reply_to)) = table.get("reply_to") {
            topology.capture(broker, reply_to);
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("utf8".into())
            .with_headers(decode::table(&table));
        broker.publish(&topology.exchange, &topology.input_key, properties, payload);
        table
            .get("messageId")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// All events since the start, past and future.
    #[must_use]
    pub fn events(&self) -> Events {
        self.inner.log.read()
    }

    /// Events from now on.
    #[must_use]
    pub fn events_from_now(&self) -> Events {
        self.inner.log.read_on()
    }

    /// Resolves when the input queue is empty and all its deliveries are settled. It does not wait for rebounds. Cancel safe.
    pub async fn settled(&self) {
        self.inner.broker.settled(&self.inner.topology.input).await;
    }

    /// Stops broker, platform and provider. Connections are cut, and all state is lost.
    pub async fn shutdown(&self) {
        self.inner.broker.shutdown().await;
        self.inner.platform.shutdown().await;
        self.inner.provider.shutdown().await;
        self.inner.log.end();
    }
}

async fn start_services(
    config: &EmulatorConfig,
) -> Result<(Broker, Platform, Provider), StartError> {
    let listen = |port| move |cause| StartError::Listen { port, cause };
    let broker = Broker::start(config.broker.clone())
        .await
        .map_err(listen(config.broker.port))?;
    let platform = Platform::start(config.platform.clone())
        .await
        .map_err(listen(config.platform.port))?;
    let provider = Provider::start(config.provider.clone())
        .await
        .map_err(listen(config.provider.port))?;
    Ok((broker, platform, provider))
}

/// Sends a message for each webhook request, and responds when the component replies.
async fn serve_webhooks(mut webhooks: mpsc::UnboundedReceiver<Webhook>, inner: Weak<Inner>) {
    while let Some(webhook) = webhooks.recv().await
        && let Some(inner) = inner.upgrade()
    {
        let emulator = Emulator { inner };
        let reply_key = emulator.topology().reply_key.clone();
        let events = emulator.events_from_now();
        tokio::spawn(async move {
            let send = |message: &Value, headers: &Headers| {
                emulator.send(message, headers);
                // Waiting for a response must not keep the emulator alive.
                drop(emulator);
            };
            webhook::serve(webhook, &reply_key, events, send).await;
        });
    }
}

fn uuid() -> String {
    Uuid::new_v4().to_string()
}
