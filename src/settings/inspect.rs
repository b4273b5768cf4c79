//! The settings of `component inspect`: the few variables of a step that decrypting a body and looking into a queue need.

use super::{
    SettingsError,
    env_reader::{EnvReader, no_problems},
    variables as vars,
};
use secrecy::SecretString;

/// What payloads are encrypted with.
#[derive(Debug)]
pub(crate) struct CryptoSettings {
    /// `MESSAGE_CRYPTO_PASSWORD`.
    pub(crate) password: SecretString,
    /// `MESSAGE_CRYPTO_IV`, 16 bytes of text.
    pub(crate) iv: SecretString,
}

impl CryptoSettings {
    /// Reads the two variables with the function `get`.
    pub(crate) fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let mut reader = EnvReader::new(get);
        let (password, iv) = reader.crypto();
        no_problems(reader.problems).map(|()| Self { password, iv })
    }
}

/// A queue, and the broker that has it.
#[derive(Debug)]
pub(crate) struct QueueSettings {
    /// `AMQP_URI`, which contains a password.
    pub(crate) uri: SecretString,
    /// `LISTEN_MESSAGES_ON`, or another queue.
    pub(crate) queue: String,
}

impl QueueSettings {
    /// Reads the two variables with the function `get`. If `queue` is given, it is that queue.
    pub(crate) fn read(
        queue: Option<&str>,
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, SettingsError> {
        let mut reader = EnvReader::new(get);
        let uri = reader.amqp_uri();
        let queue = match queue {
            Some(queue) => queue.to_owned(),
            None => reader.required(&vars::LISTEN_MESSAGES_ON),
        };
        no_problems(reader.problems).map(|()| Self { uri, queue })
    }
}
