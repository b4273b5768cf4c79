//! What is measured: each row of the report, and how one run of it goes.

use crate::{
    bare_loop::Acknowledge,
    broker::{ERRORS, INPUT, OUTPUT, Queues},
    contestant::{Contestant, PROTOCOL, Program, Setup},
    platform::{PASSTHROUGH_STEP, PLAIN_STEP},
    process,
    report::{Figure, Unit, median},
    running::{PATIENCE, Running},
};
use anyhow::{Context as _, ensure};
use futures_util::StreamExt as _;
use lapin::Connection;
use std::{
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

/// How many messages with self-passthrough there are in a row, each of this many bytes.
const LARGE: (usize, usize) = (5, 5 << 20);
/// How often a process is started in one run of the start-up row.
const STARTS: usize = 5;

/// How long a benchmark takes.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often each contestant runs each row.
    pub rounds: usize,
    /// How long the messages of one run are counted, at most.
    pub counted: Duration,
    /// How long an idle process is left alone, and then watched.
    pub idle: (Duration, Duration),
    /// Multiplies the number of messages.
    pub factor: usize,
}

impl Pace {
    /// Minutes.
    pub const QUICK: Self = Self {
        rounds: 3,
        counted: Duration::from_secs(2),
        idle: (Duration::from_secs(1), Duration::from_secs(3)),
        factor: 1,
    };
    /// About half an hour.
    pub const FULL: Self = Self {
        rounds: 5,
        counted: Duration::from_secs(6),
        idle: (Duration::from_secs(5), Duration::from_secs(20)),
        factor: 3,
    };
}

/// A row of the report.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name in the report.
    pub name: &'static str,
    /// Whether it is part of a quick run.
    pub quick: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Messages of `bytes` bytes, of which `prefetch` are processed at the same time.
    Throughput {
        bytes: usize,
        prefetch: u16,
        messages: usize,
    },
    /// Large messages that go out with themselves as passthrough, one at a time.
    Passthrough,
    /// A step without messages.
    Idle,
    /// From the start of the process to its first published message.
    StartUp,
    /// The binary without its symbols.
    Size,
}

/// All rows in the order of the report.
#[must_use]
pub fn rows() -> Vec<Row> {
    let throughput = |name, quick, bytes, prefetch, messages| {
        let kind = Kind::Throughput {
            bytes,
            prefetch,
            messages,
        };
        Row { name, quick, kind }
    };
    let other = |name, kind| Row {
        name,
        quick: true,
        kind,
    };
    vec![
        throughput("1 KB, prefetch 1", false, 1024, 1, 6_000),
        throughput("1 KB, prefetch 10", true, 1024, 10, 16_000),
        throughput("1 KB, prefetch 100", true, 1024, 100, 20_000),
        throughput("1 MB, prefetch 10", true, 1 << 20, 10, 250),
        other(
            "5 MB with self-passthrough, five in a row",
            Kind::Passthrough,
        ),
        other("idle step", Kind::Idle),
        other("start to first published message", Kind::StartUp),
        other("stripped binary", Kind::Size),
    ]
}

impl Row {
    /// Whether the row says something about this contestant.
    #[must_use]
    pub fn admits(&self, contestant: &Contestant) -> bool {
        match (self.kind, &contestant.program) {
            (Kind::Size, _) => contestant.binary().is_some(),
            // With a small prefetch there are no batches.
            (
                Kind::Throughput { prefetch, .. },
                Program::Loop(Acknowledge::Batches)
                | Program::ReferenceLoop(Acknowledge::Batches, _),
            ) => prefetch >= 100,
            (_, Program::Loop(Acknowledge::Batches)) => false,
            // A reference says how fast the loops are, and nothing else.
            (kind, Program::ReferenceLoop(..)) => matches!(kind, Kind::Throughput { .. }),
            // It does not support passthrough.
            (Kind::Passthrough, Program::Loop(_)) => false,
            _ => true,
        }
    }
}

/// Where contestants run.
pub struct Bench {
    /// The connection that fills and counts queues.
    pub connection: Connection,
    /// The broker that contestants connect to.
    pub uri: String,
    /// The platform's API.
    pub platform: SocketAddr,
    /// How long everything takes.
    pub pace: Pace,
    /// Whether contestants' output is shown.
    pub logs: bool,
}

