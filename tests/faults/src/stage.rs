//! Everything that a step runs on: broker, platform, provider, the relays before them, and its replicas.

use crate::{
    broker::Broker,
    queues::{Arguments, ERRORS, EXCHANGE, INPUT, OUTPUT, Order, PROTOCOL, Queues, REBOUNDS, text},
    relay::Relay,
    replica::{Exits, Program, Replica},
    report::Figures,
    watch::Watch,
};
use anyhow::{Context as _, ensure};
use emulator::{
    platform::{Platform, PlatformConfig, Step},
    provider::{Provider, ProviderConfig},
};
use sailor_bench::sample;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// The step's flow.
pub const FLOW: &str = "flow";
/// The step.
pub const STEP: &str = "step_1";
/// The account that the step is connected with.
pub const ACCOUNT: &str = "account";
/// How long a replica may take to its first event.
const START: Duration = Duration::from_secs(60);
/// The interval between checks.
const CHECK: Duration = Duration::from_millis(50);

/// What all rows share.
pub struct Stage {
    /// The nodes.
    pub broker: Broker,
    /// Whether queues are quorum queues.
    pub quorum: bool,
    /// Where the output of the replicas goes.
    pub logs: PathBuf,
}

/// How a step is run.
pub struct Setup {
    /// What it runs.
    pub programs: Vec<Program>,
    /// How many messages each replica works on at the same time.
    pub prefetch: u16,
    /// The trigger or action.
    pub function: &'static str,
    /// Arguments of queues.
    pub arguments: Vec<(&'static str, Arguments)>,
    /// Further variables of the replicas.
    pub variables: Vec<(&'static str, String)>,
    /// Whether the queue for data is read from the start.
    pub reads_output: bool,
    /// Whether the first message is done soon, so that it can be waited for.
    pub is_fast: bool,
}

/// A step that runs.
pub struct Run<'a> {
    /// What all rows share.
    pub stage: &'a mut Stage,
    /// The way to the broker.
    pub amqp: Relay,
    /// The way to the platform's API.
    pub api: Relay,
    /// The way to object storage.
    pub storage: Relay,
    /// The way to the token endpoint.
    pub tokens: Relay,
    /// The platform.
    pub platform: Platform,
    /// The provider.
    pub provider: Provider,
    /// What the step publishes.
    pub watch: Watch,
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// How many messages were put into the queue, without those that were deleted with it.
    pub messages: usize,
    /// The number of the next message.
    pub next: u64,
}

impl Stage {
    /// A channel of this program.
    ///
    /// # Errors
    /// When no node accepts it.
    pub async fn queues(&self) -> anyhow::Result<Queues> {
        let quorum = || vec![("x-queue-type", text("quorum"))];
        let common = self.quorum.then(quorum).unwrap_or_default();
        let start = Instant::now();
        loop {
            // A node that has just started may refuse at first.
            match Queues::open(&self.broker.ports(), common.clone()).await {
                Err(_) if start.elapsed() < START => sleep(CHECK).await,
                result => return result,
            }
        }
    }

    /// Prepares a step with new queues. No replica runs yet.
    ///
    /// # Errors
    /// When the broker refuses, or no port is free.
    pub async fn run(&mut self, setup: &Setup) -> anyhow::Result<Run<'_>> {
        self.queues().await?.renew(&setup.arguments).await?;
        let platform = Platform::start(PlatformConfig::default()).await?;
        let provider = Provider::start(ProviderConfig::default()).await?;
        let keys = Map::from_iter([
            ("baseUrl".to_owned(), provider.api_url().into()),
            ("oauth".to_owned(), provider.issue().into()),
        ]);
        let mut config = keys.clone();
        config.insert("_account".to_owned(), ACCOUNT.into());
        platform.set_account(ACCOUNT, keys);
        let step = Step {
            id: STEP.into(),
            function: setup.function.into(),
            config: config.into(),
            ..Step::default()
        };
        platform.set_step(FLOW, step);
        let ports = self.broker.ports();
        let relay = |port: u16| Relay::start(vec![port]);
        Ok(Run {
            amqp: Relay::start(ports.clone()).await?,
            api: relay(platform.addr().port()).await?,
            storage: relay(platform.addr().port()).await?,
            tokens: relay(provider.addr().port()).await?,
            watch: Watch::start(ports, setup.reads_output),
            stage: self,
            platform,
            provider,
            replicas: Vec::new(),
            messages: 0,
            next: 0,
        })
    }
}

