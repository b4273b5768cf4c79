//! Orders faults against a running step on a private RabbitMQ, and counts what became of every message.
//! docs/reliability.md explains the table; `scripts/faults` and `scripts/soak` start this program.

mod broker;
mod carry_out;
mod fault;
mod mixed;
mod queues;
mod relay;
mod replica;
mod report;
mod rows;
mod signal;
mod soak;
mod stage;
mod tally;
mod watch;
mod work;

use anyhow::{Context as _, anyhow, bail};
use broker::Broker;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fault::Fault;
use mixed::Pair;
use replica::Program;
use report::{Figures, HEAD};
use rows::{Row, rows};
use stage::{Setup, Stage};
use std::{path::PathBuf, process::ExitCode};
use work::Work;

/// Orders faults against a running step.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the table.
    Table(Table),
    /// List the rows.
    List,
    /// Run a step under a mix of messages and faults, and print its memory and its files each minute.
    Soak {
        /// How long.
        minutes: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Run two programs as replicas of one step: ours, and the Node sailor or another build.
    Mixed(Mixed),
}

#[derive(Args)]
struct Common {
    /// The program rabbitmq-server, with rabbitmqctl beside it.
    #[arg(long, default_value = "/usr/lib/rabbitmq/bin/rabbitmq-server")]
    server: PathBuf,
    /// The component examples/scripted.
    #[arg(long, default_value = "target/debug/scripted")]
    ours: PathBuf,
    /// The reference component, which sends requests with tokens.
    #[arg(long, default_value = "target/debug/component")]
    component: PathBuf,
    /// The Node sailor's folder node_modules.
    #[arg(long)]
    node: Option<PathBuf>,
    /// The type of all queues.
    #[arg(long, value_enum, default_value_t = QueueType::Classic)]
    queue_type: QueueType,
    /// A folder for the output of the processes. Each row replaces what was there.
    #[arg(long, default_value = "target/faults")]
    logs: PathBuf,
}

#[derive(Args)]
struct Table {
    #[command(flatten)]
    common: Common,
    /// The rows; all of them if none is named.
    rows: Vec<String>,
    /// Fewer messages and shorter stalls, without the rows that take minutes.
    #[arg(long)]
    quick: bool,
    /// How many replicas the step has in each row, if not what the row says.
    #[arg(long)]
    replicas: Option<usize>,
}

