//! The work of a step for each message, without broker, clock or randomness: the run whose instructions `scripts/guard`
//! counts.
//!
//! A message is decrypted and read, its body becomes a value and JSON text again, and the event goes out encrypted, with
//! its own header table and, with passthrough, the messages of earlier steps.

use crate::sample;
use anyhow::Context as _;
use bytes::Bytes;
use sailor::protocol::{Cipher, Encoding, Headers, IncomingHeaders, Json, Object, StepIdentity};
use serde_json::{Value, json};

/// A kind of message, and how many of them a run has.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name in `bench/instructions.toml`.
    pub name: &'static str,
    /// How many messages are worked on.
    pub messages: usize,
    /// Records in the body of each, of about 100 bytes.
    records: usize,
    /// How many earlier steps a message carries in its passthrough, each with a body as large as its own.
    earlier_steps: usize,
    protocol: i64,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 4] = [
    scenario("small", 200, 10, 0, 2),
    scenario("small_base64", 200, 10, 0, 1),
    scenario("small_after_ten_steps", 50, 10, 10, 2),
    scenario("large", 2, 10_000, 0, 2),
];

const fn scenario(
    name: &'static str,
    messages: usize,
    records: usize,
    earlier_steps: usize,
    protocol: i64,
) -> Scenario {
    Scenario {
        name,
        messages,
        records,
        earlier_steps,
        protocol,
    }
}

/// A step with the message that it gets.
pub struct Run {
    scenario: Scenario,
    cipher: Cipher,
    identity: StepIdentity,
    headers: Headers,
    payload: Bytes,
}

impl Run {
    /// Makes the message of a scenario.
    #[must_use]
    pub fn new(scenario: Scenario) -> Self {
        let cipher = sample::cipher();
        let message = message(&scenario).to_string().into_bytes();
        let identity = StepIdentity {
            flow_id: "flow".into(),
            exec_id: "execution".into(),
            step_id: "step_own".into(),
            container_id: "container".into(),
            workspace_id: "workspace".into(),
            user_id: "user".into(),
            comp_id: "component".into(),
            function: "echo".into(),
        };
        let payload = cipher
            .encrypt(message, Encoding::of(scenario.protocol))
            .into();
        let headers = sample::headers(1, scenario.protocol);
        Self {
            scenario,
            cipher,
            identity,
            headers,
            payload,
        }
    }

    /// Processes all messages, and returns how many bytes went out. The instructions of this function, with all that it
    /// calls, are counted.
    ///
    /// # Errors
    /// When a message cannot be read, which is a mistake in the scenario.
    #[inline(never)]
    pub fn counted(&self) -> anyhow::Result<usize> {
        let mut bytes = 0;
        for _ in 0..self.scenario.messages {
            let (headers, payload) = std::hint::black_box(self.one()?);
            bytes += headers.len() + payload.len();
        }
        Ok(bytes)
    }

    /// From a delivery's headers and bytes to those of the event.
    fn one(&self) -> anyhow::Result<(Headers, Vec<u8>)> {
        let incoming = IncomingHeaders::read(&self.headers);
        let encoding = Encoding::of(incoming.protocol_version);
        let plain = self.cipher.decrypt(&self.payload, encoding)?;
        let message = Object::read(plain.into())?;
        let body: Value = message
            .get("body")
            .context("the message has no body")?
            .parse()?;

        let mut event = Object::new();
        event.set("headers", Json::empty_object());
        event.set("body", Json::of(&body)?);
        let passthrough = message.get("passthrough").and_then(Json::members);
        if let Some(mut steps) = passthrough {
            steps.set(&self.identity.step_id, event.to_json());
            event.set("passthrough", steps.to_json());
        }
        let mut headers = incoming.base_headers(&self.identity, &[], 1_700_000_000_000);
        headers.insert(
            "messageId".to_owned(),
            "0b4e5b0e-8c1d-4a57-9d0e-5f6a7b8c9d0e".into(),
        );
        headers.insert(
            "protocolVersion".to_owned(),
            incoming.protocol_version.into(),
        );
        Ok((headers, self.cipher.encrypt(event.to_vec(), encoding)))
    }
}

fn message(scenario: &Scenario) -> Value {
    let records: Vec<Value> = (0..scenario.records)
        .map(|number| {
            json!({
                "id": number,
                "name": format!("Contact number {number}"),
                "email": format!("contact.{number}@example.com"),
                "score": number as f64 / 8.0,
                "active": number % 2 == 0,
            })
        })
        .collect();
    let mut message = json!({
        "id": "0b4e5b0e-8c1d-4a57-9d0e-5f6a7b8c9d0e",
        "headers": {},
        "attachments": {},
        "body": { "records": records },
    });
    if scenario.earlier_steps > 0 {
        let entry = json!({ "headers": {}, "body": message["body"] });
        let entries =
            (1..=scenario.earlier_steps).map(|step| (format!("step_{step}"), entry.clone()));
        message["passthrough"] = Value::Object(entries.collect());
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_sends_on_the_body_that_it_got() {
        for scenario in SCENARIOS {
            let run = Run::new(scenario);
            let (headers, payload) = run.one().unwrap();
            let plain = run
                .cipher
                .decrypt(&payload, Encoding::of(scenario.protocol))
                .unwrap();
            let event: Value = serde_json::from_slice(&plain).unwrap();
            assert_eq!(
                event["body"],
                message(&scenario)["body"],
                "{}",
                scenario.name
            );
            assert_eq!(headers["parentMessageId"], "message-1");
            let steps = event["passthrough"]
                .as_object()
                .map_or(0, serde_json::Map::len);
            let expected = if scenario.earlier_steps == 0 {
                0
            } else {
                scenario.earlier_steps + 1
            };
            assert_eq!(steps, expected, "{}", scenario.name);
        }
    }
}
