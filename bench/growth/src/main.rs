//! Measures how the cost of a step grows with its load, and draws it. `scripts/growth` runs it with everything that it
//! needs; docs/performance.md shows the result.

mod axis;
mod curves;
mod data;
mod delays;
mod density;
mod load;
mod page;
mod plot;
mod relay;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use curves::Stage;
use data::Data;
use density::Machine;
use load::VARIATIONS;
use sailor_bench::{broker, contestant::Contestant, platform};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// The file with all figures.
const FILE: &str = "growth.json";
/// The part of a measurement that is about many idle steps.
const DENSITY: &str = "density";

/// Measures how the cost of a step grows with its load, and draws it.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, keep the figures, draw the plots, and print tables.
    Measure(Box<Options>),
    /// Draw the plots and print the tables of figures that were measured before.
    Draw {
        /// The folder with the figures and the plots.
        folder: PathBuf,
    },
    /// Compute what other delays between attempts to connect would mean, and print a table.
    Delays {
        /// How long chance delays the first attempt, in milliseconds.
        #[arg(long, default_value_t = 0)]
        spread: u64,
    },
}

#[derive(Args)]
struct Options {
    /// The component that is measured.
    #[arg(long, value_name = "PATH")]
    ours: PathBuf,
    /// The broker's port on loopback, such as 127.0.0.1:5672.
    #[arg(long)]
    broker: SocketAddr,
    /// A program that runs rabbitmqctl for this broker.
    #[arg(long, value_name = "PATH")]
    control: PathBuf,
    /// The folder for the figures and the plots.
    #[arg(long)]
    folder: PathBuf,
    /// The commit and the machine, for readers.
    #[arg(long)]
    conditions: String,
    /// Only curves of this name, or `density`. May be given several times; the others stay as they are.
    #[arg(long, value_name = "CURVE")]
    only: Vec<String>,
    /// Other builds of the component, for the part about many idle steps. May be given several times.
    #[arg(long, value_name = "NAME=PATH")]
    also: Vec<String>,
    /// The name of the component's own line in that part.
    #[arg(long, default_value = "ours")]
    name: String,
    /// How often each point is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many seconds a run counts, at most.
    #[arg(long, default_value_t = 2.0)]
    counted: f64,
    /// How many idle steps there are.
    #[arg(long, default_value_t = 100)]
    steps: usize,
    /// How many seconds idle steps are watched.
    #[arg(long, default_value_t = 60)]
    watch: u64,
    /// How many seconds the broker is stopped.
    #[arg(long, default_value_t = 10)]
    stopped: u64,
    /// Show what the processes print.
    #[arg(long)]
    logs: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Measure(options) => measure(&options).await,
        Command::Draw { folder } => draw(&Data::read(&folder.join(FILE))?, &folder),
        Command::Delays { spread } => {
            let first = Duration::from_millis(100);
            print!("{}", delays::table(first, Duration::from_millis(spread)));
            Ok(())
        }
    }
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    let known =
        |name: &String| name == DENSITY || VARIATIONS.iter().any(|known| known.name == name);
    for name in &options.only {
        ensure!(known(name), "there is no curve {name}");
    }
    let folder = &options.folder;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let file = folder.join(FILE);
    let mut data = if file.exists() {
        Data::read(&file)?
    } else {
        Data::default()
    };
    let platform = platform::start().await?;
    measure_curves(options, platform, &mut data, &file).await?;
    if is_wanted(options, DENSITY) {
        measure_density(options, platform, &mut data, &file).await?;
    }
    draw(&data, folder)
}

fn is_wanted(options: &Options, name: &str) -> bool {
    options.only.is_empty() || options.only.iter().any(|only| only == name)
}

/// The file is written after each curve: a run that is interrupted keeps what it has.
async fn measure_curves(
    options: &Options,
    platform: SocketAddr,
    data: &mut Data,
    file: &Path,
) -> anyhow::Result<()> {
    let uri = format!("amqp://guest:guest@{}", options.broker);
    let stage = Stage {
        connection: broker::connect(&uri).await?,
        uri,
        platform,
        rounds: options.rounds,
        counted: Duration::from_secs_f64(options.counted),
        logs: options.logs,
    };
    let ours = text(&options.ours)?;
    for variation in VARIATIONS
        .iter()
        .filter(|known| is_wanted(options, known.name))
    {
        let mut curve = stage.curve(variation, ours).await?;
        curve.conditions.clone_from(&options.conditions);
        data.put_curve(curve);
        data.write(file)?;
    }
    Ok(())
}

async fn measure_density(
    options: &Options,
    platform: SocketAddr,
    data: &mut Data,
    file: &Path,
) -> anyhow::Result<()> {
    let machine = Machine {
        broker: options.broker,
        control: options.control.clone(),
        platform,
        steps: options.steps,
        watch: Duration::from_secs(options.watch),
        stopped: Duration::from_secs(options.stopped),
        logs: options.logs,
    };
    let mut builds = vec![Contestant::component(&options.name, text(&options.ours)?)?];
    for also in &options.also {
        let (name, path) = also.split_once('=').context("--also takes NAME=PATH")?;
        builds.push(Contestant::component(name, path)?);
    }
    for build in &builds {
        let mut density = machine.measure(build).await.context(build.name.clone())?;
        density.conditions.clone_from(&options.conditions);
        data.put_density(density);
        data.write(file)?;
    }
    Ok(())
}

fn draw(data: &Data, folder: &Path) -> anyhow::Result<()> {
    for (name, svg) in page::plots(data)? {
        let path = folder.join(name);
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
    }
    print!("{}", page::tables(data));
    Ok(())
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not UTF-8", path.display()))
}
