//! Jobs of Bulk API 2.0: waiting for their end, and reading their results.
//!
//! A started job continues even if this process ends. So an error while waiting for it must not rebound the
//! message: that would start a second job.

use crate::api::{self, Api, Received, Request};
use anyhow::Context as _;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sailor::http::path_segment;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first delay between two checks of a job; it doubles.
const MIN_DELAY: Duration = Duration::from_millis(500);
/// The longest of these delays.
const MAX_DELAY: Duration = Duration::from_secs(10);
/// How long the results of a finished job are requested.
const RESULTS_TIMEOUT: Duration = Duration::from_secs(120);

/// A job at Salesforce.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    pub id: String,
    pub state: String,
    #[serde(default)]
    error_message: Option<String>,
}

impl Job {
    /// The job's path; `kind` is `ingest` or `query`.
    pub fn path(&self, kind: &str) -> anyhow::Result<String> {
        Ok(format!("jobs/{kind}/{}", path_segment(&self.id)?))
    }

    /// Checks the job until it is done, for at most `limit`.
    pub async fn wait_until_done(
        self,
        api: &Api,
        kind: &str,
        limit: Duration,
    ) -> anyhow::Result<Self> {
        let deadline = Instant::now() + limit;
        let (mut job, mut delays) = (self, delays());
        while !job.is_done()? {
            anyhow::ensure!(
                Instant::now() < deadline,
                "bulk job {} is not done after {} s; it goes on at Salesforce: see Setup, Bulk Data Load Jobs, or set a \
                 longer `timeout`",
                job.id,
                limit.as_secs()
            );
            wait(&mut delays).await;
            job = job.reload(api, kind, deadline).await?;
        }
        Ok(job)
    }

    fn is_done(&self) -> anyhow::Result<bool> {
        match self.state.as_str() {
            "JobComplete" => Ok(true),
            "Failed" | "Aborted" => {
                let reason = self.error_message.as_deref();
                anyhow::bail!(
                    "bulk job {} has ended as {}: {}",
                    self.id,
                    self.state,
                    reason.unwrap_or("no reason is given")
                )
            }
            _ => Ok(false),
        }
    }

    /// The job in its current state.
    pub async fn reload(&self, api: &Api, kind: &str, deadline: Instant) -> anyhow::Result<Self> {
        let path = self.path(kind)?;
        self.read(deadline, || api.get(&path)).await?.parse()
    }

    /// The text of one of the job's results.
    pub async fn results(&self, api: &Api, path: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + RESULTS_TIMEOUT;
        let received = self.read(deadline, || api.get(path)).await?;
        String::from_utf8(received.body)
            .with_context(|| format!("the results of bulk job {} are not text", self.id))
    }

    /// Repeats the request until there is a response, a permanent error, or no time left.
    async fn read(
        &self,
        deadline: Instant,
        request: impl Fn() -> Request,
    ) -> anyhow::Result<Received> {
        let mut delays = delays();
        loop {
            let error = match request().read(usize::MAX).await {
                Ok(received) => return Ok(received),
                Err(error) => error,
            };
            if !api::is_transient(&error) || Instant::now() >= deadline {
                return Err(self.unknown_state(&error));
            }
            wait(&mut delays).await;
        }
    }

    /// Only the text of `error`: the error itself could rebound the message.
    fn unknown_state(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!(
            "bulk job {} was started, but its state cannot be read ({error:#}): see Setup, Bulk Data Load Jobs, before \
             this message is sent again",
            self.id
        )
    }
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(MIN_DELAY)
        .with_max_delay(MAX_DELAY)
        .without_max_times()
        .build()
}

async fn wait(delays: &mut ExponentialBackoff) {
    sleep(delays.next().unwrap_or(MAX_DELAY)).await;
}
