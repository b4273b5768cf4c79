//! Messages that the AMQP client cannot read, and brokers that speak TLS.

use super::{
    interfering::{
        Instead, Interfering,
        wire::{HEADERS, name, nested, table, text},
    },
    *,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use tokio_rustls::{TlsAcceptor, rustls};

/// A broker's TLS with a certificate for this name, and who has issued it, as PEM.
fn tls(name: &str) -> (TlsAcceptor, String) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec![name.to_owned()])
        .unwrap()
        .signed_by(&key, &authority)
        .unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), authority.pem())
}

/// Messages that nobody could read, each between two good ones; all are worked on, on one connection.
async fn hostile_messages_are_worked_on(acceptor: Option<TlsAcceptor>, trusted: &str) {
    let mut rig = Rig::with_prefetch(3).await;
    let with = |more: &[(&[u8], Vec<u8>)]| {
        let first: [(&[u8], _); 1] = [(b"messageId", text(b"m"))];
        table(&[&first, more].concat())
    };
    let hostile = [
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
    let instead = hostile.iter().map(|(mark, flags, bytes)| {
        Instead::new(format!("put {mark} here"), *flags, bytes.clone())
    });
    let scheme = if acceptor.is_some() { "amqps" } else { "amqp" };
    let uri = rig.emulator.broker().uri();
    let (_, rest) = uri.split_once("://").unwrap();
    let (user, rest) = rest.split_once('@').unwrap_or(("guest:guest", rest));
    let (address, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let relay = Interfering::start(address.to_owned(), acceptor, instead.collect()).await;
    rig = rig.variable(
        "ELASTICIO_AMQP_URI",
        format!("{scheme}://{user}@localhost:{}/{vhost}", relay.port),
    );
    if !trusted.is_empty() {
        rig = rig.variable("SSL_CERT_FILE", trusted);
    }

    let component = rig.start();
    for (n, (mark, ..)) in hostile.iter().enumerate() {
        rig.send(json!([["data", { "body": { "n": 2 * n } }]]));
        rig.send_with(
            json!([["data", { "body": { "n": 2 * n + 1 } }]]),
            json!({ "mark": format!("put {mark} here") }),
        );
    }
    rig.events(EventKind::Acked, 2 * hostile.len()).await;
    let mut done: Vec<_> = rig
        .events(EventKind::Data, 2 * hostile.len())
        .await
        .iter()
        .map(|e| e.body["body"]["n"].as_u64())
        .collect();
    done.sort_unstable();
    assert_eq!(
        done,
        (0..2 * hostile.len() as u64).map(Some).collect::<Vec<_>>()
    );
    assert_eq!(relay.connections(), 2, "one to read and one to write");
    let (status, lines) = component.stop().await;
    assert_eq!(status, 0);
    let cut = lines.iter().filter(|line| {
        line["msg"]
            .as_str()
            .is_some_and(|text| text.contains("were cut"))
    });
    assert_eq!(cut.count(), hostile.len());
}

#[tokio::test]
async fn messages_that_the_client_cannot_read_are_worked_on() {
    hostile_messages_are_worked_on(None, "").await;
}

#[tokio::test]
async fn messages_that_the_client_cannot_read_are_worked_on_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = tls("localhost");
    let file = folder.path().join("ca.pem");
    fs::write(&file, authority).unwrap();
    hostile_messages_are_worked_on(Some(acceptor), file.to_str().unwrap()).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = tls("elsewhere.example");
    let (own, other) = (
        folder.path().join("own.pem"),
        folder.path().join("other.pem"),
    );
    fs::write(&own, authority).unwrap();
    fs::write(&other, tls("localhost").1).unwrap();
    let relay = Interfering::start("127.0.0.1:1".into(), Some(acceptor), vec![]).await;
    for (trusted, expected) in [(&own, "is for another name"), (&other, "is not trusted")] {
        let rig = Rig::with_prefetch(1).await;
        let rig = rig.variable(
            "ELASTICIO_AMQP_URI",
            format!("amqps://guest:s3cret@localhost:{}", relay.port),
        );
        let rig = rig.variable("ELASTICIO_AMQP_RECONNECT_ATTEMPTS", "0");
        let output = rig
            .variable("SSL_CERT_FILE", trusted.to_str().unwrap())
            .run()
            .await;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            log.contains(expected) && !log.contains("check that the broker runs"),
            "{log}"
        );
        assert!(!log.contains("s3cret"));
    }
}
