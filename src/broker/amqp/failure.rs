//! What went wrong with the broker, whether waiting mends it, and what the reader can do.

use crate::broker::transport::PublishErrorKind;
use lapin::{Error, ErrorKind};
use rustls::{AlertDescription, CertificateError, Error as TlsError};

/// How often in a row the broker may refuse before that is taken as final: a broker that has just started may do so
/// before it has loaded its users and queues.
pub(super) const REFUSALS: u32 = 5;

/// Why a connection, a channel or a consumer could not be had. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Goes by itself: a broken connection, a broker that restarts, a queue whose node is down.
    Passing(String),
    /// The broker says no. Final when it keeps saying so.
    Refused(String),
    /// Nothing that waiting would mend.
    Permanent(String),
}

impl Failure {
    /// Sorts an error that came up while `doing` something.
    pub(super) fn new(doing: &str, error: &Error) -> Self {
        let text = format!("{doing}: {}", describe(error));
        match Kind::of(error) {
            Kind::Passing => Self::Passing(text),
            Kind::Refused => Self::Refused(with_remedy(text, error)),
            Kind::Permanent => Self::Permanent(with_remedy(text, error)),
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Passing(text) | Self::Refused(text) | Self::Permanent(text) => text,
        }
    }
}

/// The broker closed the channel because of one message, which it will refuse again: too large, malformed.
pub(super) fn is_about_the_message(error: &Error) -> bool {
    match code(error) {
        Some(311 | 406) => true,
        // Permissions can be for single routing keys, and those may be a module's own choice.
        Some(403) => describe(error).contains("access to topic"),
        _ => false,
    }
}

/// What is wrong with a message that the broker has closed the channel for. Less of it does not help where the user has
/// no permission for its routing key.
pub(super) fn fault_of_the_message(error: &Error) -> PublishErrorKind {
    if code(error) == Some(403) {
        PublishErrorKind::Other
    } else {
        PublishErrorKind::Rejected
    }
}

/// An error without lapin's ornaments.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(error) => {
            format!("the broker says {} {}", error.get_id(), error.get_message())
        }
        ErrorKind::IOError(error) => match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TlsError>())
        {
            Some(error) => format!("{TLS}{error}; {}", tls_remedy(error)),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

/// How a text about TLS begins.
const TLS: &str = "no TLS connection: ";

/// Whether a text says what to do about TLS: the broker is there, so nothing else is to be checked.
pub(super) fn is_about_tls(text: &str) -> bool {
    text.contains(TLS)
}

fn tls_remedy(error: &TlsError) -> &'static str {
    match error {
        TlsError::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => {
            "who has issued the broker's certificate is not trusted here: name a file of trusted ones in SSL_CERT_FILE, \
             or a folder in SSL_CERT_DIR"
        }
        TlsError::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another name: check the host in ELASTICIO_AMQP_URI",
        TlsError::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the broker's certificate has expired: renew it, or check this machine's clock",
        TlsError::InvalidCertificate(_) => "check the broker's certificate",
        TlsError::AlertReceived(AlertDescription::CertificateRequired) => {
            "the broker wants a client's certificate, and the sailor has none: let the broker do without"
        }
        TlsError::AlertReceived(
            AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion,
        )
        | TlsError::PeerIncompatible(_) => {
            "the broker has to speak TLS 1.2 or 1.3 with common ciphers"
        }
        TlsError::InvalidMessage(_) => {
            "what answers does not speak TLS: check the port in ELASTICIO_AMQP_URI, or begin it with amqp://"
        }
        _ => "check the broker's TLS settings",
    }
}

enum Kind {
    Passing,
    Refused,
    Permanent,
}

impl Kind {
    fn of(error: &Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) => {
                return Self::Permanent;
            }
            ErrorKind::ProtocolError(error) if is_transitory(error.get_message().as_str()) => {
                return Self::Passing;
            }
            _ => {}
        }
        match code(error) {
            // Access refused, resource locked, precondition failed.
            Some(403 | 405 | 406) => Self::Refused,
            // Invalid path, not found, not allowed (the virtual host), not implemented.
            Some(402 | 404 | 530 | 540) => Self::Permanent,
            _ => Self::Passing,
        }
    }
}

/// RabbitMQ uses the same codes for what is missing and for what is only away.
fn is_transitory(text: &str) -> bool {
    ["is down", "inaccessible", "stopped by supervisor", "limit"]
        .iter()
        .any(|phrase| text.contains(phrase))
}

/// The broker's reply code, when it is its answer.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => Some(error.get_id()),
        _ => None,
    }
}

