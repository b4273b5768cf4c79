//! Two steps that are killed again and again, with `ELASTICIO_DEDUPLICATE`: what comes out of the second one.
//!
//! `SAILOR_KILL_MESSAGES` and `SAILOR_KILLS` make the run longer; `scripts/long kills` sets them. The log of finished
//! messages needs RabbitMQ: on the emulator's broker only the first step can be killed.

use super::*;
use lapin::{
    BasicProperties, Channel, Connection, ExchangeKind,
    options::*,
    types::{AMQPValue, FieldTable},
};
use sailor::protocol::{Encoding, Object};
use std::{
    collections::HashMap,
    env,
    time::{Duration, Instant},
};

const PREFETCH: u16 = 10;
/// The input of each step, and the output of the last.
const QUEUES: [&str; 3] = ["first", "second", "out"];

/// How many messages, and how many kills.
fn size() -> (usize, usize) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().unwrap());
    (
        number("SAILOR_KILL_MESSAGES").unwrap_or(1_000),
        number("SAILOR_KILLS").unwrap_or(4),
    )
}

/// Two steps of one flow on a broker, and their platform.
struct Flow {
    rig: Rig,
    uri: String,
    name: String,
    channel: Channel,
    deduplicate: bool,
}

impl Flow {
    async fn new(deduplicate: bool) -> Self {
        let rig = last_step(EmulatorConfig {
            prefetch: PREFETCH,
            protocol_version: 2,
            ..EmulatorConfig::default()
        })
        .await;
        for step in ["first", "second"] {
            let step = Step {
                id: step.into(),
                function: "script".into(),
                ..Step::default()
            };
            rig.emulator.platform().set_step("emulated-flow", step);
        }
        let uri = env::var("SAILOR_TEST_AMQP_URI").unwrap_or_else(|_| rig.emulator.broker().uri());
        let connection = Connection::connect(&uri, Default::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let flow = Self {
            rig,
            uri,
            name: format!("kills-{}", uuid::Uuid::new_v4()),
            channel,
            deduplicate,
        };
        flow.declare().await;
        flow
    }

    fn queue(&self, queue: &str) -> String {
        format!("{}:{queue}", self.name)
    }

    async fn declare(&self) {
        let exchange = || self.name.as_str().into();
        let options = ExchangeDeclareOptions {
            auto_delete: true,
            ..Default::default()
        };
        let declared =
            self.channel
                .exchange_declare(exchange(), ExchangeKind::Direct, options, table([]));
        declared.await.unwrap();
        for (queue, key) in QUEUES
            .into_iter()
            .map(|q| (q, q))
            .chain([("errors", "error")])
        {
            let queue = self.queue(queue);
            let options = QueueDeclareOptions::default();
            let declared = self
                .channel
                .queue_declare(queue.as_str().into(), options, table([]));
            declared.await.unwrap();
            let options = QueueBindOptions::default();
            let (queue, key) = (queue.as_str().into(), key.into());
            let bound = self
                .channel
                .queue_bind(queue, exchange(), key, options, table([]));
            bound.await.unwrap();
        }
    }

    /// Puts messages into the first queue. Each makes the first step emit a message that makes the second one emit.
    async fn fill(&self, messages: usize) {
        for n in 0..messages {
            let inner = json!([["sleep", 2], ["data", { "body": { "n": n } }]]);
            let script = json!([["sleep", 2], ["data", { "body": { "script": inner } }]]);
            let message = json!({ "headers": {}, "body": { "script": script } });
            let plain = message.to_string().into();
            let body = self.rig.emulator.cipher().encrypt(plain, Encoding::Raw);
            let id = uuid::Uuid::new_v4().to_string();
            let headers = table([
                ("messageId", AMQPValue::LongString(id.into())),
                ("protocolVersion", AMQPValue::LongInt(2)),
            ]);
            let properties = BasicProperties::default().with_headers(headers);
            let queue = self.queue("first");
            let options = BasicPublishOptions::default();
            let sent = self.channel.basic_publish(
                "".into(),
                queue.as_str().into(),
                options,
                &body,
                properties,
            );
            sent.await.unwrap();
        }
    }

    /// Starts a step, and waits until it takes messages.
    async fn start(&self, step: usize) -> Running {
        let [input, output] = [QUEUES[step], QUEUES[step + 1]];
        let mut command = self.rig.command();
        for (name, value) in [
            ("STEP_ID", input.to_owned()),
            ("AMQP_URI", self.uri.clone()),
            ("LISTEN_MESSAGES_ON", self.queue(input)),
            ("PUBLISH_MESSAGES_TO", self.name.clone()),
            ("DATA_ROUTING_KEY", output.to_owned()),
            ("ERROR_ROUTING_KEY", "error".to_owned()),
            ("DATA_RATE_LIMIT", "1000000".to_owned()),
            ("DEDUPLICATE", self.deduplicate.to_string()),
        ] {
            command.env(format!("ELASTICIO_{name}"), value);
        }
        let mut running = Running::start(command);
        running.says("Fully initialized").await;
        running
    }

    async fn waiting(&self, queue: &str) -> usize {
        let queue = self.queue(queue);
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let declared = self
            .channel
            .queue_declare(queue.as_str().into(), options, table([]));
        declared.await.unwrap().message_count() as usize
    }

    /// Waits until at most this many messages wait in a queue.
    async fn shrinks(&self, queue: &str, to: usize) {
        let mut left = self.waiting(queue).await;
        while left > to {
            let before = left;
            let shrinking = async {
                while left == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    left = self.waiting(queue).await;
                }
            };
            soon(&format!("{queue} shrinks from {before}"), shrinking).await;
        }
    }

