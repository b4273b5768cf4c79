//! Messages whose headers the AMQP client cannot read.

use super::{tls::server_tls, *};
use std::fs;
use test_rig::tampering_proxy::{
    Replacement, TamperingProxy,
    wire::{HEADERS, name, nested, table, text},
};
use tokio_rustls::TlsAcceptor;

/// Sends unreadable messages, each after a readable one. All are processed, without a second connection.
async fn unreadable_messages_are_processed(acceptor: Option<TlsAcceptor>, trusted: &str) {
    let mut rig = scripted(3).await;
    let with = |more: &[(&[u8], Vec<u8>)]| {
        let first: [(&[u8], _); 1] = [(b"messageId", text(b"m"))];
        table(&[&first, more].concat())
    };
    let unreadable = [
        ("tables", HEADERS, with(&[(b"x", nested(500, b'F'))])),
        (
            "deeper tables",
            HEADERS,
            with(&[(b"x-eio-meta-x", nested(1000, b'F'))]),
        ),
        (
            "arrays",
            HEADERS,
            with(&[(b"x-eio-meta-x", nested(10_000, b'A'))]),
        ),
        (
            "names",
            HEADERS,
            with(&[(b"caf\xe9", text(b"x")), (b"x-eio-meta-\xff", text(b"x"))]),
        ),
        (
            "properties",
            HEADERS | 1 << 5 | 1 << 3,
            [with(&[]), name(b"\xff"), name(b"\xfe")].concat(),
        ),
        ("values", HEADERS, with(&[(b"x", b"Z".to_vec())])),
        ("frames", HEADERS, with(&[(b"x", text(&[b'x'; 140_000]))])),
    ];
    let instead = unreadable.iter().map(|(mark, flags, bytes)| {
        Replacement::new(format!("put {mark} here"), *flags, bytes.clone())
    });
    let scheme = if acceptor.is_some() { "amqps" } else { "amqp" };
    let uri = rig.emulator.broker().uri();
    let (_, rest) = uri.split_once("://").unwrap();
    let (user, rest) = rest.split_once('@').unwrap_or(("guest:guest", rest));
    let (address, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let relay = TamperingProxy::start(address.to_owned(), acceptor, instead.collect()).await;
    rig = rig.variable(
        "ELASTICIO_AMQP_URI",
        format!("{scheme}://{user}@localhost:{}/{vhost}", relay.port),
    );
    if !trusted.is_empty() {
        rig = rig.variable("SSL_CERT_FILE", trusted);
    }

    let component = rig.start();
    for (n, (mark, ..)) in unreadable.iter().enumerate() {
        rig.send(json!([["data", { "body": { "n": 2 * n } }]]));
        rig.send_with(
            json!([["data", { "body": { "n": 2 * n + 1 } }]]),
            json!({ "mark": format!("put {mark} here") }),
        );
    }
    rig.events(EventKind::Acked, 2 * unreadable.len()).await;
    let mut done: Vec<_> = rig
        .events(EventKind::Data, 2 * unreadable.len())
        .await
        .iter()
        .map(|e| e.body["body"]["n"].as_u64())
        .collect();
    done.sort_unstable();
    assert_eq!(
        done,
        (0..2 * unreadable.len() as u64)
            .map(Some)
            .collect::<Vec<_>>()
    );
    assert_eq!(
        relay.connections(),
        2,
        "one connection to read and one to write"
    );
    let (status, lines) = component.stop().await;
    assert_eq!(status, 0);
    let cut = lines.iter().filter(|line| {
        line["msg"]
            .as_str()
            .is_some_and(|text| text.contains("were cut"))
    });
    assert_eq!(cut.count(), unreadable.len());
}

#[tokio::test]
async fn messages_that_the_client_cannot_read_are_processed() {
    unreadable_messages_are_processed(None, "").await;
}

#[tokio::test]
async fn messages_that_the_client_cannot_read_are_processed_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = server_tls("localhost");
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority).unwrap();
    unreadable_messages_are_processed(Some(acceptor), file.to_str().unwrap()).await;
}
