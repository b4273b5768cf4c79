//! Runs one scenario of the hot path, for `scripts/guard` to count its instructions; without a name, lists them.

use anyhow::Context as _;
use sailor_bench::hot_path::{Run, SCENARIOS};

fn main() -> anyhow::Result<()> {
    let Some(name) = std::env::args().nth(1) else {
        for scenario in SCENARIOS {
            println!("{} {}", scenario.name, scenario.messages);
        }
        return Ok(());
    };
    let scenario = SCENARIOS.into_iter().find(|scenario| scenario.name == name);
    let scenario = scenario.context("there is no such scenario")?;
    let mut run = Run::start(scenario)?;
    run.warm_up()?;
    let messages = run.messages(scenario.messages);
    run.counted(messages)
}