    /// The number and the id of everything in the last queue.
    async fn output(&self) -> Vec<(u64, String)> {
        let queue = self.queue("out");
        let mut output = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self
            .channel
            .basic_get(queue.as_str().into(), options)
            .await
            .unwrap()
        {
            let cipher = self.rig.emulator.cipher();
            let plain = cipher.decrypt(&message.data, Encoding::Raw).unwrap();
            let event = Object::read(plain.into()).unwrap();
            let body: Value = event.get("body").unwrap().parse().unwrap();
            let headers = message.properties.headers().as_ref().unwrap().inner();
            let Some(AMQPValue::LongString(id)) = headers.get("messageId") else {
                panic!("an event without an id")
            };
            output.push((body["n"].as_u64().unwrap(), id.to_string()));
        }
        output
    }

    async fn delete(&self) {
        let stream = |queue| format!("elasticio-sailor:finished:{}", self.queue(queue));
        let streams = [stream("first"), stream("second")];
        let queues = ["first", "second", "out", "errors"].map(|queue| self.queue(queue));
        for queue in queues.iter().chain(&streams) {
            let options = QueueDeleteOptions::default();
            let deleted = self.channel.queue_delete(queue.as_str().into(), options);
            deleted.await.unwrap();
        }
    }
}

fn table<const N: usize>(entries: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in entries {
        table.insert(name.into(), value);
    }
    table
}

async fn kill(step: Running) {
    step.signal("KILL");
    assert_eq!(step.end().await.0, -1);
}

/// What came out of the second step.
#[derive(Debug, PartialEq, Eq)]
struct Tally {
    lost: usize,
    /// Messages that came out under more than one id.
    doubled: usize,
    /// Events that came out once more under the same id.
    copies: usize,
    errors: usize,
}

/// Kills the first step, or both, while messages pass through them.
async fn run(deduplicate: bool, kills_both: bool) -> Tally {
    let (messages, kills) = size();
    let flow = Flow::new(deduplicate).await;
    flow.fill(messages).await;
    let mut second = flow.start(1).await;
    let start = Instant::now();
    for kill_number in 1..=kills {
        let first = flow.start(0).await;
        let left = messages - messages * kill_number / (kills + 1);
        flow.shrinks("first", left).await;
        kill(first).await;
        if kills_both {
            kill(second).await;
            second = flow.start(1).await;
        }
    }
    let took = start.elapsed();
    let first = flow.start(0).await;
    flow.shrinks("first", 0).await;
    assert_eq!(first.stop().await.0, 0);
    flow.shrinks("second", 0).await;
    assert_eq!(second.stop().await.0, 0);
    assert_eq!(
        (flow.waiting("first").await, flow.waiting("second").await),
        (0, 0)
    );
    let output = flow.output().await;
    let mut ids: HashMap<u64, Vec<&str>> = HashMap::new();
    for (n, id) in &output {
        ids.entry(*n).or_default().push(id);
    }
    for ids in ids.values_mut() {
        ids.sort_unstable();
        ids.dedup();
    }
    let different: usize = ids.values().map(Vec::len).sum();
    let tally = Tally {
        lost: messages - ids.len(),
        doubled: different - ids.len(),
        copies: output.len() - different,
        errors: flow.waiting("errors").await,
    };
    eprintln!(
        "{messages} messages, {kills} kills in {took:.1?}, both: {kills_both}, deduplicated: {deduplicate}: {tally:?}"
    );
    flow.delete().await;
    tally
}

#[tokio::test]
async fn kills_of_the_first_step_double_nothing() {
    let nothing = Tally {
        lost: 0,
        doubled: 0,
        copies: 0,
        errors: 0,
    };
    assert_eq!(run(true, false).await, nothing);
}

/// An event of the second step comes out again under its id if it was killed before the event's message was finished.
#[tokio::test]
async fn kills_of_both_steps_double_nothing_under_another_id() {
    if env::var_os("SAILOR_TEST_AMQP_URI").is_none() {
        assert!(
            env::var_os("CI").is_none(),
            "with CI set, SAILOR_TEST_AMQP_URI must name a RabbitMQ"
        );
        eprintln!("not run: the emulator's broker has no streams");
        return;
    }
    let (_, kills) = size();
    let Tally {
        lost,
        doubled,
        copies,
        errors,
    } = run(true, true).await;
    assert_eq!((lost, doubled, errors), (0, 0, 0));
    assert!(copies <= kills * usize::from(PREFETCH), "{copies}");
}

/// Shows that the kills of these tests do repeat work.
#[tokio::test]
async fn without_deduplication_kills_double_messages() {
    let Tally { lost, doubled, .. } = run(false, false).await;
    assert_eq!(lost, 0);
    assert!(doubled > 0);
}