impl Run<'_> {
    /// Puts `count` messages into the queue; `order` makes each from its number.
    ///
    /// # Errors
    /// When the broker refuses.
    pub async fn send(&mut self, count: u64, order: impl Fn(u64) -> Order) -> anyhow::Result<()> {
        let orders = (self.next..self.next + count).map(order);
        self.stage.queues().await?.publish(orders).await?;
        self.next += count;
        self.messages += count as usize;
        Ok(())
    }

    /// Starts the replicas, and waits until they work.
    ///
    /// # Errors
    /// When they do not within a minute.
    pub async fn start(&mut self, setup: &Setup) -> anyhow::Result<()> {
        for number in 0..setup.programs.len() {
            let replica = self.replica(setup, number);
            self.replicas.push(replica);
        }
        self.consumed_by(setup.programs.len()).await?;
        let start = Instant::now();
        while self.messages > 0 && setup.is_fast && setup.reads_output && self.done() == 0 {
            ensure!(
                start.elapsed() < START,
                "nothing was published for a minute"
            );
            sleep(CHECK).await;
        }
        Ok(())
    }

    /// Waits until the queue has so many consumers.
    ///
    /// # Errors
    /// When it does not within a minute.
    pub async fn consumed_by(&self, replicas: usize) -> anyhow::Result<()> {
        let queues = self.stage.queues().await?;
        let start = Instant::now();
        while queues.fill(INPUT).await?.1 < replicas {
            ensure!(
                start.elapsed() < START,
                "the queue does not get {replicas} consumers"
            );
            sleep(CHECK).await;
        }
        Ok(())
    }

    /// Starts one of the programs. Its container has this number.
    pub fn replica(&self, setup: &Setup, number: usize) -> Replica {
        let program = setup.programs[number].clone();
        let log = self
            .stage
            .logs
            .join(format!("{}-{number}.log", program.name));
        // Each row begins with an empty log.
        let _ = std::fs::remove_file(&log);
        Replica::start(program, self.variables(setup, number), log)
    }

    /// How many messages are done.
    pub fn done(&self) -> usize {
        self.watch.seen().tally.done()
    }

    /// The open and the remaining messages are waited for, until all are done or nothing has moved for `patience`.
    pub async fn wait(&self, patience: Duration) {
        let (mut done, mut since) = (self.done(), Instant::now());
        while done < self.messages && since.elapsed() < patience {
            sleep(CHECK).await;
            let now = self.done();
            if now > done {
                (done, since) = (now, Instant::now());
            }
        }
    }

    /// Ends the replicas, and says what became of the messages.
    ///
    /// # Errors
    /// When a replica could not be started, or the broker does not respond.
    pub async fn end(mut self, faults: usize) -> anyhow::Result<Figures> {
        // An event that is published twice may still be on its way.
        sleep(Duration::from_millis(500)).await;
        let mut exits = Exits::default();
        for replica in self.replicas.drain(..) {
            exits.add(replica.stop().await?);
        }
        let left = self
            .left()
            .await
            .context("counting what is left in the queues")?;
        let seen = self.watch.seen();
        let counts = seen.tally.counts();
        Ok(Figures {
            messages: self.messages,
            faults,
            lost: self.messages.saturating_sub(counts.done + left),
            left,
            counts,
            stall: seen.tally.longest_stall(),
            exits,
            connections: self.amqp.opened(),
            errors: seen.errors.clone(),
        })
    }

    /// The messages that nobody works on any more. What the step has published is read to the end first.
    async fn left(&self) -> anyhow::Result<usize> {
        self.watch.read_output();
        let queues = self.stage.queues().await?;
        let start = Instant::now();
        loop {
            let consumers = queues.fill(INPUT).await?.1;
            let unread = queues.fill(OUTPUT).await?.0 + queues.fill(ERRORS).await?.0;
            // The broker may take a while to notice that a killed process is gone.
            if (consumers == 0 && unread == 0) || start.elapsed() > Duration::from_secs(20) {
                // What it had not settled returns to the queue a little later.
                sleep(Duration::from_millis(500)).await;
                return Ok(queues.fill(INPUT).await?.0 + queues.fill(REBOUNDS).await?.0);
            }
            sleep(CHECK).await;
        }
    }

    fn variables(&self, setup: &Setup, replica: usize) -> BTreeMap<String, String> {
        let config = PlatformConfig::default();
        let http = |relay: &Relay| format!("http://{}", relay.addr);
        let platform = [
            ("AMQP_URI", format!("amqp://guest:guest@{}", self.amqp.addr)),
            ("API_URI", http(&self.api)),
            ("API_USERNAME", config.username),
            ("API_KEY", config.key),
            ("OBJECT_STORAGE_URI", http(&self.storage)),
            ("OBJECT_STORAGE_TOKEN", config.storage_token),
            ("FUNCTION", setup.function.into()),
            ("CONTAINER_ID", format!("container-{replica}")),
            ("RABBITMQ_PREFETCH_SAILOR", setup.prefetch.to_string()),
            ("PROTOCOL_VERSION", PROTOCOL.to_string()),
        ];
        let platform = platform
            .into_iter()
            .chain(FIXED.map(|(name, value)| (name, value.into())));
        let platform = platform.map(|(name, value)| (format!("ELASTICIO_{name}"), value));
        let provider = [
            ("OAUTH_CLIENT_ID", self.provider.client_id().to_owned()),
            (
                "OAUTH_CLIENT_SECRET",
                self.provider.client_secret().to_owned(),
            ),
            ("OAUTH_AUTH_URI", self.provider.authorize_url()),
            ("OAUTH_TOKEN_URI", http(&self.tokens) + "/token"),
            ("LOG_LEVEL", "info".to_owned()),
        ];
        let more = setup.variables.iter().cloned();
        let others = provider.into_iter().chain(more);
        platform
            .chain(others.map(|(name, value)| (name.to_owned(), value)))
            .collect()
    }
}

