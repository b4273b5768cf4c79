//! One emulated step: broker, platform, provider and topology, and everything that its component does.

use crate::{
    broker::{BasicProperties, Broker},
    collector::Collector,
    config::{EmulatorConfig, StartError},
    decode,
    event::{Decoder, Event},
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
    fmt, io,
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
    others: mpsc::UnboundedSender<Event>,
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
        let (others, received) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let collector = Collector {
            start,
            flow: config.flow.clone(),
            step: config.step.id.clone(),
            decoder: Decoder::new(cipher.clone(), topology.clone()),
            broker: broker.watch(),
            calls: platform.watch(),
            provider: provider.watch(),
            others: received,
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
            others,
            _stop: stop.clone().drop_guard(),
        });
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
        let inner = &self.inner;
        [
            inner.identity(),
            inner.services(),
            inner.routes(),
            inner.messages(),
            inner.switches(),
        ]
        .into_iter()
        .flatten()
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

    /// Returns where other parts of the emulator tell what happened.
    pub(crate) fn others(&self) -> mpsc::UnboundedSender<Event> {
        self.inner.others.clone()
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

type Variables = Vec<(&'static str, String)>;

impl Inner {
    /// Which step of which flow it is, and whose.
    fn identity(&self) -> Variables {
        let EmulatorConfig {
            flow,
            flow_type,
            step,
            workspace,
            ..
        } = &self.config;
        let webhook = format!("{}/hook/{}", self.platform.url(), percent_encoded(flow));
        vec![
            ("FLOW_ID", flow.clone()),
            ("FLOW_TYPE", flow_type.clone()),
            ("FLOW_VERSION", "1".into()),
            ("FLOW_WEBHOOK_URI", webhook),
            ("EXEC_ID", EXEC.into()),
            ("EXEC_TYPE", "flow".into()),
            ("STEP_ID", step.id.clone()),
            ("CONTAINER_ID", "emulated-container".into()),
            ("CONTRACT_ID", "emulated-contract".into()),
            ("WORKSPACE_ID", workspace.clone()),
            ("TENANT_ID", "emulated-tenant".into()),
            ("USER_ID", USER.into()),
            ("COMP_ID", step.comp_id.clone()),
            ("COMP_NAME", step.comp_id.clone()),
            ("FUNCTION", step.function.clone()),
        ]
    }

    /// Where broker, REST API and object storage are.
    fn services(&self) -> Variables {
        let (url, platform) = (self.platform.url(), &self.config.platform);
        vec![
            ("API_URI", url.clone()),
            ("API_USERNAME", platform.username.clone()),
            ("API_KEY", platform.key.clone()),
            ("AMQP_URI", self.broker.uri()),
            ("OBJECT_STORAGE_URI", url),
            ("OBJECT_STORAGE_TOKEN", platform.storage_token.clone()),
        ]
    }

    /// The step's queue, exchange and routing keys.
    fn routes(&self) -> Variables {
        let Topology {
            input,
            exchange,
            keys,
            ..
        } = &self.topology;
        vec![
            ("LISTEN_MESSAGES_ON", input.clone()),
            ("PUBLISH_MESSAGES_TO", exchange.clone()),
            ("DATA_ROUTING_KEY", keys.data.clone()),
            ("ERROR_ROUTING_KEY", keys.error.clone()),
            ("REBOUND_ROUTING_KEY", keys.rebound.clone()),
            ("SNAPSHOT_ROUTING_KEY", keys.snapshot.clone()),
        ]
    }

    /// How messages are encoded, taken and rebounded.
    fn messages(&self) -> Variables {
        let config = &self.config;
        let speed_up = u64::from(config.rebound_speed_up.max(1));
        let expiration = (REBOUND_INITIAL_EXPIRATION / speed_up).max(1);
        vec![
            ("MESSAGE_CRYPTO_PASSWORD", config.crypto_password.clone()),
            ("MESSAGE_CRYPTO_IV", config.crypto_iv.clone()),
            ("PROTOCOL_VERSION", config.protocol_version.to_string()),
            ("RABBITMQ_PREFETCH_SAILOR", config.prefetch.to_string()),
            ("REBOUND_INITIAL_EXPIRATION", expiration.to_string()),
            ("REBOUND_LIMIT", "20".into()),
        ]
    }

    /// What is set only if it is on: some sailors take any value for true.
    fn switches(&self) -> Variables {
        let mut variables = Vec::new();
        if self.config.startup {
            variables.push(("STARTUP_REQUIRED", "true".into()));
        }
        if self.config.lightweight {
            variables.push(("EMIT_LIGHTWEIGHT_MESSAGE", "true".into()));
        }
        if self.config.update_keys_over_broker {
            let key = self.topology.keys.update_keys.clone();
            variables.push(("UPDATE_KEYS_ROUTING_KEY", key));
        }
        variables
    }
}

async fn start_services(
    config: &EmulatorConfig,
) -> Result<(Broker, Platform, Provider), StartError> {
    let broker = Broker::start(config.broker.clone())
        .await
        .map_err(cannot_listen(config.broker.port))?;
    let platform = Platform::start(config.platform.clone())
        .await
        .map_err(cannot_listen(config.platform.port))?;
    let provider = Provider::start(config.provider.clone())
        .await
        .map_err(cannot_listen(config.provider.port))?;
    Ok((broker, platform, provider))
}

fn cannot_listen(port: u16) -> impl FnOnce(io::Error) -> StartError {
    move |cause| StartError::Listen { port, cause }
}

/// Sends a message for each webhook request, and responds when the component replies. Does not keep the emulator alive while
/// it waits for a request or a reply.
async fn serve_webhooks(mut webhooks: mpsc::UnboundedReceiver<Webhook>, inner: Weak<Inner>) {
    while let Some(Webhook { message, respond }) = webhooks.recv().await
        && let Some(inner) = inner.upgrade()
    {
        let emulator = Emulator { inner };
        let events = emulator.events_from_now();
        let thread = uuid();
        let reply_key = &emulator.topology().reply_key;
        emulator.send(&message, &webhook::headers(&thread, reply_key));
        tokio::spawn(webhook::respond(respond, events, thread));
    }
}

fn uuid() -> String {
    Uuid::new_v4().to_string()
}
