//! Many idle steps on one machine: what each takes, and what a restart of the broker does to them.

use crate::{
    data::{Density, Restart},
    relay::Relay,
};
use anyhow::{Context as _, ensure};
use sailor_bench::{
    broker::{self, Queues},
    contestant::{Contestant, Setup},
    platform::PLAIN_STEP,
    process,
};
use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// The interval between two looks at all queues.
const LOOK: Duration = Duration::from_millis(100);
/// The interval between two looks at the broker's port.
const LOOK_AT_PORT: Duration = Duration::from_millis(10);
/// The interval between the starts of two steps.
const BETWEEN_STARTS: Duration = Duration::from_millis(50);
/// How long a step is left alone before its memory and CPU time count.
const SETTLE: Duration = Duration::from_secs(5);

/// Many steps, and their broker.
pub struct Machine {
    /// The broker's port.
    pub broker: SocketAddr,
    /// Runs `rabbitmqctl` for it, with the arguments that it gets.
    pub control: PathBuf,
    /// The platform's API.
    pub platform: SocketAddr,
    /// How many steps there are.
    pub steps: usize,
    /// How long idle steps are watched.
    pub watch: Duration,
    /// How long the broker is stopped. Its start takes some seconds more.
    pub stopped: Duration,
    /// Whether the output of processes is shown.
    pub logs: bool,
}

impl Machine {
    /// Starts the steps, watches them, restarts the broker, and waits until all steps consume again.
    ///
    /// # Errors
    /// When a step or the broker does not start.
    pub async fn measure(&self, contestant: &Contestant) -> anyhow::Result<Density> {
        let relay = Relay::start(self.broker).await?;
        let names: Vec<String> = (0..self.steps)
            .map(|step| format!("bench:idle-{step}"))
            .collect();
        let queues = self.queues().await?;
        queues.declare().await?;
        queues.declare_queues(&names).await?;

        let mut steps = self.start(contestant, &names, relay.address).await?;
        let now = Instant::now();
        until_all_consume(&queues, &names, &mut steps, now).await?;
        let idle = self.watch(&steps).await?;
        // The connection ends with the broker.
        drop(queues);
        let restart = self.restart(&relay, &names, &mut steps).await?;
        for step in &mut steps {
            step.kill().await.context("ending a step")?;
        }
        self.queues().await?.delete_queues(&names).await?;
        Ok(Density {
            name: contestant.name.clone(),
            conditions: String::new(),
            steps: self.steps,
            private_memory: idle.private_memory,
            shared_memory: idle.shared_memory,
            cpu: idle.cpu,
            restart,
        })
    }

    fn uri(address: SocketAddr) -> String {
        format!("amqp://guest:guest@{address}")
    }

    async fn queues(&self) -> anyhow::Result<Queues> {
        Queues::open(&broker::connect(&Self::uri(self.broker)).await?).await
    }

    /// Starts the steps one after the other: a hundred that start at the same moment would wait for the processors.
    async fn start(
        &self,
        contestant: &Contestant,
        names: &[String],
        relay: SocketAddr,
    ) -> anyhow::Result<Vec<Child>> {
        let uri = Self::uri(relay);
        let mut steps = Vec::with_capacity(names.len());
        for queue in names {
            steps.push(contestant.start(&Setup {
                uri: &uri,
                platform: self.platform,
                queue,
                step: PLAIN_STEP,
                prefetch: 1,
                messages: 0,
                logs: self.logs,
            })?);
            sleep(BETWEEN_STARTS).await;
        }
        Ok(steps)
    }

    async fn watch(&self, steps: &[Child]) -> anyhow::Result<Idle> {
        let pids: Vec<u32> = steps.iter().filter_map(Child::id).collect();
        ensure!(pids.len() == steps.len(), "a step has ended");
        sleep(SETTLE).await;
        let before = of_each(&pids, process::time_of_threads)?;
        sleep(self.watch).await;
        let after = of_each(&pids, process::time_of_threads)?;
        let minutes = self.watch.as_secs_f64() / 60.0;
        let used = before.iter().zip(&after);
        let used = used.map(|(before, after)| after.saturating_sub(*before).as_secs_f64());
        let megabytes = |bytes: Vec<u64>| ascending(bytes.iter().map(|bytes| *bytes as f64 / 1e6));
        Ok(Idle {
            private_memory: megabytes(of_each(&pids, process::private_memory)?),
            shared_memory: megabytes(of_each(&pids, process::proportional_memory)?),
            cpu: ascending(used.map(|seconds| seconds * 1e3 / minutes)),
        })
    }

