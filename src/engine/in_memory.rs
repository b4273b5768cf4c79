//! A step on a broker in memory: deliveries go through the whole engine, without a network. The engine's tests use it, and
//! `bench/` counts its instructions.

use super::{
    AccountClient, Engine, Shutdown, Step,
    deduplication::Deduplication,
    session_config,
    start::{PreparedStep, StepStart, platform_client},
};
use crate::{
    broker::{
        memory::{self, Done, MemoryBroker, What},
        transport::{Transport, Verdict},
    },
    clients::{http, platform::StepData},
    component::{Component, context::Clients},
    protocol::{Cipher, Headers},
    settings::{Mode, Settings},
};
use anyhow::Context as _;
use bytes::Bytes;
use secrecy::ExposeSecret;
use serde_json::json;
use std::sync::Arc;
use tokio_util::{sync::DropGuard, task::TaskTracker};

/// A running step. It stops when this is dropped.
pub struct InMemoryStep {
    broker: MemoryBroker,
    _stop: DropGuard,
}

impl std::fmt::Debug for InMemoryStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InMemoryStep")
    }
}

impl InMemoryStep {
    /// Starts the function that the variable `FUNCTION` names, with an empty configuration and no credential. `get` returns
    /// the value of a variable.
    ///
    /// # Errors
    /// Returns an error if a variable is missing or invalid, or if the component has no such function.
    pub async fn start(
        component: &Component,
        get: impl Fn(&str) -> Option<String>,
        is_passthrough: bool,
    ) -> anyhow::Result<Self> {
        let (transport, broker) = memory::channel(0);
        let data = StepData {
            is_passthrough,
            ..empty_step()
        };
        let deliveries = transport.consume().await?;
        let engine = Arc::new(engine(
            component,
            Settings::read(get)?,
            data,
            transport,
            http::client_without_redirects()?,
        )?);
        let shutdown = Shutdown::default();
        let stop = shutdown.graceful.clone().drop_guard();
        TaskTracker::new().spawn(async move { engine.run(deliveries, &shutdown).await });
        Ok(Self {
            broker,
            _stop: stop,
        })
    }

    /// Delivers messages, at most `prefetch` of them unsettled at once, and confirms every event at once. Calls `on_event`
    /// with the body of each. Returns when all messages are acknowledged.
    ///
    /// # Errors
    /// Returns an error if a message is rejected or sent back.
    ///
    /// # Cancel safety
    /// Not cancel safe: messages that were delivered are still processed, and later calls get their events.
    pub async fn process(
        &mut self,
        messages: Vec<(Headers, Bytes)>,
        prefetch: usize,
        mut on_event: impl FnMut(&Bytes),
    ) -> anyhow::Result<()> {
        let mut messages = messages.into_iter();
        let mut unsettled = 0;
        loop {
            for (headers, body) in messages.by_ref().take(prefetch - unsettled) {
                self.broker.deliver(headers, body);
                unsettled += 1;
            }
            if unsettled == 0 {
                return Ok(());
            }
            match self.broker.next().await.context("the step has stopped")? {
                Done::Published(published) => {
                    match &published.what {
                        What::Event(event) => on_event(&event.body),
                        What::Rebound(number, reason) => {
                            anyhow::bail!("delivery {number} was sent back: {reason}")
                        }
                    }
                    published.confirm();
                }
                Done::Settled(Verdict::Acknowledged) => unsettled -= 1,
                Done::Settled(Verdict::Rejected) => anyhow::bail!("a message was rejected"),
            }
        }
    }
}

/// A step whose configuration and snapshot are empty objects.
pub(super) fn empty_step() -> StepData {
    StepData {
        config: json!({}),
        snapshot: json!({}),
        ..StepData::default()
    }
}

/// Creates the engine of a step that the platform has not been asked for. `direct` sends requests to the platform.
pub(super) fn engine<T: Transport>(
    component: &Component,
    settings: Settings,
    data: StepData,
    transport: T,
    direct: reqwest::Client,
) -> anyhow::Result<Engine<T>> {
    let Mode::Run(run) = settings.mode else {
        anyhow::bail!("these are not the settings of a step that processes messages")
    };
    let platform = platform_client(direct.clone(), &settings.api, &settings.identity);
    let (module, function) = component.module(&settings.identity.function)?;
    let prepared = PreparedStep {
        module,
        resolves_references: function.resolves_references(),
        account: AccountClient::new(platform.clone(), Step::new(data)),
    };
    let start = StepStart {
        cipher: Cipher::new(
            run.crypto_password.expose_secret(),
            run.crypto_iv.expose_secret(),
        )?,
        clients: Clients {
            http: direct,
            platform: Some(platform.clone()),
            object_storage: None,
            webhook_uri: None,
        },
        session_config: session_config(&settings.identity, None, None)?,
        deduplication: run
            .deduplicate
            .then(|| Deduplication::new(&settings.identity, &run.crypto_password, |_| None)),
        metrics: Arc::default(),
        identity: settings.identity,
        additional_headers: settings.additional_headers,
        platform,
        run: *run,
    };
    Ok(start.into_engine(Arc::new(transport), prepared, None))
}