impl Bench {
    /// One run of a row by one contestant.
    ///
    /// # Errors
    /// When the contestant ends, sends error events, or does nothing for a minute.
    pub async fn run(&self, row: &Row, contestant: &Contestant) -> anyhow::Result<Vec<Figure>> {
        if let Kind::Size = row.kind {
            let binary = contestant.binary().context("only a component has a size")?;
            return Ok(vec![stripped_size(binary).await?]);
        }
        let queues = Queues::open(&self.connection).await?;
        queues.renew().await?;
        let figures = match row.kind {
            Kind::Throughput {
                bytes,
                prefetch,
                messages,
            } => {
                let messages = messages * self.pace.factor;
                queues.prefill(messages, bytes, PROTOCOL).await?;
                let setup = self.setup(PLAIN_STEP, prefetch, messages);
                self.throughput(&queues, contestant, &setup).await?
            }
            Kind::Passthrough => self.passthrough(&queues, contestant).await?,
            Kind::Idle => self.idle(&queues, contestant).await?,
            Kind::StartUp | Kind::Size => vec![self.start_up(&queues, contestant).await?],
        };
        let errors = queues.fill(ERRORS).await?.messages;
        ensure!(errors == 0, "it sent {errors} error events");
        // The remaining messages would use the broker's memory.
        queues.renew().await?;
        queues.close().await?;
        Ok(figures)
    }

    fn setup<'a>(&'a self, step: &'a str, prefetch: u16, messages: usize) -> Setup<'a> {
        let (uri, platform, logs) = (&*self.uri, self.platform, self.logs);
        Setup {
            uri,
            platform,
            queue: INPUT,
            step,
            prefetch,
            messages,
            logs,
        }
    }

    async fn throughput(
        &self,
        queues: &Queues,
        contestant: &Contestant,
        setup: &Setup<'_>,
    ) -> anyhow::Result<Vec<Figure>> {
        let mut running = Running::start(contestant, setup, 1)?;
        let counted = running.count(queues, setup.messages, self.pace.counted);
        let counted = counted.await?;
        running.end().await?;
        let cpu = counted.cpu_per_message;
        let memory = counted.peak_memory.map(megabytes);
        let mut figures = vec![(Unit::Rate, counted.rate)];
        figures.extend(cpu.map(|time| (Unit::CpuPerMessage, time.as_secs_f64() * 1e6)));
        figures.extend(memory.map(|memory| (Unit::PeakMemory, memory)));
        Ok(figures)
    }

    async fn passthrough(
        &self,
        queues: &Queues,
        contestant: &Contestant,
    ) -> anyhow::Result<Vec<Figure>> {
        let (messages, bytes) = LARGE;
        queues.prefill(messages, bytes, PROTOCOL).await?;
        let mut running =
            Running::start(contestant, &self.setup(PASSTHROUGH_STEP, 1, messages), 1)?;
        running.published(queues, messages).await?;
        let peak = running.peak_memory()?;
        running.end().await?;
        Ok(vec![(Unit::PeakMemory, megabytes(peak))])
    }

    async fn idle(&self, queues: &Queues, contestant: &Contestant) -> anyhow::Result<Vec<Figure>> {
        let mut running = Running::start(contestant, &self.setup(PLAIN_STEP, 1, 0), 1)?;
        running.consuming(queues).await?;
        let pid = running.pids()[0];
        let (settle, watch) = self.pace.idle;
        sleep(settle).await;
        let before = process::time_of_threads(pid)?;
        sleep(watch).await;
        let used = process::time_of_threads(pid)?.saturating_sub(before);
        let memory = process::private_memory(pid)?;
        running.end().await?;
        let per_minute = used.as_secs_f64() * 1e3 * 60.0 / watch.as_secs_f64();
        Ok(vec![
            (Unit::PrivateMemory, megabytes(memory)),
            (Unit::IdleCpu, per_minute),
        ])
    }

    async fn start_up(&self, queues: &Queues, contestant: &Contestant) -> anyhow::Result<Figure> {
        let mut arrivals = queues.consume(OUTPUT).await?;
        let mut times = Vec::with_capacity(STARTS);
        for _ in 0..STARTS {
            queues.prefill(1, 1024, PROTOCOL).await?;
            let start = Instant::now();
            let running = Running::start(contestant, &self.setup(PLAIN_STEP, 1, 1), 1)?;
            let arrival = timeout(PATIENCE, arrivals.next()).await;
            arrival
                .context("it published nothing for a minute")?
                .context("the queue is gone")??;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            running.end().await?;
            queues.drain_input().await?;
        }
        Ok((Unit::StartUp, median(&times)))
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

async fn stripped_size(binary: &Path) -> anyhow::Result<Figure> {
    let copy = std::env::temp_dir().join(format!("sailor-bench-{}", std::process::id()));
    let status = Command::new("strip")
        .arg("-o")
        .arg(&copy)
        .arg(binary)
        .status()
        .await;
    let size = std::fs::metadata(&copy).map(|file| file.len());
    let _ = std::fs::remove_file(&copy);
    ensure!(
        status
            .context("running strip, of the package binutils")?
            .success(),
        "strip failed"
    );
    Ok((Unit::Size, megabytes(size?)))
}
