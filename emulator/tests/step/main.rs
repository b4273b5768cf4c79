//! The emulated step as a whole, used from Rust.

mod flow;
mod lifecycle;
mod messages;
mod topology;
mod webhook;

use emulator::{Emulator, EmulatorConfig, Event, EventKind, platform::Step};
use sailor::protocol::Headers;
use serde_json::json;
use std::{collections::HashMap, sync::Arc, time::Duration};
use test_support::Component;
use tokio::{task::JoinHandle, time::timeout};

struct Rig {
    emulator: Emulator,
    component: JoinHandle<()>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.component.abort();
    }
}

impl Rig {
    async fn start(config: EmulatorConfig) -> Self {
        let emulator = Emulator::start(config).await.unwrap();
        let variables: HashMap<String, String> = emulator.env().into_iter().collect();
        let env = move |name: &str| variables[&format!("ELASTICIO_{name}")].clone();
        let component =
            tokio::spawn(async { Component::connect(Box::new(env)).await.work().await });
        Self {
            emulator,
            component,
        }
    }

    fn send(&self, op: &str) -> String {
        self.emulator
            .send(&json!({"body": {"op": op}}), &Headers::new())
    }

    /// The events of this kind so far.
    fn so_far(&self, kind: EventKind) -> Vec<Arc<Event>> {
        let mut events = self.emulator.events();
        std::iter::from_fn(|| events.try_next())
            .filter(|event| event.kind == kind)
            .collect()
    }

    async fn find(&self, kind: EventKind) -> Arc<Event> {
        let mut events = self.emulator.events();
        let found = timeout(
            Duration::from_secs(10),
            events.find(|event| event.kind == kind),
        )
        .await;
        found.unwrap_or_else(|_| panic!("no {kind:?}")).unwrap()
    }
}

async fn rig() -> Rig {
    let step = Step {
        config: json!({"_account": "acc"}),
        ..Step::default()
    };
    Rig::start(EmulatorConfig {
        step,
        update_keys_over_broker: true,
        ..EmulatorConfig::default()
    })
    .await
}
