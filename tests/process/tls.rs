//! Brokers and servers that speak TLS, with an authority that only the test knows.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{fs, path::PathBuf};
use tempfile::TempDir;
use test_rig::tampering_proxy::TamperingProxy;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier},
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for this name, and its key.
fn certificate(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (parameters.signed_by(&key, authority).unwrap(), key)
}

/// TLS for a server, with a certificate for this name; and the issuer's certificate as PEM.
pub(crate) fn server_tls(name: &str) -> (TlsAcceptor, String) {
    let authority = authority();
    (acceptor(&authority, name, false), authority.pem())
}

fn acceptor(authority: &Authority, name: &str, asks_client: bool) -> TlsAcceptor {
    let (certificate, key) = certificate(authority, name);
    let builder = ServerConfig::builder();
    let builder = if asks_client {
        let mut trusted = RootCertStore::empty();
        trusted.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(trusted.into()).build();
        builder.with_client_cert_verifier(verifier.unwrap())
    } else {
        builder.with_no_client_auth()
    };
    let config = builder
        .with_single_cert(
            vec![certificate.der().clone()],
            key.serialize_der().try_into().unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Speaks TLS in front of a server that does not.
pub(crate) struct TlsFront {
    pub(crate) port: u16,
}

impl TlsFront {
    pub(crate) async fn start(server: String, acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate closes the connection.
                    let Ok(mut client) = acceptor.accept(client).await else {
                        return;
                    };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { port }
    }
}

/// A step whose broker and platform speak TLS, with certificates of this authority.
struct Secured {
    rig: Rig,
    folder: TempDir,
}

impl Secured {
    async fn new(authority: &Authority, asks_client: bool) -> Self {
        let rig = scripted(1).await;
        let broker = rig.emulator.broker().addr().to_string();
        let broker = TlsFront::start(broker, acceptor(authority, "localhost", asks_client)).await;
        let platform = rig.emulator.platform().url();
        let platform = platform.strip_prefix("http://").unwrap().to_owned();
        let platform = TlsFront::start(platform, acceptor(authority, "localhost", false)).await;
        let rig = rig
            .variable(
                "ELASTICIO_AMQP_URI",
                format!("amqps://guest:guest@localhost:{}", broker.port),
            )
            .variable("ELASTICIO_AMQP_RECONNECT_ATTEMPTS", "0")
            .variable(
                "ELASTICIO_API_URI",
                format!("https://localhost:{}", platform.port),
            )
            .variable("ELASTICIO_API_REQUEST_RETRY_ATTEMPTS", "1");
        let folder = tempfile::tempdir().unwrap();
        let secured = Self { rig, folder };
        secured.file("ca.pem", &authority.pem());
        secured
    }

    /// Writes a file and returns its path.
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Sets a variable to the path of a file.
    fn variable(mut self, name: &'static str, path: &str) -> Self {
        let path = self.folder.path().join(path);
        self.rig = self.rig.variable(name, path.to_str().unwrap());
        self
    }

    async fn works(&self) {
        let mut component = self.rig.start();
        component.says("Fully initialized").await;
        self.rig.send(json!([["data", { "body": { "n": 1 } }]]));
        self.rig.events(EventKind::Data, 1).await;
        self.rig.settled().await;
        assert_eq!(component.stop().await.0, 0);
    }

    /// Runs until the start fails, and returns the error.
    async fn fails(&self) -> String {
        let ended = self.rig.run().await;
        assert_eq!(ended.status, 1);
        ended.stderr
    }
}

#[tokio::test]
async fn a_private_authority_is_trusted_by_each_setting() {
    for (variable, path) in [
        ("ELASTICIO_CA_CERTS", "ca.pem"),
        ("NODE_EXTRA_CA_CERTS", "ca.pem"),
        ("SSL_CERT_FILE", "ca.pem"),
        ("SSL_CERT_DIR", "."),
    ] {
        let secured = Secured::new(&authority(), false).await;
        secured.variable(variable, path).works().await;
    }
}

#[tokio::test]
async fn the_broker_is_shown_the_client_certificate() {
    let authority = authority();
    let secured = Secured::new(&authority, true).await;
    let secured = secured.variable("ELASTICIO_CA_CERTS", "ca.pem");
    let error = secured.fails().await;
    assert!(error.contains("ELASTICIO_AMQP_CLIENT_CERT"), "{error}");
    let (certificate, key) = certificate(&authority, "sailor");
    secured.file("own.pem", &certificate.pem());
    secured.file("own.key", &key.serialize_pem());
    let secured = secured.variable("ELASTICIO_AMQP_CLIENT_CERT", "own.pem");
    let error = secured.fails().await;
    assert!(error.contains("is set alone"), "{error}");
    let secured = secured.variable("ELASTICIO_AMQP_CLIENT_KEY", "own.key");
    secured.works().await;
    let other = KeyPair::generate().unwrap();
    secured.file("own.key", &other.serialize_pem());
    let error = secured.fails().await;
    assert!(error.contains("it does not fit"), "{error}");
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    for (content, problem) in [
        (None, "No such file"),
        (Some(""), "contains no certificate"),
        (
            Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "cannot be used",
        ),
    ] {
        let secured = Secured::new(&authority(), false).await;
        if let Some(content) = content {
            secured.file("wrong.pem", content);
        }
        let error = secured
            .variable("ELASTICIO_CA_CERTS", "wrong.pem")
            .fails()
            .await;
        assert!(
            error.contains("ELASTICIO_CA_CERTS names ")
                && error.contains("wrong.pem")
                && error.contains(problem),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_untrusted_platform_is_reported_with_advice() {
    let authority = authority();
    let secured = Secured::new(&authority, false).await;
    let plain = rig_of_plain_broker(secured);
    let error = plain.fails().await;
    assert!(
        error.contains("is not trusted") && error.contains("ELASTICIO_CA_CERTS"),
        "{error}"
    );
}

/// The same step with a broker that does not speak TLS, so that the platform's certificate is the first to be checked.
fn rig_of_plain_broker(secured: Secured) -> Secured {
    let uri = secured.rig.emulator.broker().uri();
    Secured {
        rig: secured.rig.variable("ELASTICIO_AMQP_URI", uri),
        ..secured
    }
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = server_tls("elsewhere.example");
    let (own, other) = (
        folder.path().join("own.pem"),
        folder.path().join("other.pem"),
    );
    fs::write(&own, authority).unwrap();
    fs::write(&other, server_tls("localhost").1).unwrap();
    let relay = TamperingProxy::start("127.0.0.1:1".into(), Some(acceptor), vec![]).await;
    for (trusted, expected) in [(&own, "is for another name"), (&other, "is not trusted")] {
        let rig = scripted(1).await;
        let rig = rig.variable(
            "ELASTICIO_AMQP_URI",
            format!("amqps://guest:s3cret@localhost:{}", relay.port),
        );
        let rig = rig.variable("ELASTICIO_AMQP_RECONNECT_ATTEMPTS", "0");
        let output = rig
            .variable("SSL_CERT_FILE", trusted.to_str().unwrap())
            .run()
            .await;
        let log = output.stderr;
        assert_eq!(output.status, 1);
        assert!(
            log.contains(expected) && !log.contains("check that the broker runs"),
            "{log}"
        );
        assert!(!log.contains("s3cret"));
    }
}
