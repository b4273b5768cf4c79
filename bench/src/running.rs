//! A contestant at work, as one process or several replicas: how far it is, and what that costs.

use crate::{
    broker::{INPUT, OUTPUT, POLL, Queues},
    contestant::{Contestant, Setup},
    process,
};
use anyhow::{Context as _, bail, ensure};
use std::time::{Duration, Instant};
use tokio::{process::Child, time::sleep};

/// The longest time until the first message, and between two checks.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The processes of a contestant. They are killed when this is dropped.
pub struct Running {
    replicas: Vec<Child>,
    pids: Vec<u32>,
}

/// How far a contestant is.
#[derive(Clone, Copy)]
struct Progress {
    at: Instant,
    messages: usize,
    cpu: Option<Duration>,
}

/// What was counted while a contestant worked.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Published messages per second.
    pub rate: f64,
    /// The CPU time of all replicas for each of them. None if a process ended by itself meanwhile.
    pub cpu_per_message: Option<Duration>,
    /// The most physical memory of one replica, in bytes. None if a process ended by itself meanwhile.
    pub peak_memory: Option<u64>,
}

impl Running {
    /// Starts so many processes of a contestant.
    ///
    /// # Errors
    /// When one cannot be started, or ends at once.
    pub fn start(contestant: &Contestant, setup: &Setup, replicas: usize) -> anyhow::Result<Self> {
        let start = |_| contestant.start(setup);
        let replicas: Vec<Child> = (0..replicas).map(start).collect::<Result<_, _>>()?;
        let pids = replicas.iter().map(Child::id).collect::<Option<_>>();
        Ok(Self {
            replicas,
            pids: pids.context("it ended at once")?,
        })
    }

    /// The processes' ids.
    #[must_use]
    pub fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Counts what is published out of `messages`, for `at_most`. The first tenth does not count: Node still compiles then.
    ///
    /// # Errors
    /// When a process ends too early, or nothing is published for a minute.
    pub async fn count(
        &mut self,
        queues: &Queues,
        messages: usize,
        at_most: Duration,
    ) -> anyhow::Result<Counted> {
        let first = self.progress(queues, messages / 10).await?;
        let mut last = first;
        while last.messages < messages && last.at - first.at < at_most {
            last = self.progress(queues, last.messages + 1).await?;
        }
        let count = last.messages - first.messages;
        ensure!(
            count > 0,
            "all messages were published before they could be counted"
        );
        let cpu = first.cpu.zip(last.cpu);
        let cpu = cpu.map(|(from, to)| to.saturating_sub(from).div_f64(count as f64));
        Ok(Counted {
            rate: count as f64 / (last.at - first.at).as_secs_f64(),
            cpu_per_message: cpu,
            peak_memory: self.peak_memory().ok(),
        })
    }

    /// Waits until this many messages are in the output queue.
    ///
    /// # Errors
    /// When a process ends too early, or nothing is published for a minute.
    pub async fn published(&mut self, queues: &Queues, messages: usize) -> anyhow::Result<()> {
        self.progress(queues, messages).await.map(|_| ())
    }

    /// Waits until the input queue has a consumer.
    ///
    /// # Errors
    /// When a process ends too early, or does not consume within a minute.
    pub async fn consuming(&mut self, queues: &Queues) -> anyhow::Result<()> {
        let start = Instant::now();
        while queues.fill(INPUT).await?.consumers == 0 {
            let ended = self.ended()?;
            patient(start, ended)?;
            sleep(POLL).await;
        }
        Ok(())
    }

    /// The most physical memory that one of the processes has had so far, in bytes.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn peak_memory(&self) -> anyhow::Result<u64> {
        let peaks = self.pids.iter().map(|pid| process::peak_memory(*pid));
        let peaks: Vec<u64> = peaks.collect::<Result<_, _>>()?;
        peaks.into_iter().max().context("there is no process")
    }

    /// Kills the processes.
    ///
    /// # Errors
    /// When one cannot be killed.
    pub async fn end(mut self) -> anyhow::Result<()> {
        for replica in &mut self.replicas {
            replica.kill().await.context("ending the process")?;
        }
        Ok(())
    }

    async fn progress(&mut self, queues: &Queues, messages: usize) -> anyhow::Result<Progress> {
        let start = Instant::now();
        loop {
            // The exit is checked before the messages are counted: a contestant that has published everything may end.
            let cpu = self.cpu_time();
            let ended = self.ended()?;
            let published = queues.fill(OUTPUT).await?.messages;
            if published >= messages {
                return Ok(Progress {
                    at: Instant::now(),
                    messages: published,
                    cpu,
                });
            }
            patient(start, ended)?;
            sleep(POLL).await;
        }
    }

    fn cpu_time(&self) -> Option<Duration> {
        let times = self.pids.iter().map(|pid| process::cpu_time(*pid).ok());
        times.sum()
    }

    /// The status of a process that has ended.
    fn ended(&mut self) -> anyhow::Result<Option<std::process::ExitStatus>> {
        for replica in &mut self.replicas {
            if let Some(status) = replica.try_wait()? {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }
}

fn patient(start: Instant, ended: Option<std::process::ExitStatus>) -> anyhow::Result<()> {
    if let Some(status) = ended {
        bail!("it ended too early, with {status}; --logs shows what it says");
    }
    ensure!(
        start.elapsed() < PATIENCE,
        "nothing has happened for a minute; --logs shows why"
    );
    Ok(())
}
