//! What happens in a scenario, and the component's environment for it.

use sailor::protocol::{Cipher, Encoding};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One entry of `scenarios.json`; `tests/conformance/README.md` explains the members.
#[derive(Deserialize)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) service: Option<String>,
    #[serde(default)]
    pub(super) messages: Vec<Incoming>,
    #[serde(default)]
    pub(super) objects: BTreeMap<String, Value>,
    #[serde(default)]
    pub(super) api_fail: BTreeMap<String, Vec<u16>>,
    pub(super) hooks_data: Option<Value>,
    pub(super) step: Option<Value>,
    #[serde(default)]
    env: BTreeMap<String, Option<String>>,
}

/// A message on the step's queue.
#[derive(Deserialize)]
pub(super) struct Incoming {
    message: Option<Value>,
    raw: Option<String>,
    error_input: Option<BTreeMap<String, Value>>,
    #[serde(default = "first_protocol")]
    proto: i64,
    #[serde(default)]
    amqp_headers: Map<String, Value>,
}

fn first_protocol() -> i64 {
    1
}

impl Scenario {
    /// Messages that are processed at the same time may be published in any order.
    pub(super) fn is_parallel(&self) -> bool {
        self.env.contains_key("RABBITMQ_PREFETCH_SAILOR")
    }

    /// The component's environment: the platform's variables, with the scenario's own. It reads `queue` and publishes to
    /// `exchange`.
    pub(super) fn environment(
        &self,
        broker: &str,
        queue: &str,
        exchange: &str,
        api: &str,
        result: &str,
    ) -> Vec<(String, String)> {
        let mut env: BTreeMap<&str, Option<&str>> = [
            ("FLOW_ID", "flow1"),
            ("EXEC_ID", "exec1"),
            ("STEP_ID", "step_1"),
            ("CONTAINER_ID", "cont1"),
            ("WORKSPACE_ID", "ws1"),
            ("USER_ID", "user1"),
            ("COMP_ID", "comp1"),
            ("FUNCTION", "script"),
            ("API_URI", api),
            ("API_USERNAME", "u"),
            ("API_KEY", "k"),
            ("API_REQUEST_RETRY_DELAY", "50"),
            ("OBJECT_STORAGE_URI", api),
            ("OBJECT_STORAGE_TOKEN", "jwt-token"),
            ("AMQP_URI", broker),
            ("LISTEN_MESSAGES_ON", queue),
            ("PUBLISH_MESSAGES_TO", exchange),
            ("DATA_ROUTING_KEY", "data.key"),
            ("ERROR_ROUTING_KEY", "error.key"),
            ("REBOUND_ROUTING_KEY", "rebound.key"),
            ("SNAPSHOT_ROUTING_KEY", "snapshot.key"),
            ("MESSAGE_CRYPTO_IV", "iv=any16_symbols"),
            ("MESSAGE_CRYPTO_PASSWORD", "testCryptoPassword"),
        ]
        .map(|(name, value)| (name, Some(value)))
        .into();
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_deref())),
        );
        let text = |value: &str| {
            value
                .replace("{base}/result", result)
                .replace("{base}", api)
        };
        let set = env
            .into_iter()
            .filter_map(|(name, value)| Some((format!("ELASTICIO_{name}"), text(value?))));
        set.chain([("LOG_LEVEL".to_owned(), "error".to_owned())])
            .collect()
    }
}

impl Incoming {
    /// The payload that is sent.
    pub(super) fn payload(&self, cipher: &Cipher) -> Vec<u8> {
        let seal =
            |value: &Value, encoding| cipher.encrypt(value.to_string().into_bytes(), encoding);
        match self {
            Self { raw: Some(raw), .. } => raw.clone().into_bytes(),
            Self {
                error_input: Some(parts),
                ..
            } => {
                let sealed =
                    |value| Value::from(String::from_utf8(seal(value, Encoding::Base64)).unwrap());
                let parts: Map<String, Value> = parts
                    .iter()
                    .map(|(name, value)| (name.clone(), sealed(value)))
                    .collect();
                Value::Object(parts).to_string().into_bytes()
            }
            Self { message, .. } => seal(message.as_ref().unwrap(), Encoding::of(self.proto)),
        }
    }

    /// Its header table: the platform's, with the scenario's own headers. Null removes one.
    pub(super) fn headers(&self) -> Map<String, Value> {
        let table = json!({
            "execId": "exec1", "taskId": "flow1", "userId": "user1", "stepId": "step_0",
            "threadId": "thread-1", "messageId": "msg-1", "parentMessageId": "parent-1",
        });
        let Value::Object(mut table) = table else {
            unreachable!()
        };
        if self.proto > 1 {
            table.insert("protocolVersion".into(), self.proto.into());
        }
        table.extend(self.amqp_headers.clone());
        table
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect()
    }
}
