//! One replica: processes that start, stop and die, one after the other.

use super::{
    super::{in_memory, settings},
    model::SharedModel,
    module,
    plan::Plan,
    world::{ERRORS, QUEUE},
};
use crate::{
    broker::{
        amqp::{Amqp, simulated::SimulatedBroker},
        transport::{Transport, TransportError},
    },
    clients::platform::StepData,
    engine::{Shutdown, start::consume_unless},
    settings::{Mode, Settings},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    task::{JoinHandle, yield_now},
    time::{Instant, timeout},
};

/// How long a process may take to end after its shutdown timeout: it abandons tasks, and closes connections.
const END_LIMIT: Duration = Duration::from_secs(8);

/// A process of a replica.
pub(super) struct Process {
    pub(super) number: usize,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), TransportError>>,
    model: SharedModel,
    broker: SimulatedBroker,
    stop_limit: Duration,
}

impl Process {
    pub(super) fn start(
        number: usize,
        plan: &Plan,
        model: &SharedModel,
        broker: &SimulatedBroker,
        http: &reqwest::Client,
    ) -> Self {
        let shutdown = Shutdown::default();
        model.lock().note(&format!("process {number} starts"));
        let run = run(number, plan, model, http.clone(), shutdown.clone());
        Self {
            number,
            shutdown,
            running: tokio::spawn(run),
            model: model.clone(),
            broker: broker.clone(),
            stop_limit: Duration::from_secs(plan.shutdown_timeout) + END_LIMIT,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.running.is_finished()
    }

    /// Asks the process to end. It finishes its messages first.
    pub(super) fn stop(self) -> JoinHandle<()> {
        self.note("is asked to stop");
        self.shutdown.graceful.cancel();
        tokio::spawn(async move {
            let mut process = self;
            let limit = process.stop_limit;
            let began = Instant::now();
            match timeout(limit, &mut process.running).await {
                Ok(result) => process.ended(result.ok().and_then(Result::err)),
                Err(_) => {
                    let text = format!("process {} does not stop in {limit:?}", process.number);
                    process.model.lock().wrong(text);
                }
            }
            process.note(&format!("has stopped after {:?}", began.elapsed()));
            process.gone();
        })
    }

    /// Ends the process at once. Whatever still runs of it sends nothing.
    pub(super) async fn stop_at_once(mut self) {
        self.note("stops at once");
        self.running.abort();
        let _ = (&mut self.running).await;
        self.model.lock().stopped(self.number);
        for _ in 0..20 {
            yield_now().await;
        }
        self.gone();
    }

    /// Kills the process.
    pub(super) fn kill(self) {
        self.note("is killed");
        self.gone();
        self.running.abort();
    }

    /// Removes a process that has ended by itself.
    pub(super) async fn remove(mut self) {
        let result = (&mut self.running).await;
        self.ended(result.ok().and_then(Result::err));
        self.gone();
    }

    /// A process ends with an error only if it could not connect at its start.
    fn ended(&self, error: Option<TransportError>) {
        let Some(error) = error else { return };
        self.note(&format!("has ended: {error}"));
        if !error.to_string().contains("attempts in ") {
            let text = format!("process {} gives up: {error}", self.number);
            self.model.lock().wrong(text);
        }
    }

    fn gone(&self) {
        self.model.lock().stopped(self.number);
        self.broker.kill(&user(self.number));
    }

    fn note(&self, text: &str) {
        let text = format!("process {} {text}", self.number);
        self.model.lock().note(&text);
    }
}

fn user(number: usize) -> String {
    format!("process-{number}")
}

/// What a process does from its start to its end.
fn run(
    number: usize,
    plan: &Plan,
    model: &SharedModel,
    http: reqwest::Client,
    shutdown: Shutdown,
) -> impl Future<Output = Result<(), TransportError>> + Send + use<> {
    let component = module::component(model, number);
    let settings = settings_of(number, plan);
    let config = if plan.has_account {
        json!({ "_account": "account" })
    } else {
        json!({})
    };
    let data = StepData {
        config,
        ..in_memory::empty_step()
    };
    async move {
        let Mode::Run(run) = &settings.mode else {
            return Ok(());
        };
        let transport = tokio::select! {
            biased;
            () = shutdown.graceful.cancelled() => return Ok(()),
            connected = Amqp::connect(&run.amqp, Arc::default()) => connected?,
        };
        let engine = in_memory::engine(&component, settings, data, transport, http)
            .map_err(|error| TransportError(error.to_string()))?;
        match consume_unless(&shutdown.graceful, &*engine.transport).await? {
            Some(deliveries) => Arc::new(engine).run(deliveries, &shutdown).await,
            None => {
                engine.transport.close().await;
                Ok(())
            }
        }
    }
}

fn settings_of(number: usize, plan: &Plan) -> Settings {
    settings(&[
        ("AMQP_URI", &format!("amqp://{}@simulated", user(number))),
        ("API_URI", "http://api.invalid"),
        ("API_REQUEST_RETRY_ATTEMPTS", "2"),
        ("LISTEN_MESSAGES_ON", QUEUE),
        ("ERROR_ROUTING_KEY", ERRORS),
        ("UPDATE_KEYS_ROUTING_KEY", "keys"),
        ("RABBITMQ_PREFETCH_SAILOR", &plan.prefetch.to_string()),
        ("SHUTDOWN_TIMEOUT", &plan.shutdown_timeout.to_string()),
        ("BINDING_TIMEOUT", &plan.binding_timeout.to_string()),
        (
            "UNBOUND_ROUTING_KEYS",
            if plan.unbound_is_error { "error" } else { "" },
        ),
        ("REBOUND_INITIAL_EXPIRATION", "500"),
        ("REBOUND_LIMIT", "2"),
        ("AMQP_PUBLISH_MAX_RETRY_DELAY", "4000"),
        ("ERROR_RATE_LIMIT", "100000"),
        ("SNAPSHOT_RATE_LIMIT", "100000"),
    ])
}
