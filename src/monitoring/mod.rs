//! What an operator's tools are told about the process: metrics, whether it is ready, and the HTTP server for both; and
//! [traces](trace) of messages.
//!
//! [`Metrics`] is passed down to the parts that count. Counting is one relaxed addition: labels are resolved before, and no
//! text is built until a tool asks. Without `HEALTH_PORT` nobody asks, and then only a wait reads the clock.
//!
//! This folder does not know what it counts: the broker, tokens and messages are above it.

mod histogram;
mod label;
mod reading;
mod server;
pub(crate) mod trace;
mod waits;

pub(crate) use label::{EventLabel, KeyLabel, Label, Link, Outcome, Per, Skipped, WaitReason};
pub(crate) use server::HealthServer;
pub(crate) use waits::{AllWaits, Waiting, Waits};

use crate::protocol::StepIdentity;
use histogram::Histogram;
use prometheus_client::{
    encoding::prometheus_text,
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::Registry,
};
use reading::{ReadCounter, ReadGauge};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};
use tokio::time::Instant;

/// The first part of all names.
const PREFIX: &str = "elasticio_sailor";
/// The bounds of the buckets for the time in the module, in seconds: RabbitMQ takes a message back after 30 minutes.
const MODULE_TIMES: &[f64] = &[
    0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0,
];
/// The bounds of the buckets for the time until a confirm, in seconds. It includes retries.
const CONFIRM_TIMES: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// Tells the time if somebody reads the metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    is_on: bool,
}

impl Clock {
    pub(crate) fn on() -> Self {
        Self { is_on: true }
    }

    pub(crate) fn now(self) -> Option<Instant> {
        self.is_on.then(Instant::now)
    }
}

/// The metrics of one process.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// Starts what is measured.
    pub(crate) clock: Clock,
    /// Messages that were delivered.
    pub(crate) received: Counter,
    pub(crate) outcomes: Per<Outcome>,
    pub(crate) skipped: Per<Skipped>,
    /// Events that were emitted.
    pub(crate) events: Per<EventLabel>,
    /// The time of the module for one message.
    pub(crate) module_time: Histogram,
    /// The time from the publish of an event to its confirm, with all retries.
    pub(crate) confirm_time: Histogram,
    /// Retries of messages.
    pub(crate) publish_retries: Counter,
    /// Attempts whose message the broker returned.
    pub(crate) unroutable: Per<KeyLabel>,
    /// Lost connections and channels.
    pub(crate) reconnects: Per<Link>,
    pub(crate) waits: AllWaits,
    /// 1 while the connection can be used.
    connected: Per<Link, Gauge>,
    ready: Gauge,
    is_stopping: AtomicBool,
    registry: Mutex<Registry>,
}

impl Default for Metrics {
    /// Metrics that nobody reads.
    fn default() -> Self {
        let metrics = Self {
            clock: Clock::default(),
            received: Counter::default(),
            outcomes: Per::default(),
            skipped: Per::default(),
            events: Per::default(),
            module_time: Histogram::new(MODULE_TIMES),
            confirm_time: Histogram::new(CONFIRM_TIMES),
            publish_retries: Counter::default(),
            unroutable: Per::default(),
            reconnects: Per::default(),
            waits: AllWaits::default(),
            connected: Per::default(),
            ready: Gauge::default(),
            is_stopping: AtomicBool::new(false),
            registry: Mutex::new(Registry::with_prefix(PREFIX)),
        };
        metrics.register_messages(&mut metrics.registry());
        metrics.register_connections(&mut metrics.registry());
        metrics
    }
}

impl Metrics {
    /// Creates the metrics of a step that somebody reads.
    pub(crate) fn of_step(identity: &StepIdentity) -> Self {
        let metrics = Self {
            clock: Clock::on(),
            ..Self::default()
        };
        let labels = vec![
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("flow_id", identity.flow_id.clone()),
            ("step_id", identity.step_id.clone()),
            ("comp_id", identity.comp_id.clone()),
            ("function", identity.function.clone()),
        ];
        let help = "The step that this process runs, and the version of its sailor. Always 1";
        metrics.registry().register("step", help, Info::new(labels));
        metrics
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register_messages(&self, registry: &mut Registry) {
        registry.register(
            "messages_received",
            "Deliveries from the broker, redeliveries among them",
            self.received.clone(),
        );
        registry.register(
            "messages",
            "Messages by what became of them",
            self.outcomes.clone(),
        );
        registry.register(
            "messages_skipped",
            "Messages that were settled without processing, by reason",
            self.skipped.clone(),
        );
        registry.register(
            "events",
            "Events that were emitted, by kind",
            self.events.clone(),
        );
        registry.register(
            "module_duration_seconds",
            "Time that the module took for one message",
            self.module_time.clone(),
        );
        registry.register(
            "waits",
            "Waits that have begun, by what is waited for",
            waits::Begun(self.waits.clone()),
        );
        registry.register(
            "wait_seconds",
            "Time spent in waits, those that go on included",
            waits::Seconds(self.waits.clone()),
        );
        registry.register(
            "waiting",
            "Waits that go on, by what is waited for",
            waits::Running(self.waits.clone()),
        );
    }

    fn register_connections(&self, registry: &mut Registry) {
        registry.register(
            "confirm_duration_seconds",
            "Time from the publish of an event to the broker's confirm, with all retries",
            self.confirm_time.clone(),
        );
        registry.register(
            "publish_retries",
            "Events that were sent to the broker again",
            self.publish_retries.clone(),
        );
        registry.register(
            "unroutable_publishes",
            "Attempts whose event the broker returned because no queue is bound, by the variable of the routing key",
            self.unroutable.clone(),
        );
        registry.register(
            "reconnects",
            "Connections and channels that were lost, by what they are for",
            self.reconnects.clone(),
        );
        registry.register(
            "connected",
            "Whether the step consumes and can publish (1) or not (0)",
            self.connected.clone(),
        );
        registry.register(
            "ready",
            "Whether /readyz says yes (1) or no (0)",
            self.ready.clone(),
        );
    }

    /// Adds a counter that is read at each scrape. Its name has no prefix and no `_total`.
    pub(crate) fn add_counter(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> u64 + Send + Sync + 'static,
    ) {
        self.registry().register(name, help, ReadCounter(read));
    }

    /// Adds a gauge that is read at each scrape. Its name has no prefix.
    pub(crate) fn add_gauge(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> f64 + Send + Sync + 'static,
    ) {
        self.registry().register(name, help, ReadGauge(read));
    }

    /// Notes that a connection can be used, or that it cannot.
    pub(crate) fn set_connected(&self, link: Link, is_connected: bool) {
        self.connected.of(link).set(is_connected.into());
    }

    /// Notes that the process takes no more messages.
    pub(crate) fn stopping(&self) {
        self.is_stopping.store(true, Relaxed);
    }

    /// Returns whether the step takes messages and can publish; if not, why.
    pub(crate) fn readiness(&self) -> Result<(), &'static str> {
        let is_connected = |link| self.connected.of(link).get() == 1;
        if self.is_stopping.load(Relaxed) {
            Err("the process is stopping")
        } else if !is_connected(Link::Consume) {
            Err("the queue is not consumed: the step is starting, or the broker is away or refuses")
        } else if !is_connected(Link::Publish) {
            Err("nothing can be published: the broker is away or refuses")
        } else {
            Ok(())
        }
    }

    /// Returns all metrics in the text format of Prometheus, version 0.0.4.
    pub(crate) fn text(&self) -> String {
        self.ready.set(self.readiness().is_ok().into());
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_text::encode(&mut text, &self.registry());
        text
    }
}
