//! The load tool, the bare loop and the rows. `scripts/bench` runs it with everything that it needs.

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use sailor_bench::{
    bare_loop::{self, Acknowledge},
    broker::{self, Queues},
    contestant::{Contestant, PROTOCOL, Program},
    platform,
    report::{Results, Spread, head},
    rows::{Bench, Pace, Row, rows},
    targets::{self, OURS},
};
use std::path::PathBuf;

/// Measures the sailor against a broker. `AMQP_URI` names the broker, which is
/// amqp://guest:guest@127.0.0.1:5672 by default.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create the exchange bench:ex and the queues bench:in, :out, :err, :snap and :rebound.
    Declare,
    /// Drop all messages in these queues.
    Purge,
    /// Put encrypted messages into bench:in.
    Prefill {
        /// How many.
        messages: usize,
        /// How many bytes the body of each has, about.
        bytes: usize,
        /// The protocol version: 1 is base64, 2 is raw bytes.
        #[arg(default_value_t = PROTOCOL)]
        protocol: i64,
    },
    /// Print how many messages are in a queue.
    Count {
        /// The queue's name.
        queue: String,
    },
    /// Work on bench:in without a sailor, until the process is ended.
    Loop {
        /// How many messages are processed at the same time.
        #[arg(long, default_value_t = 1)]
        prefetch: u16,
        /// Acknowledge many messages at once.
        #[arg(long)]
        batched: bool,
        /// The protocol version of the messages.
        #[arg(long, default_value_t = PROTOCOL)]
        protocol: i64,
    },
    /// Run the rows and print the table.
    Rows(Options),
}

#[derive(Args)]
struct Options {
    /// The component that is measured. The function is `echo` unless it stands after the path: PATH:FUNCTION.
    #[arg(long, value_name = "PATH[:FUNCTION]")]
    ours: String,
    /// A component to compare it with, such as a build of an earlier commit.
    #[arg(long, value_name = "PATH[:FUNCTION]")]
    before: Option<String>,
    /// The folder node_modules that has the Node sailor. Without it, the Node sailor is left out.
    #[arg(long, value_name = "FOLDER")]
    node: Option<PathBuf>,
    /// A loop by others, which `loop` is compared with: a shell command with the same environment as that of --also.
    #[arg(long, value_name = "COMMAND")]
    reference_loop: Option<String>,
    /// The same for `batched loop`.
    #[arg(long, value_name = "COMMAND")]
    reference_batched_loop: Option<String>,
    /// Fail if a target is missed.
    #[arg(long)]
    check: bool,
    /// One more contestant: a shell command, which finds PREFETCH, MESSAGES and AMQP_URI in its environment. May be
    /// given several times.
    #[arg(long, value_name = "NAME=COMMAND")]
    also: Vec<String>,
    /// Minutes instead of half an hour: fewer rows, three short rounds.
    #[arg(long)]
    quick: bool,
    /// How often each contestant runs each row.
    #[arg(long)]
    rounds: Option<usize>,
    /// Only rows whose name contains this text. May be given several times.
    #[arg(long, value_name = "TEXT")]
    rows: Vec<String>,
    /// Show what the contestants print.
    #[arg(long)]
    logs: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let uri = std::env::var("AMQP_URI");
    let uri = uri.unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672".to_owned());
    match Cli::parse().command {
        Command::Declare => queues(&uri).await?.declare().await,
        Command::Purge => queues(&uri).await?.purge().await,
        Command::Prefill {
            messages,
            bytes,
            protocol,
        } => {
            let queues = queues(&uri).await?;
            queues.declare().await?;
            queues.prefill(messages, bytes, protocol).await
        }
        Command::Count { queue } => {
            println!("{}", queues(&uri).await?.fill(&queue).await?.messages);
            Ok(())
        }
        Command::Loop {
            prefetch,
            batched,
            protocol,
        } => {
            let acknowledge = if batched {
                Acknowledge::Batches
            } else {
                Acknowledge::Each
            };
            bare_loop::run(&uri, prefetch, protocol, acknowledge).await
        }
        Command::Rows(options) => run_rows(uri, &options).await,
    }
}

async fn queues(uri: &str) -> anyhow::Result<Queues> {
    Queues::open(&broker::connect(uri).await?).await
}

async fn run_rows(uri: String, options: &Options) -> anyhow::Result<()> {
    let mut pace = if options.quick {
        Pace::QUICK
    } else {
        Pace::FULL
    };
    pace.rounds = options.rounds.unwrap_or(pace.rounds);
    let contestants = contestants(options)?;
    let bench = Bench {
        connection: broker::connect(&uri).await?,
        uri,
        platform: platform::start().await?,
        pace,
        logs: options.logs,
    };
    let names: Vec<&str> = contestants
        .iter()
        .map(|contestant| &*contestant.name)
        .collect();
    print!("{}", head(&names));
    let mut results = Vec::new();
    for row in rows().iter().filter(|row| is_wanted(row, options)) {
        let row = run_row(&bench, row, &contestants, &names).await?;
        print!("{}", row.lines());
        results.push(row);
    }
    let verdict = targets::verdict(&results);
    print!("\n{}", verdict.tables);
    ensure!(
        verdict.misses == 0 || !options.check,
        "{} targets are missed",
        verdict.misses
    );
    Ok(())
}

fn is_wanted(row: &Row, options: &Options) -> bool {
    if options.rows.is_empty() {
        row.quick || !options.quick
    } else {
        options.rows.iter().any(|text| row.name.contains(text))
    }
}

fn contestants(options: &Options) -> anyhow::Result<Vec<Contestant>> {
    let mut contestants = vec![Contestant::component(OURS, &options.ours)?];
    if let Some(path) = &options.before {
        contestants.push(Contestant::component("before", path)?);
    }
    if let Some(modules) = &options.node {
        contestants.push(Contestant::node(modules)?);
    }
    contestants.push(Contestant::bare_loop(Acknowledge::Each));
    contestants.push(Contestant::bare_loop(Acknowledge::Batches));
    let references = [
        (Acknowledge::Each, &options.reference_loop),
        (Acknowledge::Batches, &options.reference_batched_loop),
    ];
    for (acknowledge, command) in references {
        let command = command.as_deref();
        contestants.extend(command.map(|line| Contestant::reference(acknowledge, line)));
    }
    for also in &options.also {
        let (name, command) = also.split_once('=').context("--also takes NAME=COMMAND")?;
        let program = Program::Shell(command.to_owned());
        contestants.push(Contestant {
            name: name.to_owned(),
            program,
        });
    }
    Ok(contestants)
}

/// Contestants take turns, and each round begins with another one.
async fn run_row<'a>(
    bench: &Bench,
    row: &Row,
    contestants: &[Contestant],
    names: &'a [&'a str],
) -> anyhow::Result<Results<'a>> {
    let mut results = Results::new(row.name, names);
    for round in 0..bench.pace.rounds {
        for turn in 0..contestants.len() {
            let index = (round + turn) % contestants.len();
            let contestant = &contestants[index];
            if !row.admits(contestant) {
                continue;
            }
            let figures = bench.run(row, contestant).await;
            let figures = figures.with_context(|| format!("{}, {}", row.name, contestant.name))?;
            for (unit, value) in &figures {
                let value = Spread(std::slice::from_ref(value));
                eprintln!(
                    "{}, round {}, {}: {value} {unit}",
                    row.name,
                    round + 1,
                    contestant.name
                );
            }
            results.add(index, &figures);
        }
    }
    Ok(results)
}
