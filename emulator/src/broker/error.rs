//! An AMQP error: a reply code, and a text that says what was refused.

use amq_protocol::protocol::AMQPHardError;

/// An error that closes the channel, or the connection when its code is a hard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AmqpError {
    pub(super) code: u16,
    pub(super) text: String,
}

pub(super) type Outcome<T = ()> = Result<T, AmqpError>;

impl AmqpError {
    pub(super) fn is_hard(&self) -> bool {
        AMQPHardError::from_id(self.code).is_some()
    }

    pub(super) fn forced(text: &str) -> Self {
        Self::new(320, "CONNECTION_FORCED", text)
    }

    pub(super) fn access_refused(text: impl AsRef<str>) -> Self {
        Self::new(403, "ACCESS_REFUSED", text.as_ref())
    }

    pub(super) fn not_found(text: impl AsRef<str>) -> Self {
        Self::new(404, "NOT_FOUND", text.as_ref())
    }

    pub(super) fn locked(text: impl AsRef<str>) -> Self {
        Self::new(405, "RESOURCE_LOCKED", text.as_ref())
    }

    pub(super) fn precondition(text: impl AsRef<str>) -> Self {
        Self::new(406, "PRECONDITION_FAILED", text.as_ref())
    }

    pub(super) fn frame(text: impl AsRef<str>) -> Self {
        Self::new(501, "FRAME_ERROR", text.as_ref())
    }

    pub(super) fn syntax(text: impl AsRef<str>) -> Self {
        Self::new(502, "SYNTAX_ERROR", text.as_ref())
    }

    pub(super) fn command_invalid(text: impl AsRef<str>) -> Self {
        Self::new(503, "COMMAND_INVALID", text.as_ref())
    }

    pub(super) fn channel(text: impl AsRef<str>) -> Self {
        Self::new(504, "CHANNEL_ERROR", text.as_ref())
    }

    pub(super) fn unexpected_frame(text: impl AsRef<str>) -> Self {
        Self::new(505, "UNEXPECTED_FRAME", text.as_ref())
    }

    pub(super) fn not_allowed(text: impl AsRef<str>) -> Self {
        Self::new(530, "NOT_ALLOWED", text.as_ref())
    }

    pub(super) fn not_implemented(text: impl AsRef<str>) -> Self {
        Self::new(540, "NOT_IMPLEMENTED", text.as_ref())
    }

    fn new(code: u16, name: &str, text: &str) -> Self {
        Self {
            code,
            text: format!("{name} - {text}"),
        }
    }
}
