//! What a probe has found, how bad it is, and what the reader can do.

use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;

/// The time limit of one probe: a connection, or a response.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Ok,
    /// It cannot be told, or not without changing something.
    Unknown,
    Warning,
    Error,
}

impl Level {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// What a probe has found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// What was probed. It never changes, so that a program can look for it.
    pub(super) probe: &'static str,
    pub(super) level: Level,
    pub(super) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(probe: &'static str, found: impl Into<String>) -> Self {
        Self::new(probe, Level::Ok, found.into(), None)
    }

    pub(super) fn unknown(
        probe: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(probe, Level::Unknown, found.into(), Some(remedy.into()))
    }

    pub(super) fn warning(
        probe: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(probe, Level::Warning, found.into(), Some(remedy.into()))
    }

    pub(super) fn error(
        probe: &'static str,
        found: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self::new(probe, Level::Error, found.into(), Some(remedy.into()))
    }

    /// An error of the runtime. After a semicolon, its text has its remedy; `otherwise` is the remedy if it has none.
    pub(super) fn failed(probe: &'static str, error: &str, otherwise: &str) -> Self {
        match error.split_once("; ") {
            Some((found, remedy)) => Self::error(probe, found, remedy),
            None => Self::error(probe, error, otherwise),
        }
    }

    /// Another probe has to succeed first.
    pub(super) fn not_probed(probe: &'static str, first: &str) -> Self {
        let found = format!("not probed, because of the finding {first}");
        Self::unknown(probe, found, format!("see {first}"))
    }

    fn new(probe: &'static str, level: Level, found: String, remedy: Option<String>) -> Self {
        Self {
            probe,
            level,
            found,
            remedy,
        }
    }
}

/// Limits the time of a probe.
pub(super) async fn limited<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let seconds = PROBE_TIMEOUT.as_secs();
    let answer = timeout(PROBE_TIMEOUT, work).await;
    answer.unwrap_or_else(|_| Err(format!("no response within {seconds} s")))
}
