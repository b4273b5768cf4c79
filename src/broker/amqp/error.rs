//! Errors of the broker: whether a retry can help, and what the operator can do.

use super::connection::RESPONSE_TIMEOUT;
use crate::{
    broker::transport::PublishErrorKind,
    clients::tls::{self, Peer},
};
use lapin::{Error, ErrorKind, protocol::AMQPError};
use std::time::Duration;

/// How many refusals of a lock in a row are final. A broker that has just started refuses requests until it has loaded
/// its users and queues.
pub(super) const MAX_REFUSALS: u32 = 5;

/// Why a connection, a channel or a consumer could not be opened. The texts are for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BrokerError {
    /// A retry can succeed: a broken connection, a broker that restarts, a queue whose node is down.
    Transient(String),
    /// A limit of the broker is reached: of connections, channels or queues. A retry can succeed when others have closed
    /// theirs.
    LimitReached(String),
    /// The broker refused, but may have changed its mind a moment later.
    Refused(String),
    /// At the start, a retry cannot succeed. Later it can: a queue that was deleted may be declared again.
    Permanent(String),
}

impl BrokerError {
    /// Classifies an error that ended `operation`.
    pub(super) fn new(operation: &str, error: &Error) -> Self {
        let text = format!("{operation}: {}", describe(error));
        match error.kind() {
            ErrorKind::InvalidProtocolVersion(_) | ErrorKind::AuthProviderError(_) => {
                Self::Permanent(text)
            }
            ErrorKind::ProtocolError(reply) if reply.get_message().as_str().contains(" limit ") => {
                Self::LimitReached(format!("{text}; raise this limit at the broker"))
            }
            ErrorKind::ProtocolError(reply) if is_temporary(reply.get_message().as_str()) => {
                Self::Transient(text)
            }
            ErrorKind::ProtocolError(reply) => match reply.get_id() {
                // Access refused, resource locked, precondition failed.
                403 | 405 | 406 => Self::Refused(with_remedy(text, reply)),
                // Invalid path, not found, not allowed (the virtual host), not implemented.
                402 | 404 | 530 | 540 => Self::Permanent(with_remedy(text, reply)),
                _ => Self::Transient(text),
            },
            _ => Self::Transient(text),
        }
    }

    /// The broker did not respond to `operation` within [`RESPONSE_TIMEOUT`].
    pub(super) fn no_response(operation: &str) -> Self {
        Self::no_response_within(RESPONSE_TIMEOUT, operation)
    }

    /// The broker did not respond to `operation` within `limit`.
    pub(super) fn no_response_within(limit: Duration, operation: &str) -> Self {
        let seconds = limit.as_secs_f32();
        Self::Transient(format!(
            "{operation}: no response from the broker within {seconds} s"
        ))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Transient(text)
            | Self::LimitReached(text)
            | Self::Refused(text)
            | Self::Permanent(text) => text,
        }
    }
}

/// Returns whether the broker closed the channel because of one message that it will refuse again: a message that is
/// too large or malformed.
pub(super) fn is_message_error(error: &Error) -> bool {
    match reply_code(error) {
        Some(311 | 406) => true,
        // Permissions can be limited to routing keys, and a module can choose its routing key.
        Some(403) => describe(error).contains("access to topic"),
        _ => false,
    }
}

/// Returns whether the broker closed the channel because it refuses every message: the exchange is missing, or the user
/// may not write to it.
pub(super) fn is_refusal(error: &Error) -> bool {
    !is_message_error(error)
        && matches!(
            BrokerError::new("", error),
            BrokerError::Refused(_) | BrokerError::Permanent(_)
        )
}

/// Returns what is wrong with a message for which the broker closed the channel. If the user has no permission for the
/// routing key, a smaller message does not help.
pub(super) fn message_error_kind(error: &Error) -> PublishErrorKind {
    if reply_code(error) == Some(403) {
        PublishErrorKind::Other
    } else {
        PublishErrorKind::Rejected
    }
}

/// Describes the error in the broker's words, without lapin's.
pub(super) fn describe(error: &Error) -> String {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => {
            format!("the broker says {} {}", reply.get_id(), reply.get_message())
        }
        ErrorKind::IOError(error) => match tls::inside(error) {
            Some(error) => format!("{TLS}{error}; {}", tls::advice(error, PEER)),
            None => error.to_string(),
        },
        _ => error.to_string(),
    }
}

