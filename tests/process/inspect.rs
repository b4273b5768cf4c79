//! `component inspect`: bodies and headers from files, from standard input and from queues.

use super::*;
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use sailor::protocol::{Encoding, ErrorReport, error_body};
use std::{env, fs, path::PathBuf, process::Stdio};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

const CONTENT: &str = "very-private-content";

/// A step, and a folder for captured messages.
struct Desk {
    rig: Rig,
    folder: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            rig: scripted(1).await,
            folder,
        }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn sealed(&self, value: &Value, encoding: Encoding) -> Vec<u8> {
        self.rig
            .emulator
            .cipher()
            .encrypt(value.to_string().into(), encoding)
    }

    /// What is printed about the one message of these arguments.
    async fn inspected(&self, arguments: &[&str]) -> Value {
        let arguments = [&["inspect", "--json"], arguments].concat();
        let ended = run_command(&self.rig, &arguments).await;
        assert_eq!(ended.status, 0, "{ended:?}");
        let mut printed = printed(&ended);
        assert_eq!(printed["messages"].as_array().unwrap().len(), 1);
        printed["messages"][0].take()
    }
}

fn message() -> Value {
    json!({
        "id": "m-1",
        "headers": { "x-ipaas-object-storage-id": "object-1" },
        "body": { "name": CONTENT, "rows": [{ "n": 1 }, { "n": 2 }] },
        "attachments": { "a.pdf": { "url": format!("https://files/{CONTENT}"), "content-type": "application/pdf", "size": 7 } },
        "passthrough": { "step_0": { "body": { "old": CONTENT } } },
    })
}

#[tokio::test]
async fn a_message_is_told_in_both_protocols_without_values() {
    let desk = Desk::new().await;
    for (encoding, protocol) in [(Encoding::Base64, 1), (Encoding::Raw, 2)] {
        let file = desk.file("body", desk.sealed(&message(), encoding));
        let found = desk.inspected(&[&file]).await;
        assert_eq!(
            (
                &found["kind"],
                &found["id"],
                &found["protocol"],
                &found["objectId"]
            ),
            (
                &json!("message"),
                &json!("m-1"),
                &json!(protocol),
                &json!("object-1")
            )
        );
        assert_eq!(
            found["attachments"],
            json!([{ "name": "a.pdf", "contentType": "application/pdf", "size": 7 }])
        );
        assert_eq!(found["passthrough"][0]["step"], "step_0");
        let row = json!({ "path": "body.rows", "type": "list", "size": 2 });
        assert!(
            found["structure"].as_array().unwrap().contains(&row),
            "{found}"
        );
        assert!(!found.to_string().contains(CONTENT), "{found}");
        let found = desk.inspected(&[&file, "--body"]).await;
        assert_eq!(found["content"], message());
    }
}

fn error_report(desk: &Desk) -> String {
    ErrorReport::new(CONTENT).encrypt(desk.rig.emulator.cipher())
}

/// The body of the error event that the message has caused.
fn error_event(desk: &Desk) -> Vec<u8> {
    let report = error_report(desk);
    let input = desk.sealed(&message(), Encoding::Raw);
    error_body(&report, Some((&input, Encoding::Raw)))
}

#[tokio::test]
async fn each_kind_is_told() {
    let desk = Desk::new().await;
    let sealed = |value: Value| desk.sealed(&value, Encoding::Base64);
    for (body, headers, kind) in [
        (error_event(&desk), json!({ "end": 1 }), "error event"),
        (
            error_report(&desk).into_bytes(),
            json!({ "x-eio-error-response": true }),
            "error reply",
        ),
        (
            sealed(message()),
            json!({ "reboundIteration": 2, "reboundReason": CONTENT }),
            "rebound",
        ),
        (
            sealed(json!({ "statusCode": 200, "body": CONTENT })),
            json!({ "protocolVersion": 1 }),
            "HTTP reply",
        ),
        (
            sealed(json!({ "accountId": "a", "keys": { "k": CONTENT } })),
            json!({}),
            "key update",
        ),
        (
            json!({ "position": CONTENT }).to_string().into(),
            json!({ "snapshotEvent": "snapshot" }),
            "snapshot",
        ),
        (sealed(json!([CONTENT])), json!({}), "not a message"),
    ] {
        let file = desk.file("body", &body);
        let headers = desk.file("headers", headers.to_string());
        let found = desk.inspected(&[&file, "--headers", &headers]).await;
        assert!(
            found["kind"].as_str().unwrap().starts_with(kind),
            "{kind}: {found}"
        );
        assert!(!found.to_string().contains(CONTENT), "{found}");
        let shown = desk
            .inspected(&[&file, "--headers", &headers, "--body"])
            .await;
        assert!(shown["content"].to_string().contains(CONTENT), "{shown}");
        if kind == "error event" {
            assert_eq!(shown["content"]["errorInput"], message());
            assert_eq!(shown["content"]["error"]["message"], CONTENT);
        }
    }
}