#[derive(Args)]
struct Mixed {
    #[command(flatten)]
    common: Common,
    /// Another build of the component examples/scripted, instead of the Node sailor.
    #[arg(long, requires = "component_binary")]
    binary: Option<PathBuf>,
    /// Only the checks that are fast.
    #[arg(long)]
    quick: bool,
    /// The same build of the reference component.
    #[arg(long)]
    component_binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum QueueType {
    Classic,
    Quorum,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // The processes end with their handles, which are dropped with the future.
    let result = tokio::select! {
        result = carry_out_command(cli.command) => result,
        () = signal::asked_to_end() => Err(anyhow!("ended by a signal")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn carry_out_command(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Table(options) => table(&options).await,
        Command::List => {
            for row in rows(false) {
                println!("{:16} {}", row.id, row.name());
            }
            Ok(())
        }
        Command::Soak { minutes, common } => {
            let mut stage = stage(&common, Broker::start(&common.server, 1).await?)?;
            soak::soak(&mut stage, Program::binary("ours", &common.ours)?, minutes).await
        }
        Command::Mixed(options) => {
            let pair = pair(&options)?;
            let common = &options.common;
            let mut stage = stage(common, Broker::start(&common.server, 1).await?)?;
            mixed::mixed(&mut stage, &pair, options.quick).await
        }
    }
}

async fn table(options: &Table) -> anyhow::Result<()> {
    let rows = wanted(options)?;
    let (clustered, single): (Vec<_>, Vec<_>) = rows
        .into_iter()
        .partition(|row| matches!(row.fault, Fault::KillOneOfThree(_)));
    println!("{HEAD}");
    let mut broken = Vec::new();
    for (nodes, rows) in [(1, single), (3, clustered)] {
        if rows.is_empty() {
            continue;
        }
        let broker = Broker::start(&options.common.server, nodes).await?;
        let mut stage = stage(&options.common, broker)?;
        for row in rows {
            for program in programs(&options.common, row.work)? {
                let figures = run(&mut stage, &row, &program).await;
                let figures = figures.with_context(|| format!("{}, {}", row.id, program.name))?;
                println!("{}", figures.line(&row.name(), program.name));
                broken.extend(complaints(&row, &program, &figures));
            }
        }
    }
    if !broken.is_empty() {
        bail!("not as promised:\n{}", broken.join("\n"));
    }
    Ok(())
}

fn wanted(options: &Table) -> anyhow::Result<Vec<Row>> {
    let all = rows(options.quick);
    if let Some(unknown) = options
        .rows
        .iter()
        .find(|id| all.iter().all(|row| row.id != **id))
    {
        bail!("there is no row {unknown:?}; `list` lists them");
    }
    let is_wanted = |row: &Row| {
        let exists = options.common.queue_type == QueueType::Classic || row.is_for_quorum();
        exists
            && if options.rows.is_empty() {
                row.quick || !options.quick
            } else {
                options.rows.iter().any(|id| row.id == id)
            }
    };
    let wanted = all.into_iter().filter(is_wanted);
    Ok(match options.replicas {
        Some(replicas) => wanted.map(|row| row.with_replicas(replicas)).collect(),
        None => wanted.collect(),
    })
}

fn stage(common: &Common, broker: Broker) -> anyhow::Result<Stage> {
    std::fs::create_dir_all(&common.logs)?;
    let logs = common.logs.clone();
    let quorum = common.queue_type == QueueType::Quorum;
    Ok(Stage {
        broker,
        quorum,
        logs,
    })
}

/// The components for the Node sailor that do what `scripted` and the reference component do.
const NODE_SCRIPTED: &str = "tests/conformance/record/component";
const NODE_REQUESTS: &str = "emulator/examples/side-by-side/component";

/// Ours, and the Node sailor if it is there.
fn programs(common: &Common, work: Work) -> anyhow::Result<Vec<Program>> {
    let (ours, node) = if work == Work::Requests {
        (&common.component, NODE_REQUESTS)
    } else {
        (&common.ours, NODE_SCRIPTED)
    };
    let mut programs = vec![Program::binary("ours", ours)?];
    if let Some(modules) = &common.node {
        programs.push(Program::node(modules, node)?);
    }
    Ok(programs)
}

fn pair(options: &Mixed) -> anyhow::Result<Pair> {
    let common = &options.common;
    let other = |binary: &Option<PathBuf>, component| match (binary, &common.node) {
        (Some(path), _) => Program::binary("other build", path),
        (None, Some(modules)) => Program::node(modules, component),
        (None, None) => bail!("--node or --binary names the other program"),
    };
    Ok(Pair {
        scripted: [
            Program::binary("ours", &common.ours)?,
            other(&options.binary, NODE_SCRIPTED)?,
        ],
        requests: [
            Program::binary("ours", &common.component)?,
            other(&options.component_binary, NODE_REQUESTS)?,
        ],
    })
}

async fn run(stage: &mut Stage, row: &Row, program: &Program) -> anyhow::Result<Figures> {
    let setup = Setup {
        programs: vec![program.clone(); row.replicas],
        prefetch: row.prefetch,
        function: row.function(),
        arguments: row.arguments(),
        variables: row.variables(),
        reads_output: !matches!(row.fault, Fault::FullOutput(_)),
        is_fast: row.work.is_fast(),
    };
    let mut run = stage.run(&setup).await?;
    row.work.send(&mut run, row.messages).await?;
    carry_out::prepare(&row.fault, &run).await?;
    run.start(&setup).await?;
    let faults = carry_out::carry_out(&row.fault, &mut run).await?;
    run.wait(row.patience).await;
    run.end(faults).await
}

/// What is worse than promised, with what the step says about it.
fn complaints(row: &Row, program: &Program, figures: &Figures) -> Vec<String> {
    if !program.is_ours {
        return Vec::new();
    }
    let mut broken = figures.broken(&row.promise);
    if !row.fault.was_felt(figures) {
        broken.push("the fault has not reached the step".to_owned());
    }
    if !broken.is_empty() {
        broken.extend(
            figures
                .errors
                .iter()
                .map(|error| format!("an error event says: {error}")),
        );
    }
    broken
        .into_iter()
        .map(|text| format!("{}: {text}", row.id))
        .collect()
}
