//! Runs a component in a scenario and writes down what it does.

use super::{
    record::{Call, Published, Record},
    scenario::Scenario,
};
use anyhow::{Context, Result, ensure};
use emulator::platform::{Fault, Platform, PlatformConfig, Step};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{
        BasicGetOptions, BasicPublishOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
        QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use sailor::protocol::{Cipher, Encoding};
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{Read, Seek},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};
use tokio::{process::Child, process::Command, time::timeout};

/// How long nothing may happen once all that is awaited has happened: a sailor that does too much is to show it.
const QUIET: Duration = Duration::from_millis(300);
/// How long nothing may happen before it is given up that something awaited happens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a component may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(8);

/// What the component did in `scenario`, and the end of its output. `goal` tells only what to wait for.
pub(super) async fn run(
    scenario: &Scenario,
    goal: &Record,
    broker: &str,
) -> Result<(Record, String)> {
    let cipher = Cipher::new("testCryptoPassword", "iv=any16_symbols")?;
    let platform = platform(scenario, &cipher).await?;
    let connection = Connection::connect(broker, ConnectionProperties::default())
        .await
        .context("broker")?;
    let queues = Queues::declare(connection.create_channel().await?).await?;
    let mut inputs = Vec::new();
    for message in &scenario.messages {
        let payload = message.payload(&cipher);
        queues.send(&payload, message.headers()).await?;
        inputs.push(payload);
    }

    let environment = scenario.environment(
        broker,
        &queues.input,
        &queues.exchange,
        &platform.url(),
        &platform.result_url("exec1"),
    );
    let mut output = tempfile::tempfile()?;
    let mut child = start(scenario, environment, &output)?;
    let own_end = wait_for(&mut child, goal, &queues, &platform).await?;
    let end = match own_end {
        Some(status) => Some(status),
        None => terminate(&mut child).await?,
    };
    queues.wait_until_unread().await?;
    let record = Record {
        published: queues.take_published(&cipher, &inputs).await?,
        dead_lettered: queues.depth(&queues.dead).await?.0,
        left_in_queue: queues.depth(&queues.input).await?.0,
        exited_by_itself: own_end.is_some(),
        exit_ok: end.is_some_and(|status| status.success()),
        api: calls(&platform, scenario, &cipher),
    };
    queues.delete().await?;
    connection.close(200, "done".into()).await?;
    Ok((record.normalised(), last_lines(&mut output)?))
}

async fn platform(scenario: &Scenario, cipher: &Cipher) -> Result<Platform> {
    let config = PlatformConfig {
        port: 0,
        username: "u".into(),
        key: "k".into(),
        storage_token: "jwt-token".into(),
    };
    let platform = Platform::start(config).await?;
    let step = scenario.step.clone();
    let step = step.unwrap_or_else(
        || json!({"config": {"_account": "acc1", "apiKey": "secret"}, "snapshot": {"last": 1}}),
    );
    platform.set_step(
        "flow1",
        Step {
            id: "step_1".into(),
            ..serde_json::from_value(step)?
        },
    );
    platform.set_account("acc1", Map::new());
    platform.set_startup_data("flow1", scenario.hooks_data.clone());
    for (id, object) in &scenario.objects {
        platform.set_object(
            id,
            cipher.encrypt(object.to_string().into_bytes(), Encoding::Raw),
        );
    }
    for (pattern, statuses) in &scenario.api_fail {
        platform.inject_faults(
            pattern,
            statuses.iter().map(|status| Fault::Status(*status)),
        );
    }
    Ok(platform)
}

/// What the platform was asked, in the terms of the recordings.
fn calls(platform: &Platform, scenario: &Scenario, cipher: &Cipher) -> Vec<Call> {
    let ids = platform.object_ids();
    let mut uploads = ids
        .iter()
        .filter(|id| !scenario.objects.contains_key(*id))
        .map(|id| {
            let bytes = platform.object(id).unwrap_or_default();
            let plain = cipher.decrypt(&bytes, Encoding::Raw).unwrap_or_default();
            serde_json::from_slice(&plain).unwrap_or_else(|_| json!("<undecodable>"))
        });
    let told = |call: emulator::platform::RecordedCall| {
        // The recordings were made with an address for results that wants no credentials.
        let is_result = call.path == "/result/exec1";
        Call {
            object: if call.line() == "POST /objects" {
                uploads.next().unwrap_or_default()
            } else {
                Value::Null
            },
            auth: if is_result {
                String::new()
            } else {
                call.credentials().unwrap_or_default()
            },
            path: if is_result {
                "/result".into()
            } else {
                call.path_and_query()
            },
            body: call.json().unwrap_or_default(),
            method: call.method,
            status: call.status,
        }
    };
    platform.calls().into_iter().map(told).collect()
}

