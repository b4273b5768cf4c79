//! The requests to object storage, and the results of its responses. This file has the storage that the tests use.

mod attachments;
mod bodies;
mod limits;

use super::*;
use crate::protocol::{Encoding, Json};
use futures_util::StreamExt;
use http_double::{PreparedResponse, RecordedCall, ScriptedDouble, Trouble};
use serde_json::json;
use tokio::time::Instant;

fn cipher() -> Cipher {
    Cipher::new("testCryptoPassword", "iv=any16_symbols").unwrap()
}

fn storage(uri: &str, cipher: Option<Cipher>) -> ObjectStorage {
    let settings = ObjectStorageSettings {
        uri: uri.to_owned(),
        token: "top-secret".into(),
        retries: Some(2),
        timeout: Duration::from_secs(5),
        size_limit: Some(4000),
    };
    let identity = StepIdentity {
        flow_id: "flow1".into(),
        step_id: "step_1".into(),
        ..StepIdentity::default()
    };
    let (http, streams) = (
        http::client_without_redirects().unwrap(),
        http::streaming_client().unwrap(),
    );
    ObjectStorage::new(http, streams, &settings, cipher, &identity)
}

/// A server that sends these responses one after the other.
async fn server(responses: Vec<PreparedResponse>) -> ScriptedDouble {
    let server = ScriptedDouble::start().await.unwrap();
    server.respond("", responses);
    server
}

fn header<'a>(request: &'a RecordedCall, name: &str) -> Option<&'a str> {
    request
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

fn stored(id: &str) -> PreparedResponse {
    PreparedResponse::json(201, &json!({ "objectId": id }))
}

fn text(json: &Json) -> &str {
    std::str::from_utf8(json.as_bytes()).unwrap()
}