/// How a text about TLS begins.
const TLS: &str = "no TLS connection: ";

/// Returns whether a text already contains advice about TLS. Then the broker runs, and no other advice is needed.
pub(super) fn is_about_tls(text: &str) -> bool {
    text.contains(TLS)
}

/// The broker, in advice about TLS.
const PEER: Peer = Peer {
    name: "the broker",
    address: "ELASTICIO_AMQP_URI",
    plain: "amqp://",
};

/// RabbitMQ uses the same reply codes for missing and for unavailable objects.
fn is_temporary(text: &str) -> bool {
    ["is down", "inaccessible", "stopped by supervisor"]
        .iter()
        .any(|phrase| text.contains(phrase))
}

/// Returns the broker's reply code, if the broker sent the error.
pub(super) fn reply_code(error: &Error) -> Option<u16> {
    match error.kind() {
        ErrorKind::ProtocolError(reply) => Some(reply.get_id()),
        _ => None,
    }
}

fn with_remedy(text: String, reply: &AMQPError) -> String {
    let message = reply.get_message().as_str();
    let remedy = match reply.get_id() {
        403 if message.contains("ogin") => "check user name and password in ELASTICIO_AMQP_URI",
        403 => "check the permissions of the user in ELASTICIO_AMQP_URI",
        404 if message.contains("exchange") => {
            "check ELASTICIO_PUBLISH_MESSAGES_TO; the platform declares the exchange, the sailor does not"
        }
        404 => {
            "check ELASTICIO_LISTEN_MESSAGES_ON; the platform declares the queue, the sailor does not"
        }
        402 | 530 => "check the virtual host in ELASTICIO_AMQP_URI and the user's access to it",
        _ => return text,
    };
    format!("{text}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, CertificateError, Error as TlsError};
    use std::io;

    fn protocol(code: u16, text: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::from_id(code, text.into()).unwrap()).into()
    }

    #[test]
    fn only_permanent_broker_errors_are_final() {
        for (code, text, expected) in [
            (404, "NOT_FOUND - no queue 'q' in vhost '/'", "permanent"),
            (404, "NOT_FOUND - no exchange 'x' in vhost '/'", "permanent"),
            (
                404,
                "NOT_FOUND - home node 'r@h' of durable queue 'q' is down or inaccessible",
                "transient",
            ),
            (
                404,
                "NOT_FOUND - queue 'q' in vhost '/' process is stopped by supervisor",
                "transient",
            ),
            (530, "NOT_ALLOWED - vhost v not found", "permanent"),
            (
                530,
                "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (1) is reached",
                "limit",
            ),
            (
                530,
                "NOT_ALLOWED - number of channels opened for user 'u' has reached the maximum allowed user limit of (1)",
                "limit",
            ),
            (
                406,
                "PRECONDITION_FAILED - cannot declare queue 'q': queue limit in vhost 'v' (0) is reached",
                "limit",
            ),
            (403, "ACCESS_REFUSED - Login was refused", "refused"),
            (405, "RESOURCE_LOCKED - exclusive", "refused"),
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure",
                "transient",
            ),
            (501, "FRAME_ERROR", "transient"),
            (541, "INTERNAL_ERROR", "transient"),
        ] {
            assert_eq!(class_of(&protocol(code, text)), expected, "{text}");
        }
    }

    #[test]
    fn errors_of_the_connection_are_transient() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(class_of(&refused.into()), "transient");
        let silent = ErrorKind::MissingHeartbeatError;
        assert_eq!(class_of(&silent.into()), "transient");
    }

    fn class_of(error: &Error) -> &'static str {
        match BrokerError::new("consuming", error) {
            BrokerError::Transient(_) => "transient",
            BrokerError::LimitReached(_) => "limit",
            BrokerError::Refused(_) => "refused",
            BrokerError::Permanent(_) => "permanent",
        }
    }

    #[test]
    fn a_tls_error_says_what_to_check() {
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
                "client certificate",
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
            let error = BrokerError::new(
                "connecting",
                &io::Error::new(io::ErrorKind::InvalidData, error).into(),
            );
            assert!(matches!(error, BrokerError::Transient(_)));
            assert!(
                error.text().contains(remedy) && is_about_tls(error.text()),
                "{}",
                error.text()
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
            let text = BrokerError::new("consuming", &error).text().to_owned();
            assert!(
                text.starts_with("consuming: ") && text.contains(remedy),
                "{text}"
            );
        }
    }
}
