//! Brokers that speak TLS.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use test_rig::tampering_proxy::TamperingProxy;
use tokio_rustls::{TlsAcceptor, rustls};

/// TLS for a broker, with a certificate for this name; and the issuer's certificate as PEM.
pub(crate) fn broker_tls(name: &str) -> (TlsAcceptor, String) {
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

#[tokio::test]
async fn an_untrusted_certificate_is_reported_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let (acceptor, authority) = broker_tls("elsewhere.example");
    let (own, other) = (
        folder.path().join("own.pem"),
        folder.path().join("other.pem"),
    );
    fs::write(&own, authority).unwrap();
    fs::write(&other, broker_tls("localhost").1).unwrap();
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
