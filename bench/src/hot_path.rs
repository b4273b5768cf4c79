//! Messages on their way through the whole engine, on a broker in memory: the run whose instructions `scripts/guard`
//! counts.
//!
//! Every message is delivered, recognized as new, decrypted, read and given to a module. The module's events are encrypted,
//! published and confirmed, and the message is acknowledged. There is one thread, and no network.

use crate::{
    broker::INPUT,
    contestant::{self, Setup},
    platform::PLAIN_STEP,
    sample,
};
use bytes::Bytes;
use sailor::{
    internals::InMemoryStep,
    prelude::*,
    protocol::{Encoding, Headers},
};
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use tokio::runtime::{Builder, Runtime};

/// How many messages are processed at the same time.
const PREFETCH: u16 = 10;
/// How many parts the passthrough of a message has, or how many events a module emits.
const PARTS: usize = 10;

/// The approximate size of a record.
const RECORD_BYTES: usize = 100;

/// A kind of message, and how many of them are counted.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in `bench/instructions.toml`.
    pub name: &'static str,
    /// How many messages are counted.
    pub messages: usize,
    shape: Shape,
    /// The size of a message, in records.
    records: usize,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 14] = [
    scenario("passthrough_1kb", 200, Shape::Passthrough, 10),
    scenario("passthrough_10kb", 50, Shape::Passthrough, 100),
    scenario("passthrough_100kb", 10, Shape::Passthrough, 1_000),
    scenario("passthrough_1mb", 2, Shape::Passthrough, 10_000),
    scenario("passthrough_text_1mb", 2, Shape::PassthroughText, 10_000),
    scenario("one_emit_1kb", 200, Shape::OneEmit, 10),
    scenario("one_emit_10kb", 50, Shape::OneEmit, 100),
    scenario("one_emit_100kb", 10, Shape::OneEmit, 1_000),
    scenario("one_emit_1mb", 2, Shape::OneEmit, 10_000),
    scenario("ten_emits_1kb", 100, Shape::TenEmits, 10),
    scenario("ten_emits_10kb", 50, Shape::TenEmits, 100),
    scenario("ten_emits_100kb", 10, Shape::TenEmits, 1_000),
    scenario("ten_emits_1mb", 2, Shape::TenEmits, 10_000),
    scenario("one_emit_base64_1kb", 200, Shape::OneEmitBase64, 10),
];

const fn scenario(name: &'static str, messages: usize, shape: Shape, records: usize) -> Scenario {
    Scenario {
        name,
        messages,
        shape,
        records,
    }
}

/// What a message looks like, and what the module does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// The module ignores the message and emits a short one. The engine hands on what ten earlier steps have emitted.
    Passthrough,
    /// The same, where each earlier step has emitted one text. It is read so fast that one copy more is noticed.
    PassthroughText,
    /// The module emits the body that it gets.
    OneEmit,
    /// The same with protocol version 1.
    OneEmitBase64,
    /// The module emits the body in ten parts.
    TenEmits,
}

impl Shape {
    fn function(self) -> &'static str {
        match self {
            Self::Passthrough | Self::PassthroughText => "ignore",
            Self::OneEmit | Self::OneEmitBase64 => "echo",
            Self::TenEmits => "split",
        }
    }

    fn is_passthrough(self) -> bool {
        matches!(self, Self::Passthrough | Self::PassthroughText)
    }

    fn protocol(self) -> i64 {
        if self == Self::OneEmitBase64 { 1 } else { 2 }
    }
}

/// A running step with the message that it gets.
#[derive(Debug)]
pub struct Run {
    scenario: Scenario,
    runtime: Runtime,
    step: InMemoryStep,
    payload: Bytes,
    delivered: usize,
}

impl Run {
    /// Starts the step.
    ///
    /// # Errors
    /// When the step cannot start, which is a mistake in the scenario.
    pub fn start(scenario: Scenario) -> anyhow::Result<Self> {
        // Without I/O: there is none.
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let protocol = scenario.shape.protocol();
        let message = message(scenario).to_string().into_bytes();
        let is_passthrough = scenario.shape.is_passthrough();
        let component = component()?;
        let step = InMemoryStep::start(&component, variable_of(scenario), is_passthrough);
        Ok(Self {
            scenario,
            step: runtime.block_on(step)?,
            runtime,
            payload: sample::cipher()
                .encrypt(message, Encoding::of(protocol))
                .into(),
            delivered: 0,
        })
    }

    /// Processes some messages, so that what happens only once is not counted.
    ///
    /// # Errors
    /// When a message is not acknowledged.
    pub fn warm_up(&mut self) -> anyhow::Result<()> {
        let few = self.messages(self.scenario.messages.min(PREFETCH.into()));
        self.process(few, unread)
    }

    /// The next messages. They differ in their ids alone.
    pub fn messages(&mut self, count: usize) -> Vec<(Headers, Bytes)> {
        let numbers = self.delivered..self.delivered + count;
        self.delivered = numbers.end;
        let protocol = self.scenario.shape.protocol();
        numbers
            .map(|number| (sample::headers(number, protocol), self.payload.clone()))
            .collect()
    }

    /// Processes messages. The instructions of this function, with all that it calls, are counted. No closure is in it,
    /// since its name would match as well.
    ///
    /// # Errors
    /// When a message is not acknowledged.
    #[inline(never)]
    pub fn counted(&mut self, messages: Vec<(Headers, Bytes)>) -> anyhow::Result<()> {
        self.process(messages, unread)
    }

