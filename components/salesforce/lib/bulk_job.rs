//! Jobs of Bulk API 2.0: waiting for their end.
//!
//! A job that was begun goes on whatever becomes of this process, so trouble on the way to it must not have the message
//! come again: that would do everything a second time.

use super::api::{self, Api};
use anyhow::Context as _;
use bytes::Bytes;
use sailor::oauth2::AuthorizedRequest;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first pause between two looks at a job; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// For how long the results of a job that is done are asked for.
const FOR_RESULTS: Duration = Duration::from_secs(120);

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
    /// Where it is.
    pub fn path(&self, kind: &str) -> anyhow::Result<String> {
        Ok(format!("jobs/{kind}/{}", api::segment(&self.id)?))
    }

    /// Looks at the job below `jobs/{kind}` until it is done, for so long.
    pub async fn done(self, api: &Api, kind: &str, limit: Duration) -> anyhow::Result<Self> {
        let end = Instant::now() + limit;
        let (mut job, mut pause) = (self, FIRST_PAUSE);
        loop {
            match job.state.as_str() {
                "JobComplete" => return Ok(job),
                "Failed" | "Aborted" => {
                    let reason = job
                        .error_message
                        .unwrap_or_else(|| "no reason is given".into());
                    anyhow::bail!("bulk job {} has ended as {}: {reason}", job.id, job.state);
                }
                _ => {}
            }
            anyhow::ensure!(
                Instant::now() < end,
                "bulk job {} is not done after {} s; it goes on at Salesforce: see Setup, Bulk Data Load Jobs, or set a \
                 longer `timeout`",
                job.id,
                limit.as_secs()
            );
            pause_for(&mut pause).await;
            job = job.now(api, kind, end).await?;
        }
    }

    /// The job as it is now.
    pub async fn now(&self, api: &Api, kind: &str, end: Instant) -> anyhow::Result<Self> {
        let path = self.path(kind)?;
        api::read(&self.insistently(end, || api.get(&path)).await?)
    }

    /// What a resource of the job holds.
    pub async fn results(&self, api: &Api, path: &str) -> anyhow::Result<String> {
        let bytes = self
            .insistently(Instant::now() + FOR_RESULTS, || api.get(path))
            .await?;
        String::from_utf8(bytes.into())
            .with_context(|| format!("the results of bulk job {} are no text", self.id))
    }

    /// Asks until there is an answer, trouble that does not pass, or no time left.
    async fn insistently(
        &self,
        end: Instant,
        ask: impl Fn() -> AuthorizedRequest,
    ) -> anyhow::Result<Bytes> {
        let mut pause = FIRST_PAUSE;
        loop {
            let answer = match api::send(ask()).await {
                Ok(answer) => answer
                    .bytes()
                    .await
                    .map_err(|error| (true, error.without_url().into())),
                Err(error) => Err((api::passes(&error), error)),
            };
            match answer {
                Ok(bytes) => return Ok(bytes),
                Err((true, _)) if Instant::now() < end => pause_for(&mut pause).await,
                Err((_, error)) => return Err(self.unknown(&error)),
            }
        }
    }

    /// The text of an error alone: some causes would have the message come again.
    fn unknown(&self, error: &anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!(
            "bulk job {} was begun, but what became of it cannot be read ({error:#}): see Setup, Bulk Data Load Jobs, \
             before this message is sent again",
            self.id
        )
    }
}

async fn pause_for(pause: &mut Duration) {
    sleep(*pause).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