    async fn restart(
        &self,
        relay: &Relay,
        names: &[String],
        steps: &mut [Child],
    ) -> anyhow::Result<Restart> {
        let port = self.broker;
        let gone = tokio::spawn(wait_for(port, false));
        self.control("stop_app").await?;
        let gone = gone.await??;
        sleep(self.stopped).await;
        let back = tokio::spawn(wait_for(port, true));
        self.control("start_app").await?;
        let back = back.await??;
        let queues = self.queues().await?;
        let consuming = until_all_consume(&queues, names, steps, back).await?;
        let attempts = relay.attempts();
        let (attempts, burst) = per_second(&attempts, gone, back);
        Ok(Restart {
            outage: (back - gone).as_secs_f64(),
            attempts,
            burst,
            consuming,
        })
    }

    async fn control(&self, command: &str) -> anyhow::Result<()> {
        let status = Command::new(&self.control).arg(command).status().await;
        let status = status.with_context(|| format!("starting {}", self.control.display()))?;
        ensure!(
            status.success(),
            "rabbitmqctl {command} failed, with {status}"
        );
        Ok(())
    }
}

/// Notes how many queues have a consumer, and when, until all have one.
async fn until_all_consume(
    queues: &Queues,
    names: &[String],
    steps: &mut [Child],
    since: Instant,
) -> anyhow::Result<Vec<(f64, usize)>> {
    let mut noted: Vec<(f64, usize)> = Vec::new();
    loop {
        let mut count = 0;
        for name in names {
            count += usize::from(queues.fill(name).await?.consumers > 0);
        }
        if noted.last().is_none_or(|(_, before)| *before != count) {
            noted.push((since.elapsed().as_secs_f64(), count));
        }
        if count == names.len() {
            return Ok(noted);
        }
        for step in &mut *steps {
            let ended = step.try_wait()?;
            ensure!(ended.is_none(), "a step has ended; --logs shows why");
        }
        ensure!(
            since.elapsed() < PATIENCE,
            "only {count} of {} steps consume",
            names.len()
        );
        sleep(LOOK).await;
    }
}

/// What idle steps take.
struct Idle {
    private_memory: Vec<f64>,
    shared_memory: Vec<f64>,
    cpu: Vec<f64>,
}

fn of_each<T>(pids: &[u32], figure: fn(u32) -> anyhow::Result<T>) -> anyhow::Result<Vec<T>> {
    pids.iter().map(|pid| figure(*pid)).collect()
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Waits until the port accepts connections, or does not. Returns the time at which that was seen.
async fn wait_for(port: SocketAddr, accepting: bool) -> anyhow::Result<Instant> {
    let start = Instant::now();
    while TcpStream::connect(port).await.is_ok() != accepting {
        ensure!(
            start.elapsed() < PATIENCE,
            "the broker does not stop, or does not start"
        );
        sleep(LOOK_AT_PORT).await;
    }
    Ok(Instant::now())
}

/// How many attempts there were in each second after the broker went away, and in the busiest 100 ms after it was back.
fn per_second(attempts: &[Instant], gone: Instant, back: Instant) -> (Vec<usize>, usize) {
    let after = |attempts: &[Instant], begin: Instant, slice: Duration| {
        let mut counts = Vec::new();
        // Connections are closed a moment before the port is.
        let begin = begin.checked_sub(SHORTLY).unwrap_or(begin);
        for attempt in attempts.iter().filter(|attempt| **attempt >= begin) {
            let slice = (*attempt - begin).div_duration_f64(slice) as usize;
            counts.resize(counts.len().max(slice + 1), 0);
            counts[slice] += 1;
        }
        counts
    };
    let bursts = after(attempts, back, Duration::from_millis(100));
    let burst = bursts.into_iter().max().unwrap_or_default();
    (after(attempts, gone, Duration::from_secs(1)), burst)
}

/// The most time between the first connection that a stopping broker closes and its port.
const SHORTLY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_in_seconds_and_bursts() {
        let gone = Instant::now();
        let at = |milliseconds| gone + Duration::from_millis(milliseconds);
        let attempts = [
            at(0),
            at(10),
            at(900),
            at(2_100),
            at(3_000),
            at(3_010),
            at(3_020),
        ];
        let (seconds, burst) = per_second(&attempts, gone, at(2_990));
        assert_eq!(seconds, [3, 0, 1, 3]);
        assert_eq!(burst, 3);
    }
}