/// The platform's variables that are the same in every run, without their prefix. Rates are not limited. Rebounds return
/// after a second, and the Node sailor tries to reconnect for ten.
const FIXED: [(&str, &str); 20] = [
    ("FLOW_ID", FLOW),
    ("EXEC_ID", "execution"),
    ("STEP_ID", STEP),
    ("WORKSPACE_ID", "workspace"),
    ("USER_ID", "user"),
    ("COMP_ID", "component"),
    ("MESSAGE_CRYPTO_PASSWORD", sample::CRYPTO_PASSWORD),
    ("MESSAGE_CRYPTO_IV", sample::CRYPTO_IV),
    ("LISTEN_MESSAGES_ON", INPUT),
    ("PUBLISH_MESSAGES_TO", EXCHANGE),
    ("DATA_ROUTING_KEY", "data"),
    ("ERROR_ROUTING_KEY", "error"),
    ("SNAPSHOT_ROUTING_KEY", "snapshot"),
    ("REBOUND_ROUTING_KEY", "rebound"),
    ("AMQP_PERSISTENT_MESSAGES", "true"),
    ("AMQP_RECONNECT_ATTEMPTS", "100"),
    ("REBOUND_INITIAL_EXPIRATION", "1000"),
    ("DATA_RATE_LIMIT", "1000000"),
    ("ERROR_RATE_LIMIT", "1000000"),
    ("SNAPSHOT_RATE_LIMIT", "1000000"),
];

/// A script with one waiting time and an echo.
pub fn echo_after(milliseconds: u64) -> Value {
    json!([["sleep", milliseconds], ["echo"]])
}
