//! The engine on a transport in memory: verdicts, the order of events, redeliveries and the stop.
//!
//! The clock is paused. It moves only while every task waits, so an elapsed timeout proves that nothing more happens.

mod deduplication;
mod errors;
mod odd_json;
mod order;
mod redelivery;
mod simulation;
mod stopping;
mod time_limits;
mod unreported;
mod verdicts;

use super::{Engine, Shutdown, in_memory};
use crate::{
    broker::{
        memory::{self, MemoryBroker, MemoryTransport, Published, What},
        transport::{Publication, PublishErrorKind, Route, Transport, TransportError, Verdict},
    },
    clients::http,
    component::{Component, context::Context, message::Message},
    protocol::{Cipher, Encoding, Headers},
    settings::Settings,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::task::TaskTracker;

/// Longer than the engine waits for anything here, and shorter than it waits for redeliveries.
const LONG: Duration = Duration::from_secs(60);

const DESCRIPTOR: &str = r#"{ "title": "T", "actions": { "act": { "main": "./act.rs" } } }"#;

/// A component with one action, `act`.
fn acts<F, Fut>(act: F) -> Component
where
    F: Fn(Message<Value>, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Component::new(DESCRIPTOR).unwrap().action("act", act)
}

/// A running engine, and the broker that it is connected to.
struct Rig {
    broker: MemoryBroker,
    shutdown: Shutdown,
    cipher: Cipher,
    running: JoinHandle<Result<(), TransportError>>,
}

impl Rig {
    async fn start(component: Component) -> Self {
        Self::with(component, &[], 0).await
    }

    /// Starts with additional variables and a limit on rebounds.
    async fn with(component: Component, variables: &[(&str, &str)], rebounds: u32) -> Self {
        Self::changed(component, variables, rebounds, |_| {}).await
    }

    /// Starts with an engine that `change` has changed.
    async fn changed(
        component: Component,
        variables: &[(&str, &str)],
        rebounds: u32,
        change: impl FnOnce(&mut Engine<MemoryTransport>),
    ) -> Self {
        let (transport, broker) = memory::channel(rebounds);
        let deliveries = transport.consume().await.unwrap();
        let mut engine = in_memory::engine(
            &component,
            settings(variables),
            in_memory::empty_step(),
            transport,
            http::client_without_redirects().unwrap(),
        )
        .unwrap();
        change(&mut engine);
        let (shutdown, cipher) = (Shutdown::default(), engine.cipher.clone());
        let stop = shutdown.clone();
        let running =
            TaskTracker::new().spawn(async move { Arc::new(engine).run(deliveries, &stop).await });
        Self {
            broker,
            shutdown,
            cipher,
            running,
        }
    }

    fn body(&self, body: Value) -> bytes::Bytes {
        let plain = json!({ "headers": {}, "body": body }).to_string();
        self.cipher.encrypt(plain.into(), Encoding::Raw).into()
    }

    /// Delivers a message with this id.
    fn deliver(&self, id: &str, body: Value) -> u64 {
        self.broker.deliver(headers(id), self.body(body))
    }

    /// Delivers the same message again, on a new connection.
    fn redeliver(&self, id: &str, body: Value) -> u64 {
        self.broker.redeliver(headers(id), self.body(body))
    }

    /// Confirms the next event, and returns its body.
    async fn confirm(&mut self, route: Route) -> Value {
        let published = self.broker.published().await;
        assert_eq!(published.event().route, route);
        let body = self.read(published.event());
        published.confirm();
        body
    }

    /// Returns the body of an event; for an error event, its report.
    fn read(&self, event: &Publication) -> Value {
        let plain = match event.route {
            Route::Data | Route::Custom(_) => {
                let plain = self.cipher.decrypt(&event.body, Encoding::Raw).unwrap();
                return serde_json::from_slice::<Value>(&plain).unwrap()["body"].take();
            }
            Route::Error => {
                let body: Value = serde_json::from_slice(&event.body).unwrap();
                let report = body["error"].as_str().unwrap();
                self.cipher.decrypt(report.as_bytes(), Encoding::Base64)
            }
            Route::UpdateKeys => self.cipher.decrypt(&event.body, Encoding::Raw),
            Route::Reply(_) => self.cipher.decrypt(&event.body, Encoding::Base64),
            Route::Snapshot => Ok(event.body.to_vec()),
        };
        serde_json::from_slice(&plain.unwrap()).unwrap()
    }

    /// Waits until every task waits, and asserts that nothing was published or settled.
    async fn assert_idle(&mut self) {
        tokio::time::sleep(LONG).await;
        assert!(self.broker.is_idle(), "something was published or settled");
    }

    async fn assert_settled(&mut self, delivery: u64, verdict: Verdict) {
        assert_eq!(self.broker.settled().await, (delivery, verdict));
    }

    /// Stops the engine, and asserts that nothing more was published or settled.
    async fn stop(&mut self) -> Result<(), TransportError> {
        self.shutdown.graceful.cancel();
        let stopped = timeout(LONG, &mut self.running).await;
        let result = stopped.expect("the engine stops").unwrap();
        self.assert_idle().await;
        result
    }
}

fn headers(id: &str) -> Headers {
    Headers::from_iter([
        ("messageId".to_owned(), json!(id)),
        ("threadId".to_owned(), json!("thread")),
        ("protocolVersion".to_owned(), json!(2)),
    ])
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    let step = [
        ("FLOW_ID", "flow"),
        ("EXEC_ID", "exec"),
        ("STEP_ID", "step_1"),
        ("CONTAINER_ID", "container"),
        ("WORKSPACE_ID", "workspace"),
        ("USER_ID", "user"),
        ("COMP_ID", "component"),
        ("FUNCTION", "act"),
        ("API_URI", "http://localhost:1"),
        ("API_USERNAME", "user"),
        ("API_KEY", "key"),
        ("AMQP_URI", "amqp://localhost"),
        ("LISTEN_MESSAGES_ON", "queue"),
        ("PUBLISH_MESSAGES_TO", "exchange"),
        ("DATA_ROUTING_KEY", "data"),
        ("ERROR_ROUTING_KEY", "error"),
        ("REBOUND_ROUTING_KEY", "rebound"),
        ("SNAPSHOT_ROUTING_KEY", "snapshot"),
        ("MESSAGE_CRYPTO_PASSWORD", "password"),
        ("MESSAGE_CRYPTO_IV", "iv=any16_symbols"),
        ("PROTOCOL_VERSION", "2"),
        ("DATA_RATE_LIMIT", "100000"),
    ];
    Settings::read(|name| {
        let name = name.strip_prefix("ELASTICIO_")?;
        let set = variables.iter().chain(&step);
        let (_, value) = set.into_iter().find(|(known, _)| *known == name)?;
        Some((*value).to_owned())
    })
    .unwrap()
}
