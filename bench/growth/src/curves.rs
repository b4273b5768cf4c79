//! Measures the curves.

use crate::{
    data::{Curve, Point, Series},
    load::{Load, Variation},
};
use anyhow::{Context as _, ensure};
use sailor_bench::{
    broker::{ERRORS, INPUT, Queues},
    contestant::{Contestant, PROTOCOL, Setup},
    report::median,
    running::{Counted, Running},
};
use std::{net::SocketAddr, time::Duration};

/// Where and how long everything runs.
pub struct Stage {
    /// The broker.
    pub uri: String,
    /// The connection that fills and counts queues.
    pub connection: lapin::Connection,
    /// The platform's API.
    pub platform: SocketAddr,
    /// How often each point is measured.
    pub rounds: usize,
    /// How long one run counts, at most.
    pub counted: Duration,
    /// Whether the output of processes is shown.
    pub logs: bool,
}

/// The runs of one contestant with one load.
type Runs = Vec<Counted>;

impl Stage {
    /// Measures all points of a curve, once in each round.
    ///
    /// # Errors
    /// When a contestant fails.
    pub async fn curve(&self, variation: &Variation, ours: &str) -> anyhow::Result<Curve> {
        let contestants = variation.contestants(ours)?;
        let loads = variation.loads();
        let mut runs: Vec<Vec<Runs>> = vec![vec![Vec::new(); loads.len()]; contestants.len()];
        for round in 0..self.rounds {
            for (at, load) in loads.iter().enumerate() {
                for (contestant, runs) in contestants.iter().zip(&mut runs) {
                    let what = format!("{} {}, {}", variation.name, load.x, contestant.name);
                    let counted = self.run(contestant, load).await.context(what.clone())?;
                    eprintln!("{what}, round {}: {:.0}/s", round + 1, counted.rate);
                    runs[at].push(counted);
                }
            }
        }
        let series = contestants.iter().zip(&runs).map(|(contestant, runs)| {
            let points = loads.iter().zip(runs);
            Series {
                name: contestant.name.clone(),
                points: points.map(|(load, runs)| point(load.x, runs)).collect(),
            }
        });
        Ok(Curve {
            name: variation.name.to_owned(),
            conditions: String::new(),
            series: series.collect(),
        })
    }

    async fn run(&self, contestant: &Contestant, load: &Load) -> anyhow::Result<Counted> {
        let queues = Queues::open(&self.connection).await?;
        queues.renew().await?;
        let payload = |_| &load.payload;
        queues.fill_with(load.messages, PROTOCOL, payload).await?;
        let setup = Setup {
            uri: &self.uri,
            platform: self.platform,
            queue: INPUT,
            step: load.step,
            prefetch: load.prefetch,
            messages: load.messages,
            logs: self.logs,
        };
        let mut running = Running::start(contestant, &setup, load.replicas)?;
        let events = load.messages * load.events;
        let counted = running.count(&queues, events, self.counted).await?;
        running.end().await?;
        let errors = queues.fill(ERRORS).await?.messages;
        ensure!(errors == 0, "it sent {errors} error events");
        queues.renew().await?;
        queues.close().await?;
        Ok(counted)
    }
}

/// The medians of the runs.
fn point(x: usize, runs: &[Counted]) -> Point {
    let middle = |figure: fn(&Counted) -> Option<f64>| {
        let values: Vec<f64> = runs.iter().filter_map(figure).collect();
        (!values.is_empty()).then(|| median(&values))
    };
    Point {
        x: x as f64,
        rate: middle(|run| Some(run.rate)).unwrap_or_default(),
        cpu: middle(|run| Some(run.cpu_per_message?.as_secs_f64() * 1e6)),
        memory: middle(|run| Some(run.peak_memory? as f64 / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_the_median_of_its_runs() {
        let run = |rate, memory| Counted {
            rate,
            cpu_per_message: Some(Duration::from_micros(3)),
            peak_memory: memory,
        };
        let runs = [
            run(1.0, Some(4_000_000)),
            run(5.0, None),
            run(2.0, Some(2_000_000)),
        ];
        let expected = Point {
            x: 7.0,
            rate: 2.0,
            cpu: Some(3.0),
            memory: Some(3.0),
        };
        assert_eq!(point(7, &runs), expected);
        assert_eq!(point(7, &[run(1.0, None)]).memory, None);
    }
}
