//! Jobs of Bulk API 2.0: waiting for their end.

use super::api::{self, Api};
use anyhow::Context as _;
use serde::Deserialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The first pause between two looks at a job; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

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
    /// Looks at the job below `jobs/{kind}` until it is done, for so long.
    pub async fn done(self, api: &Api, kind: &str, limit: Duration) -> anyhow::Result<Self> {
        let end = Instant::now() + limit;
        let path = format!("jobs/{kind}/{}", api::segment(&self.id)?);
        let (mut job, mut pause) = (self, FIRST_PAUSE);
        loop {
            match job.state.as_str() {
                "JobComplete" => return Ok(job),
                "Failed" | "Aborted" => {
                    let reason = job.error_message.unwrap_or_else(|| "no reason is given".into());
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
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            job = api::json(api.get(&path)).await.with_context(|| format!("looking at bulk job {}", job.id))?;
        }
    }
}