// --- The process -------------------------------------------------------------------------------------------------

fn start(scenario: &Scenario, environment: Vec<(String, String)>, output: &File) -> Result<Child> {
    let mut command = Command::new(scripted()?);
    match &scenario.service {
        Some(method) => command.args(["service", method]),
        None => command.arg("run"),
    };
    command.env_clear().envs(environment).kill_on_drop(true);
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?);
    command
        .spawn()
        .context("the component could not be started")
}

/// Cargo builds examples with the tests, next to the folder of this test's binary.
pub(super) fn scripted() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test
        .ancestors()
        .nth(2)
        .context("the test binary lies in no target folder")?;
    let path = profile.join("examples").join("scripted");
    ensure!(
        path.exists(),
        "{} is missing: build it with `cargo build --example scripted`",
        path.display()
    );
    Ok(path)
}

/// Some: the component ended by itself. None: all that was awaited has happened, or is not going to.
async fn wait_for(
    child: &mut Child,
    goal: &Record,
    queues: &Queues,
    platform: &Platform,
) -> Result<Option<ExitStatus>> {
    let (mut last, mut since) = (None, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let published = queues.depth(&queues.output).await?.0;
        let dead = queues.depth(&queues.dead).await?.0;
        let waiting = queues.depth(&queues.input).await?.0;
        let calls = platform.calls().len();
        let now = Some((published, dead, waiting, calls));
        if now != last {
            (last, since) = (now, Instant::now());
        }
        let reached = published as usize >= goal.published.len()
            && dead >= goal.dead_lettered
            && waiting <= goal.left_in_queue
            && calls >= goal.api.len()
            && !goal.exited_by_itself;
        if since.elapsed() > if reached { QUIET } else { PATIENCE } {
            return Ok(None);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// None: it did not end in time.
async fn terminate(child: &mut Child) -> Result<Option<ExitStatus>> {
    let pid = child.id().context("the process is over already")?;
    Command::new("kill")
        .args(["-TERM", &pid.to_string()])
        .status()
        .await?;
    match timeout(GRACE, child.wait()).await {
        Ok(status) => Ok(Some(status?)),
        Err(_) => child
            .kill()
            .await
            .map(|()| None)
            .context("the component could not be ended"),
    }
}

fn last_lines(output: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(8)..].join("\n"))
}

// --- The broker ----------------------------------------------------------------------------------------------------

/// One step's queues and exchange, under names that no other scenario has.
struct Queues {
    channel: Channel,
    input: String,
    output: String,
    dead: String,
    exchange: String,
    dead_exchange: String,
}

impl Queues {
    async fn declare(channel: Channel) -> Result<Self> {
        let prefix = format!("conformance-{}", uuid::Uuid::new_v4().simple());
        let name = |part: &str| format!("{prefix}:{part}");
        let queues = Self {
            channel,
            input: name("in"),
            output: name("out"),
            dead: name("dead"),
            exchange: name("exchange"),
            dead_exchange: name("dead-exchange"),
        };
        let channel = &queues.channel;
        for (exchange, kind) in [
            (&queues.exchange, ExchangeKind::Topic),
            (&queues.dead_exchange, ExchangeKind::Fanout),
        ] {
            let (options, table) = (ExchangeDeclareOptions::default(), FieldTable::default());
            channel
                .exchange_declare(exchange.as_str().into(), kind, options, table)
                .await?;
        }
        let mut dead_lettering = FieldTable::default();
        dead_lettering.insert(
            "x-dead-letter-exchange".into(),
            AMQPValue::LongString(queues.dead_exchange.as_str().into()),
        );
        for (queue, table) in [
            (&queues.input, dead_lettering),
            (&queues.output, FieldTable::default()),
            (&queues.dead, FieldTable::default()),
        ] {
            channel
                .queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), table)
                .await?;
        }
        for (queue, exchange) in [
            (&queues.output, &queues.exchange),
            (&queues.dead, &queues.dead_exchange),
        ] {
            let (options, table) = (QueueBindOptions::default(), FieldTable::default());
            channel
                .queue_bind(
                    queue.as_str().into(),
                    exchange.as_str().into(),
                    "#".into(),
                    options,
                    table,
                )
                .await?;
        }
        Ok(queues)
    }

    async fn delete(&self) -> Result<()> {
        for queue in [&self.input, &self.output, &self.dead] {
            self.channel
                .queue_delete(queue.as_str().into(), QueueDeleteOptions::default())
                .await?;
        }
        for exchange in [&self.exchange, &self.dead_exchange] {
            self.channel
                .exchange_delete(exchange.as_str().into(), ExchangeDeleteOptions::default())
                .await?;
        }
        Ok(())
    }

    async fn send(&self, payload: &[u8], headers: Map<String, Value>) -> Result<()> {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            let value = match &value {
                Value::Number(number) => {
                    AMQPValue::LongInt(i32::try_from(number.as_i64().context("an integer")?)?)
                }
                text => AMQPValue::LongString(text.as_str().context("a text")?.into()),
            };
            table.insert(name.as_str().into(), value);
        }
        let properties = BasicProperties::default().with_headers(table);
        let options = BasicPublishOptions::default();
        self.channel
            .basic_publish(
                "".into(),
                self.input.as_str().into(),
                options,
                payload,
                properties,
            )
            .await?
            .await?;
        Ok(())
    }

    /// Messages that wait in a queue, and its consumers.
    async fn depth(&self, queue: &str) -> Result<(u32, u32)> {
        let options = QueueDeclareOptions {
            passive: true,
            ..Default::default()
        };
        let queue = self
            .channel
            .queue_declare(queue.into(), options, FieldTable::default())
            .await?;
        Ok((queue.message_count(), queue.consumer_count()))
    }

    /// The broker needs a moment to see that a process is gone; then what it had not settled is in the queue again.
    async fn wait_until_unread(&self) -> Result<()> {
        let gone = async {
            while self.depth(&self.input).await?.1 > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, gone)
            .await
            .context("the broker still sees a consumer of a process that ended")?
    }

    async fn take_published(&self, cipher: &Cipher, inputs: &[Vec<u8>]) -> Result<Vec<Published>> {
        let mut taken = Vec::new();
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = self
            .channel
            .basic_get(self.output.as_str().into(), options)
            .await?
        {
            let headers = message
                .delivery
                .properties
                .headers()
                .as_ref()
                .map_or(json!({}), table);
            let key = message.delivery.routing_key.to_string();
            let body = body(&key, &headers, &message.delivery.data, cipher, inputs);
            taken.push(Published {
                props: properties(&message.delivery.properties),
                key,
                headers,
                body,
            });
        }
        Ok(taken)
    }
}