    fn process(
        &mut self,
        messages: Vec<(Headers, Bytes)>,
        on_event: impl FnMut(&Bytes),
    ) -> anyhow::Result<()> {
        let processed = self.step.process(messages, PREFETCH.into(), on_event);
        self.runtime.block_on(processed)
    }
}

fn unread(_: &Bytes) {}

/// The variables of a step: those that `scripts/bench` sets, with a broker and a platform that nobody calls.
fn variable_of(scenario: Scenario) -> impl Fn(&str) -> Option<String> {
    let variables = contestant::variables(&Setup {
        uri: "amqp://localhost",
        platform: (Ipv4Addr::LOCALHOST, 1).into(),
        queue: INPUT,
        step: PLAIN_STEP,
        prefetch: PREFETCH,
        messages: scenario.messages,
        logs: false,
    });
    move |name| match name {
        "ELASTICIO_FUNCTION" => Some(scenario.shape.function().to_owned()),
        "ELASTICIO_PROTOCOL_VERSION" => Some(scenario.shape.protocol().to_string()),
        _ => {
            let variable = variables.iter().find(|(known, _)| *known == name);
            variable.map(|(_, value)| value.clone())
        }
    }
}

fn component() -> anyhow::Result<Component> {
    let main = json!({ "main": "./src/hot_path.rs" });
    let actions = json!({ "ignore": main, "echo": main, "split": main });
    Component::new(&json!({ "title": "Hot path", "actions": actions }).to_string())?
        .action("ignore", ignore)
        .action("echo", echo)
        .action("split", split)
        .check()
}

async fn ignore(_: Message<NoBody>, cx: Context<Value, bool>) -> anyhow::Result<()> {
    cx.data(&true).await
}

async fn echo(message: Message<Value>, cx: Context<Value, Value>) -> anyhow::Result<()> {
    cx.data(&message.body).await
}

async fn split(message: Message<Vec<Value>>, cx: Context<Value, Vec<Value>>) -> anyhow::Result<()> {
    let mut rest = message.body;
    let size = rest.len() / PARTS;
    let parts = (0..PARTS).map(move |_| {
        let after = rest.split_off(size);
        std::mem::replace(&mut rest, after)
    });
    cx.data_all(parts).await
}

/// A message with a body of all records. With passthrough, each earlier step has emitted a part of them or a text as
/// long, and the body is empty.
fn message(scenario: Scenario) -> Value {
    let records: Vec<Value> = (0..scenario.records).map(record).collect();
    let mut message = json!({
        "id": "0b4e5b0e-8c1d-4a57-9d0e-5f6a7b8c9d0e",
        "headers": {},
        "attachments": {},
    });
    if scenario.shape.is_passthrough() {
        let parts = records.chunks(scenario.records / PARTS).zip(1..);
        let entries = parts.map(|(part, step)| {
            let body = match scenario.shape {
                Shape::PassthroughText => Value::from("x".repeat(part.len() * RECORD_BYTES)),
                _ => Value::from(part),
            };
            (
                format!("step_{step}"),
                json!({ "headers": {}, "body": body }),
            )
        });
        message["body"] = json!({});
        message["passthrough"] = Value::Object(entries.collect());
    } else {
        message["body"] = Value::Array(records);
    }
    message
}

fn record(number: usize) -> Value {
    json!({
        "id": number,
        "name": format!("Contact number {number}"),
        "email": format!("contact.{number}@example.com"),
        "score": number as f64 / 8.0,
        "active": number.is_multiple_of(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of one message, decrypted.
    fn events(scenario: Scenario) -> Vec<Value> {
        let mut run = Run::start(scenario).unwrap();
        let mut events = Vec::new();
        let encoding = Encoding::of(scenario.shape.protocol());
        let one = run.messages(1);
        run.process(one, |body| {
            let plain = sample::cipher().decrypt(body, encoding).unwrap();
            events.push(serde_json::from_slice(&plain).unwrap());
        })
        .unwrap();
        events
    }

    #[test]
    fn every_scenario_sends_on_all_that_it_got() {
        for scenario in SCENARIOS {
            let name = scenario.name;
            let events = events(scenario);
            let bodies = events.iter().map(|event| &event["body"]);
            let sent = message(scenario);
            match scenario.shape {
                Shape::Passthrough | Shape::PassthroughText => {
                    let mut passthrough = events[0]["passthrough"].clone();
                    let own = passthrough.as_object_mut().unwrap().remove(PLAIN_STEP);
                    assert_eq!(own.unwrap()["body"], true, "{name}");
                    assert_eq!(passthrough, sent["passthrough"], "{name}");
                    assert_eq!(passthrough.as_object().unwrap().len(), PARTS, "{name}");
                }
                Shape::OneEmit | Shape::OneEmitBase64 => {
                    assert_eq!(bodies.collect::<Vec<_>>(), [&sent["body"]], "{name}");
                }
                Shape::TenEmits => {
                    assert_eq!(events.len(), PARTS, "{name}");
                    let records: Vec<_> =
                        bodies.flat_map(|body| body.as_array().unwrap()).collect();
                    assert_eq!(
                        records,
                        sent["body"].as_array().unwrap().iter().collect::<Vec<_>>(),
                        "{name}"
                    );
                }
            }
        }
    }
}
