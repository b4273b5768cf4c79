//! The rules of the parts, without a session. How a session applies them is tested in `tests/it/oauth2`.

mod definition;
mod exchange_error;
mod profile;
mod refusal;
mod template;
mod token_endpoint;
mod token_record;
mod token_request;
mod token_response;
mod token_status;

use crate::settings::descriptor::Descriptor;
use serde_json::{Map, Value, json};

/// The members of an object.
fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        other => panic!("{other} is no object"),
    }
}

fn field(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

/// A component.json with these credentials.
fn descriptor(credentials: Value) -> Descriptor {
    serde_json::from_value(json!({"title": "Test", "credentials": credentials})).unwrap()
}