/// A body in clear text, by the rules of the event that the routing key stands for.
fn body(key: &str, headers: &Value, bytes: &[u8], cipher: &Cipher, inputs: &[Vec<u8>]) -> Value {
    let undecodable = || json!("<undecodable>");
    let open = |bytes: &[u8], protocol| {
        let plain = cipher
            .decrypt(bytes, Encoding::of(protocol))
            .unwrap_or_default();
        serde_json::from_slice(&plain).unwrap_or_else(|_| undecodable())
    };
    let protocol = headers
        .get("protocolVersion")
        .and_then(Value::as_i64)
        .unwrap_or(1);
    match key {
        "error.key" => match serde_json::from_slice(bytes) {
            Ok(Value::Object(parts)) => {
                let part = |value: Value| {
                    value
                        .as_str()
                        .map(|text| open(text.as_bytes(), 1))
                        .unwrap_or(value)
                };
                parts
                    .into_iter()
                    .map(|(name, value)| (name, part(value)))
                    .collect()
            }
            _ => undecodable(),
        },
        "snapshot.key" => serde_json::from_slice(bytes).unwrap_or_else(|_| undecodable()),
        "rebound.key" => {
            json!({ "same_bytes_as_input": inputs.iter().any(|input| input == bytes) })
        }
        _ if headers.get("x-eio-error-response").is_some() => open(bytes, 1),
        _ => open(bytes, protocol),
    }
}

fn properties(properties: &BasicProperties) -> Value {
    let text =
        |value: &Option<lapin::types::ShortString>| value.as_ref().map(|text| json!(text.as_str()));
    let number = |value: &Option<u8>| value.map(|number| json!(number));
    [
        ("content_type", text(properties.content_type())),
        ("content_encoding", text(properties.content_encoding())),
        ("delivery_mode", number(properties.delivery_mode())),
        ("expiration", text(properties.expiration())),
        ("correlation_id", text(properties.correlation_id())),
        ("reply_to", text(properties.reply_to())),
        ("message_id", text(properties.message_id())),
        ("priority", number(properties.priority())),
        ("type", text(properties.kind())),
        ("app_id", text(properties.app_id())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn table(table: &FieldTable) -> Value {
    table
        .into_iter()
        .map(|(name, value)| (name.as_str().to_owned(), header(value)))
        .collect()
}

fn header(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        AMQPValue::FieldTable(value) => table(value),
        AMQPValue::Void => Value::Null,
        other => json!(format!("<unexpected type: {:?}>", other.get_type())),
    }
}