#[tokio::test]
async fn headers_alone_are_told() {
    let desk = Desk::new().await;
    let headers = json!({ "messageId": "m-1", "protocolVersion": 2, "x-eio-meta-note": CONTENT });
    let file = desk.file("headers", headers.to_string());
    let found = desk.inspected(&["--headers", &file]).await;
    assert_eq!(found["id"], "m-1");
    assert_eq!(found["headers"]["protocolVersion"], 2);
    assert_eq!(
        found["headers"]["x-eio-meta-note"],
        json!({ "type": "text", "size": CONTENT.len() })
    );
    let found = desk.inspected(&["--headers", &file, "--body"]).await;
    assert_eq!(found["headers"], headers);
}

#[tokio::test]
async fn a_body_comes_from_standard_input_for_people() {
    let desk = Desk::new().await;
    let mut command = desk.rig.command();
    command
        .arg("inspect")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let body = desk.sealed(&message(), Encoding::Base64);
    child.stdin.take().unwrap().write_all(&body).await.unwrap();
    let output = soon("its end", child.wait_with_output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for part in [
        "standard input: message, id \"m-1\", protocol version 1, ",
        "\n  attachment \"a.pdf\": \"application/pdf\", size 7\n",
        "\n  body.name: text, 20 bytes\n",
        "--body shows them",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains(CONTENT), "{text}");
}

/// Asserts that a command fails with this text, and shows no secret and no content.
async fn assert_told(desk: &Desk, arguments: &[&str], variable: (&str, &str), expected: &str) {
    let mut command = desk.rig.command();
    command.arg("inspect").args(arguments);
    match variable {
        ("", _) => {}
        (name, "") => drop(command.env_remove(name)),
        (name, value) => drop(command.env(name, value)),
    }
    let ended = Process::run(command).await;
    let told = ended.output();
    assert_eq!(ended.status, 1, "{told}");
    assert!(told.contains(expected), "{expected}: {told}");
    for secret in [
        "s3cret",
        CONTENT,
        "emulator-crypto-password",
        "emulator-iv-0016",
    ] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[tokio::test]
async fn each_wrong_input_has_its_remedy() {
    const PASSWORD: &str = "ELASTICIO_MESSAGE_CRYPTO_PASSWORD";
    const VECTOR: &str = "ELASTICIO_MESSAGE_CRYPTO_IV";
    let (desk, none) = (Desk::new().await, ("", ""));
    let body = desk.sealed(&message(), Encoding::Base64);
    let good = desk.file("good", &body);
    let cut = desk.file("cut", &body[..body.len() - 8]);
    let text = desk.file("text", "what is this?");
    let list = desk.file("list", "[1]");
    let missing = format!("{PASSWORD} is required");
    for (arguments, variable, expected) in [
        (&[&*good][..], (PASSWORD, "s3cret"), PASSWORD),
        (&[&good], (VECTOR, "s3cret-of-16-too"), VECTOR),
        (&[&good], (PASSWORD, ""), &missing),
        (&[&good, "--protocol", "2"], none, "--protocol 1"),
        (&[&cut], none, "capture the whole body"),
        (&[&text, "--protocol", "1"], none, "not base64 text"),
        (&["/no/such/file"], none, "cannot be read; name a file"),
        (&["--headers", &list], none, "is not a JSON object"),
    ] {
        assert_told(&desk, arguments, variable, expected).await;
    }
}

#[tokio::test]
async fn each_trouble_with_a_queue_has_its_remedy() {
    const URI: &str = "ELASTICIO_AMQP_URI";
    let desk = Desk::new().await;
    let (missing, away) = (
        "ELASTICIO_AMQP_URI is required",
        "amqp://u:s3cret@127.0.0.1:1",
    );
    let wrong = desk
        .rig
        .emulator
        .broker()
        .uri()
        .replace("guest:guest", "guest:s3cret");
    for (arguments, uri, expected) in [
        (&["--queue"][..], "", missing),
        (&["--queue"], away, "check that the broker runs"),
        (&["--queue"], &wrong, "check user name and password"),
    ] {
        assert_told(&desk, arguments, (URI, uri), expected).await;
    }
    assert_told(&desk, &["--queue", "none"], ("", ""), "no queue 'none'").await;
}

/// A queue of its own on a broker.
struct Queue {
    uri: String,
    name: String,
    channel: Channel,
    _connection: Connection,
}

impl Queue {
    async fn declare(uri: String) -> Self {
        let connecting = Connection::connect(&uri, ConnectionProperties::default());
        let connection = connecting.await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let name = format!("peeked-{}", uuid::Uuid::new_v4());
        let (options, arguments) = (QueueDeclareOptions::default(), FieldTable::default());
        let declared = channel.queue_declare(name.as_str().into(), options, arguments);
        declared.await.unwrap();
        Self {
            uri,
            name,
            channel,
            _connection: connection,
        }
    }

    /// Puts a message into the queue. Returns its body and its properties.
    async fn put(&self, n: usize, version: i8, body: Vec<u8>) -> (Vec<u8>, BasicProperties) {
        let mut headers = FieldTable::default();
        let id = AMQPValue::LongString(format!("m-{n}").into());
        headers.insert("messageId".into(), id);
        let version = AMQPValue::ShortShortInt(version);
        headers.insert("protocolVersion".into(), version);
        let properties = BasicProperties::default()
            .with_headers(headers)
            .with_priority(3);
        let (key, options) = (self.name.as_str().into(), BasicPublishOptions::default());
        let confirm =
            self.channel
                .basic_publish("".into(), key, options, &body, properties.clone());
        confirm.await.unwrap().await.unwrap();
        (body, properties)
    }

    async fn take(&self) -> lapin::message::Delivery {
        let options = BasicGetOptions { no_ack: true };
        let got = self.channel.basic_get(self.name.as_str().into(), options);
        got.await.unwrap().expect("the message is there").delivery
    }

    async fn delete(self) {
        let options = QueueDeleteOptions::default();
        let deleted = self
            .channel
            .queue_delete(self.name.as_str().into(), options);
        deleted.await.unwrap();
    }
}

/// The emulator's broker, and RabbitMQ if there is one.
fn brokers(rig: &Rig) -> Vec<String> {
    let mut brokers = vec![rig.emulator.broker().uri()];
    brokers.extend(env::var("SAILOR_TEST_AMQP_URI").ok());
    brokers
}

#[tokio::test]
async fn a_peeked_queue_is_as_before() {
    let desk = Desk::new().await;
    for uri in brokers(&desk.rig) {
        let queue = Queue::declare(uri).await;
        let mut put = vec![];
        for (n, version) in [2, 1, 2].into_iter().enumerate() {
            let body = desk.sealed(&message(), Encoding::of(version.into()));
            put.push(queue.put(n, version, body).await);
        }
        let mut command = desk.rig.command();
        command.args(["inspect", "--json", "--queue", &queue.name, "--count", "2"]);
        command.env("ELASTICIO_AMQP_URI", &queue.uri);
        let ended = Process::run(command).await;
        assert_eq!(ended.status, 0, "{ended:?}");
        assert!(!ended.stdout.contains(CONTENT));
        let printed = printed(&ended);
        let state = json!({ "name": queue.name, "ready": 3, "consumers": 0 });
        assert_eq!(printed["queue"], state);
        let messages = printed["messages"].as_array().unwrap();
        for (n, protocol) in [2, 1].into_iter().enumerate() {
            let seen = &messages[n];
            assert_eq!(seen["headers"]["messageId"], format!("m-{n}"));
            assert_eq!(
                (&seen["kind"], &seen["protocol"]),
                (&json!("message"), &json!(protocol))
            );
            assert_eq!(
                (&seen["redelivered"], &seen["routingKey"]),
                (&json!(false), &json!(queue.name))
            );
        }
        for (n, put) in put.into_iter().enumerate() {
            let got = queue.take().await;
            assert_eq!((got.data, got.properties), put);
            assert_eq!(got.redelivered, n < 2, "only what was looked at is marked");
        }
        queue.delete().await;
    }
}

#[tokio::test]
async fn the_steps_own_queue_is_the_default() {
    let desk = Desk::new().await;
    let ended = run_command(&desk.rig, &["inspect", "--queue"]).await;
    assert!(ended.stdout.contains("no message is ready"), "{ended:?}");
    let id = desk.rig.send(json!([]));
    let ended = run_command(&desk.rig, &["inspect", "--queue"]).await;
    assert!(
        ended
            .stdout
            .contains(&format!("message 1: message, id \"{id}\"")),
        "{ended:?}"
    );
    // The step processes it as if nobody had looked.
    let component = desk.rig.start();
    desk.rig.events(EventKind::Acked, 1).await;
    assert_eq!(component.stop().await.0, 0);
}

#[tokio::test]
async fn a_wrong_protocol_version_in_a_queue_is_told() {
    let desk = Desk::new().await;
    let raw = desk.sealed(&message(), Encoding::Raw);
    desk.rig.emulator.send_raw(raw, "m-1", &Headers::new());
    let ended = run_command(&desk.rig, &["inspect", "--queue", "--json"]).await;
    let told = printed(&ended)["messages"][0].to_string();
    assert_eq!(ended.status, 1, "{ended:?}");
    assert!(
        told.contains("not of protocol version 1") && told.contains("protocolVersion"),
        "{told}"
    );
}
