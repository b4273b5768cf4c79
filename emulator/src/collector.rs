//! Turns what happens at broker, platform and provider into events, and stores snapshots and keys as the platform does.

use crate::{
    broker,
    event::{Decoder, Event, EventKind},
    event_log::EventLog,
    platform::{Platform, RecordedCall},
    provider::ProviderEvent,
};
use serde_json::Value;
use std::{sync::Arc, time::Instant};
use tokio::sync::{
    broadcast::{self, error::RecvError},
    mpsc,
};

/// The only task that writes the event log.
pub(crate) struct Collector {
    pub(crate) start: Instant,
    pub(crate) flow: String,
    pub(crate) step: String,
    pub(crate) decoder: Decoder,
    pub(crate) broker: broadcast::Receiver<broker::Event>,
    pub(crate) calls: broadcast::Receiver<RecordedCall>,
    pub(crate) provider: broadcast::Receiver<ProviderEvent>,
    /// Events of other parts of the emulator.
    pub(crate) others: mpsc::UnboundedReceiver<Event>,
    pub(crate) platform: Platform,
    pub(crate) log: Arc<EventLog>,
}

impl Collector {
    pub(crate) async fn run(mut self) {
        loop {
            let event = tokio::select! {
                biased;
                call = self.calls.recv() => match call {
                    Ok(call) => Some(Event::from_call(&call)),
                    Err(RecvError::Lagged(count)) => Some(Event::lost(count)),
                    Err(RecvError::Closed) => break,
                },
                entry = self.provider.recv() => match entry {
                    Ok(entry) => Some(Event::from_provider(&entry)),
                    Err(RecvError::Lagged(count)) => Some(Event::lost(count)),
                    Err(RecvError::Closed) => break,
                },
                Some(event) = self.others.recv() => Some(event),
                event = self.broker.recv() => match event {
                    Ok(event) => self.decoder.decode(&event),
                    Err(RecvError::Lagged(count)) => Some(Event::lost(count)),
                    Err(RecvError::Closed) => break,
                },
            };
            if let Some(mut event) = event {
                event.at = self.start.elapsed();
                self.store(&mut event);
                self.log.push(event);
            }
        }
        self.log.end();
    }

    /// Stores the part of an event that the platform keeps.
    fn store(&self, event: &mut Event) {
        match (event.kind, &event.body) {
            // Nothing collects it.
            _ if event.end_of_flow.is_some() => {}
            (EventKind::Snapshot, snapshot) if event.problem.is_none() => {
                self.platform
                    .set_snapshot(&self.flow, &self.step, snapshot.clone());
            }
            (EventKind::SnapshotUpdate, Value::Object(delta)) => {
                let step = self.platform.step(&self.flow, &self.step);
                let mut snapshot = step
                    .and_then(|step| step.snapshot.as_object().cloned())
                    .unwrap_or_default();
                snapshot.extend(delta.clone());
                self.platform
                    .set_snapshot(&self.flow, &self.step, snapshot.into());
            }
            // Only keys that came over the broker: the REST API has stored its keys already, and may have newer ones.
            (EventKind::UpdateKeys, body) if !event.routing_key.is_empty() => {
                if let (Some(Value::String(account)), Some(Value::Object(keys))) =
                    (body.get("accountId"), body.get("keys"))
                    && !self.platform.merge_account(account, keys.clone())
                {
                    event.problem = Some(format!("there is no account {account:?}"));
                }
            }
            _ => {}
        }
    }
}
