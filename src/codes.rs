//! The stable codes of warnings, errors and error events. docs/errors.md explains each; tests/it/architecture/codes.rs compares.
//!
//! A log line has its code as the field `code`. An error event has it in the first line of its stack (`Error [code]: …`).

use std::{borrow::Cow, fmt};

/// A code. It can only be made here, so a code that is not in this list does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Code(&'static str);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error that has a code, or a context that gives one to its error.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Coded {
    pub(crate) code: Code,
    text: Cow<'static, str>,
}

impl Coded {
    pub(crate) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

// Settings and start.
pub(crate) const DOUBTFUL_SETTING: Code = Code("doubtful-setting");
pub(crate) const HOOK_FAILED: Code = Code("hook-failed");
pub(crate) const HOOK_SLOW: Code = Code("hook-slow");
pub(crate) const INVALID_SETTINGS: Code = Code("invalid-settings");
pub(crate) const MISSING_VARIABLES: Code = Code("missing-variables");
pub(crate) const RESULT_NOT_DELIVERED: Code = Code("result-not-delivered");
pub(crate) const CALL_SLOW: Code = Code("call-slow");
pub(crate) const START_ERROR_NOT_PUBLISHED: Code = Code("start-error-not-published");
pub(crate) const START_FAILED: Code = Code("start-failed");
pub(crate) const STARTUP_DATA_REPLACED: Code = Code("startup-data-replaced");
pub(crate) const STOPPED_BEFORE_START: Code = Code("stopped-before-start");

// The stop.
pub(crate) const BROKER_CLOSE_TIMEOUT: Code = Code("broker-close-timeout");
pub(crate) const EVENTS_NOT_SENT: Code = Code("events-not-sent");
pub(crate) const MESSAGES_RETURNED: Code = Code("messages-returned");
pub(crate) const MODULE_NOT_AWAITING: Code = Code("module-not-awaiting");
pub(crate) const REFRESH_INTERRUPTED: Code = Code("refresh-interrupted");
pub(crate) const SHUTDOWN_TIMEOUT: Code = Code("shutdown-timeout");
pub(crate) const STOPPED_AT_ONCE: Code = Code("stopped-at-once");

// Messages and their module.
pub(crate) const CONFIGURATION_MISMATCH: Code = Code("configuration-mismatch");
pub(crate) const DECRYPTION_FAILED: Code = Code("decryption-failed");
pub(crate) const INVALID_EVENT: Code = Code("invalid-event");
pub(crate) const MEMORY_FULL: Code = Code("memory-full");
pub(crate) const MESSAGE_MISMATCH: Code = Code("message-mismatch");
pub(crate) const MESSAGE_TOO_LARGE: Code = Code("message-too-large");
pub(crate) const MESSAGE_UNREADABLE: Code = Code("message-unreadable");
pub(crate) const MODULE_FAILED: Code = Code("module-failed");
pub(crate) const MODULE_SLOW: Code = Code("module-slow");
pub(crate) const MODULE_TIMEOUT: Code = Code("module-timeout");
pub(crate) const PANICKED: Code = Code("panicked");
pub(crate) const REBOUND_LIMIT_EXCEEDED: Code = Code("rebound-limit-exceeded");
pub(crate) const SNAPSHOT_MISMATCH: Code = Code("snapshot-mismatch");

// Events.
pub(crate) const CONFIRMS_SLOW: Code = Code("confirms-slow");
pub(crate) const ERROR_EVENT_NOT_PUBLISHED: Code = Code("error-event-not-published");
pub(crate) const ERROR_EVENT_SHORTENED: Code = Code("error-event-shortened");
pub(crate) const EVENT_HEADERS_TOO_LARGE: Code = Code("event-headers-too-large");
pub(crate) const EVENT_NOT_PUBLISHED: Code = Code("event-not-published");
pub(crate) const EVENT_REJECTED: Code = Code("event-rejected");
pub(crate) const EVENT_TOO_LARGE: Code = Code("event-too-large");
pub(crate) const EVENT_UNBOUND: Code = Code("event-unbound");
pub(crate) const REPLY_NOT_PUBLISHED: Code = Code("reply-not-published");

// The broker.
pub(crate) const BINDING_AWAITED: Code = Code("binding-awaited");
pub(crate) const BROKER_BLOCKED: Code = Code("broker-blocked");
pub(crate) const BROKER_FAILED: Code = Code("broker-failed");
pub(crate) const BROKER_REFUSES: Code = Code("broker-refuses");
pub(crate) const BROKER_UNREACHABLE: Code = Code("broker-unreachable");
pub(crate) const CONFIRMS_LATE: Code = Code("confirms-late");
pub(crate) const CONFIRMS_LOST: Code = Code("confirms-lost");
pub(crate) const CONNECTION_LOST: Code = Code("connection-lost");
pub(crate) const ERROR_KEY_UNBOUND: Code = Code("error-key-unbound");
pub(crate) const FINISHED_LOG_LATE: Code = Code("finished-log-late");
pub(crate) const FINISHED_LOG_REFUSED: Code = Code("finished-log-refused");
pub(crate) const FINISHED_LOG_SLOW: Code = Code("finished-log-slow");
pub(crate) const HEADERS_CUT: Code = Code("headers-cut");
pub(crate) const LOCK_REFUSED: Code = Code("lock-refused");
pub(crate) const LOCK_RELEASE_TIMEOUT: Code = Code("lock-release-timeout");
pub(crate) const PUBLISH_RETRIED: Code = Code("publish-retried");
pub(crate) const SETTLE_TIMEOUT: Code = Code("settle-timeout");
pub(crate) const SNAPSHOT_KEY_UNBOUND: Code = Code("snapshot-key-unbound");

// The platform's API and object storage.
pub(crate) const BODY_DOWNLOAD_FAILED: Code = Code("body-download-failed");
pub(crate) const BODY_UPLOAD_FAILED: Code = Code("body-upload-failed");
pub(crate) const KEYS_NOT_SAVED: Code = Code("keys-not-saved");
pub(crate) const OBJECT_STORAGE_FAILED: Code = Code("object-storage-failed");
pub(crate) const PLATFORM_FAILED: Code = Code("platform-failed");
pub(crate) const REQUEST_RETRIED: Code = Code("request-retried");
pub(crate) const RESPONSE_SLOW: Code = Code("response-slow");

// Credentials.
pub(crate) const ACCESS_TOKEN_NOT_SAVED: Code = Code("access-token-not-saved");
pub(crate) const CLIENT_AUTH_CHANGED: Code = Code("client-auth-changed");
pub(crate) const CREDENTIAL_CHANGED: Code = Code("credential-changed");
pub(crate) const CREDENTIAL_CHECK_TIMEOUT: Code = Code("credential-check-timeout");
pub(crate) const CREDENTIAL_NOT_READ: Code = Code("credential-not-read");
pub(crate) const CREDENTIAL_ONLY_QUEUED: Code = Code("credential-only-queued");
pub(crate) const CREDENTIAL_REMOVED: Code = Code("credential-removed");
pub(crate) const KEYS_TURN_TIMEOUT: Code = Code("keys-turn-timeout");
pub(crate) const LOCK_UNAVAILABLE: Code = Code("lock-unavailable");
pub(crate) const OAUTH2_MISCONFIGURED: Code = Code("oauth2-misconfigured");
pub(crate) const REAUTH_REQUIRED: Code = Code("reauth-required");
pub(crate) const REFRESH_PAUSED: Code = Code("refresh-paused");
pub(crate) const REFRESH_TOKEN_ENDS: Code = Code("refresh-token-ends");
pub(crate) const REFRESH_TOKEN_LOST: Code = Code("refresh-token-lost");
pub(crate) const REFRESH_TOKEN_NOT_SAVED: Code = Code("refresh-token-not-saved");
pub(crate) const SCOPE_MISSING: Code = Code("scope-missing");
pub(crate) const SCOPES_NARROWED: Code = Code("scopes-narrowed");
pub(crate) const TOKEN_REJECTED: Code = Code("token-rejected");
pub(crate) const TOKEN_REQUEST_RETRIED: Code = Code("token-request-retried");
pub(crate) const TOKEN_TYPE_UNKNOWN: Code = Code("token-type-unknown");
pub(crate) const TOKEN_UNAVAILABLE: Code = Code("token-unavailable");
pub(crate) const TOKENS_NOT_REVOKED: Code = Code("tokens-not-revoked");

// The API that a module calls.
pub(crate) const API_BUSY: Code = Code("api-busy");
pub(crate) const API_NO_RESPONSE: Code = Code("api-no-response");
pub(crate) const API_REFUSED: Code = Code("api-refused");
pub(crate) const API_REQUEST_NOT_RESENT: Code = Code("api-request-not-resent");
pub(crate) const API_REQUEST_NOT_SENT: Code = Code("api-request-not-sent");
pub(crate) const API_RETRIED: Code = Code("api-retried");

// The log and traces.
pub(crate) const LOG_LINES_DROPPED: Code = Code("log-lines-dropped");
pub(crate) const LOG_TARGET_REFUSED: Code = Code("log-target-refused");
#[cfg(feature = "opentelemetry")]
pub(crate) const SPANS_LOST: Code = Code("spans-lost");
pub(crate) const TRACES_NOT_STARTED: Code = Code("traces-not-started");
