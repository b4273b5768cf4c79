//! Records what a component did in a run, and replays it in a test: `emulator run --record FILE`, and [`replay`].
//!
//! The HTTP exchanges are seen by a proxy of the emulator ([`proxy`]), which the component is told with `HTTP_PROXY`,
//! `HTTPS_PROXY` and `ELASTICIO_CA_CERTS`. A hook in the sailor would see less: `cx.http()` is a plain `reqwest::Client`, so
//! requests that a module sends with it pass no code of the sailor. The proxy sees them, those of other HTTP clients that
//! read these variables, and those of other sailors; the sailor itself has nothing of it, not even switched off. For
//! `https` the proxy ends TLS with a certificate of an authority that lives as long as the run.
//!
//! A replay runs the component in memory, behind the same proxy, which answers from the file and opens no connection.

mod body;
mod differences;
mod environment;
mod exchanges;
mod forwarder;
mod made;
mod multipart;
mod names;
mod proxy;
mod recorder;
mod replacing;
mod replay;
mod secrets;
mod values;
mod views;

pub use replay::{ReplayError, replay};

pub(crate) use recorder::Recorder;

use exchanges::Exchange;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The version of the files that this emulator writes and reads.
const VERSION: u64 = 1;

/// The content of a file. docs/emulator.md describes it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Recording {
    version: u64,
    recorded_at: String,
    function: String,
    /// Variables that component.json names, and those of the sailor that a replay needs.
    environment: BTreeMap<String, String>,
    configuration: Value,
    snapshot: Value,
    message: Value,
    exchanges: Vec<Exchange>,
    events: Vec<Value>,
}

/// Returns a data event without what each run makes anew (its id), what the platform adds (the passthrough), and what says
/// nothing (empty members). The module's routing key is in its headers in memory, and on the wire it is the message's own.
fn data_event(message: &Value, routing_key: Option<&str>) -> Value {
    let mut members = message.as_object().cloned().unwrap_or_default();
    let mut key = routing_key.map(str::to_owned);
    members.remove("id");
    members.remove("passthrough");
    if let Some(Value::Object(headers)) = members.get_mut("headers") {
        headers.retain(|name, value| {
            let is_key = name.eq_ignore_ascii_case("x-eio-routing-key");
            if is_key {
                key = value.as_str().map(str::to_owned);
            }
            !is_key
        });
    }
    members.retain(|name, value| name == "body" || !is_empty(value));
    members.extend(key.map(|key| ("routingKey".to_owned(), key.into())));
    event("data", members.into())
}

fn event(kind: &str, content: Value) -> Value {
    Map::from_iter([(kind.to_owned(), content)]).into()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_is_the_same_from_the_wire_and_from_memory() {
        let wire = json!({
            "id": "1", "attachments": {}, "body": {"a": null}, "headers": {"x": 1}, "passthrough": {"step_0": {}}
        });
        let memory = json!({"body": {"a": null}, "headers": {"x": 1, "X-EIO-Routing-Key": "k"}});
        let data = json!({"data": {"body": {"a": null}, "headers": {"x": 1}, "routingKey": "k"}});
        assert_eq!(data_event(&wire, Some("k")), data);
        assert_eq!(data_event(&memory, None), data);
        let empty = json!({"data": {"body": null}});
        assert_eq!(
            data_event(&json!({"body": null, "headers": {}}), None),
            empty
        );
    }
}