fn with_remedy(text: String, error: &Error) -> String {
    let message = match error.kind() {
        ErrorKind::ProtocolError(error) => error.get_message().as_str().to_owned(),
        _ => String::new(),
    };
    let remedy = match code(error) {
        Some(403) if message.contains("ogin") => {
            "check user name and password in ELASTICIO_AMQP_URI"
        }
        Some(403) => "check the permissions of the user in ELASTICIO_AMQP_URI",
        Some(404) if message.contains("exchange") => {
            "check ELASTICIO_PUBLISH_MESSAGES_TO; the platform declares the exchange, the sailor does not"
        }
        Some(404) => {
            "check ELASTICIO_LISTEN_MESSAGES_ON; the platform declares the queue, the sailor does not"
        }
        Some(402 | 530) => {
            "check the virtual host in ELASTICIO_AMQP_URI and the user's access to it"
        }
        _ => return text,
    };
    format!("{text}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::AMQPError;
    use std::io;

    fn protocol(code: u16, text: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::from_id(code, text.into()).unwrap()).into()
    }

    #[test]
    fn only_permanent_broker_errors_are_final() {
        for (error, expected) in [
            (
                protocol(404, "NOT_FOUND - no queue 'q' in vhost '/'"),
                "permanent",
            ),
            (
                protocol(404, "NOT_FOUND - no exchange 'x' in vhost '/'"),
                "permanent",
            ),
            (
                protocol(
                    404,
                    "NOT_FOUND - home node 'r@h' of durable queue 'q' is down or inaccessible",
                ),
                "passing",
            ),
            (
                protocol(
                    404,
                    "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor",
                ),
                "passing",
            ),
            (
                protocol(530, "NOT_ALLOWED - vhost v not found"),
                "permanent",
            ),
            (
                protocol(
                    530,
                    "NOT_ALLOWED - access to vhost '/' refused: connection limit (1) is reached",
                ),
                "passing",
            ),
            (
                protocol(403, "ACCESS_REFUSED - Login was refused"),
                "refused",
            ),
            (protocol(405, "RESOURCE_LOCKED - exclusive"), "refused"),
            (
                protocol(320, "CONNECTION_FORCED - broker forced connection closure"),
                "passing",
            ),
            (protocol(501, "FRAME_ERROR"), "passing"),
            (protocol(541, "INTERNAL_ERROR"), "passing"),
            (
                io::Error::from(io::ErrorKind::ConnectionRefused).into(),
                "passing",
            ),
            (ErrorKind::MissingHeartbeatError.into(), "passing"),
        ] {
            let failure = Failure::new("consuming", &error);
            let name = match failure {
                Failure::Passing(_) => "passing",
                Failure::Refused(_) => "refused",
                Failure::Permanent(_) => "permanent",
            };
            assert_eq!(name, expected, "{error}");
        }
    }

    #[test]
    fn an_error_of_tls_says_what_to_check() {
        let certificate = TlsError::InvalidCertificate;
        for (error, remedy) in [
            (
                certificate(CertificateError::UnknownIssuer),
                "SSL_CERT_FILE",
            ),
            (
                certificate(CertificateError::NotValidForName),
                "another name",
            ),
            (certificate(CertificateError::Expired), "expired"),
            (
                TlsError::AlertReceived(AlertDescription::CertificateRequired),
                "client's certificate",
            ),
            (
                TlsError::AlertReceived(AlertDescription::ProtocolVersion),
                "TLS 1.2",
            ),
            (
                TlsError::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
                "does not speak TLS",
            ),
        ] {
            let failure = Failure::new(
                "connecting",
                &io::Error::new(io::ErrorKind::InvalidData, error).into(),
            );
            assert!(matches!(failure, Failure::Passing(_)));
            assert!(
                failure.text().contains(remedy) && is_about_tls(failure.text()),
                "{}",
                failure.text()
            );
        }
        assert!(!is_about_tls(&describe(
            &io::Error::from(io::ErrorKind::ConnectionRefused).into()
        )));
    }

    #[test]
    fn a_permanent_error_says_what_to_check() {
        for (error, remedy) in [
            (
                protocol(403, "ACCESS_REFUSED - Login was refused"),
                "password",
            ),
            (
                protocol(403, "ACCESS_REFUSED - read access to queue 'q' refused"),
                "permissions",
            ),
            (
                protocol(404, "NOT_FOUND - no queue 'q' in vhost '/'"),
                "ELASTICIO_LISTEN_MESSAGES_ON",
            ),
            (
                protocol(404, "NOT_FOUND - no exchange 'x' in vhost '/'"),
                "ELASTICIO_PUBLISH_MESSAGES_TO",
            ),
            (
                protocol(530, "NOT_ALLOWED - vhost v not found"),
                "virtual host",
            ),
        ] {
            let text = Failure::new("consuming", &error).text().to_owned();
            assert!(
                text.starts_with("consuming: ") && text.contains(remedy),
                "{text}"
            );
        }
    }
}
