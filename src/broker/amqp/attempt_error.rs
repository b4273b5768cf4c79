//! Why one attempt to publish a message failed.

use super::error::{self, describe};
use crate::broker::transport::PublishErrorKind;
use lapin::{Error, ErrorKind};

/// Why an attempt to publish a message failed.
#[derive(Debug)]
pub(super) enum AttemptError {
    /// A queue did not accept the message.
    Nacked,
    /// The broker returned the message: no queue is bound to its routing key.
    Unroutable,
    /// The channel was already closed. This does not count as an attempt.
    NotSent(Error),
    /// The broker closed the channel because of this message or of another one that was in flight.
    Rejected(Error),
    /// The broker closed the channel because it refuses every message. This does not count as an attempt.
    Refused(Error),
    /// The channel was lost before the confirm arrived.
    Unconfirmed(Error),
}

impl AttemptError {
    pub(super) fn from_publish(error: Error) -> Self {
        match error.kind() {
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => {
                Self::NotSent(error)
            }
            _ => Self::from_confirm(error),
        }
    }

    pub(super) fn from_confirm(error: Error) -> Self {
        if error::is_message_error(&error) {
            Self::Rejected(error)
        } else {
            Self::from_loss(error)
        }
    }

    /// For a message that was in flight when its channel was lost, and is not the reason for that.
    pub(super) fn from_loss(error: Error) -> Self {
        if error::is_refusal(&error) {
            Self::Refused(error)
        } else {
            Self::Unconfirmed(error)
        }
    }

    /// Returns the error that ended the channel, if this attempt failed because of it.
    pub(super) fn channel_error(&self) -> Option<&Error> {
        match self {
            Self::NotSent(error)
            | Self::Rejected(error)
            | Self::Refused(error)
            | Self::Unconfirmed(error) => Some(error),
            Self::Nacked | Self::Unroutable => None,
        }
    }

    /// Returns the error of a publish whose last attempt this was.
    pub(super) fn kind(&self) -> PublishErrorKind {
        match self {
            Self::Rejected(error) => error::message_error_kind(error),
            _ => PublishErrorKind::Other,
        }
    }

    /// Describes why the attempt failed, for people. `unbound` describes a message whose binding is lost.
    pub(super) fn reason(&self, unbound: impl FnOnce() -> String) -> String {
        match self {
            Self::Nacked => {
                "the broker did not accept it (nack): a queue bound to the routing key may be full"
                    .to_owned()
            }
            Self::Unroutable => {
                format!("{}; one was bound before: restore the binding", unbound())
            }
            Self::NotSent(error)
            | Self::Rejected(error)
            | Self::Refused(error)
            | Self::Unconfirmed(error) => describe(error),
        }
    }
}
