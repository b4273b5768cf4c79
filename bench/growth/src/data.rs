//! What was measured, as it is kept in a file from which the plots are drawn.

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// Everything that was measured in one run.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Data {
    /// Figures that depend on one number.
    pub curves: Vec<Curve>,
    /// Many idle steps on one machine, by the name of their build.
    pub densities: Vec<Density>,
}

/// Figures that depend on one number, such as the size of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Its name, which is also the name of its plot.
    pub name: String,
    /// Commit, machine and command.
    pub conditions: String,
    /// One line for each contestant.
    pub series: Vec<Series>,
}

/// The figures of one contestant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The contestant.
    pub name: String,
    /// In the order of `x`.
    pub points: Vec<Point>,
}

/// The medians of all runs of one contestant with one load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The number that the figures depend on.
    pub x: f64,
    /// Published messages per second.
    pub rate: f64,
    /// CPU time of all replicas for each of them, in microseconds.
    pub cpu: Option<f64>,
    /// The most physical memory of one replica, in megabytes.
    pub memory: Option<f64>,
}

/// Many idle steps, and what a restart of the broker does to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Density {
    /// Which build of the component this is.
    pub name: String,
    /// Commit, machine and command.
    pub conditions: String,
    /// How many steps there are.
    pub steps: usize,
    /// `Private_Dirty` of each step, in megabytes, in ascending order.
    pub private_memory: Vec<f64>,
    /// The share of each step in the physical memory, in megabytes, in ascending order.
    pub shared_memory: Vec<f64>,
    /// The CPU time of each step, in milliseconds per minute, in ascending order.
    pub cpu: Vec<f64>,
    /// What the restart of the broker did.
    pub restart: Restart,
}

/// How steps come back after the broker was away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// When the broker accepted connections again, in seconds after it began to stop.
    pub outage: f64,
    /// How many attempts to connect there were in each second since the broker began to stop.
    pub attempts: Vec<usize>,
    /// How many attempts there were in the busiest 100 ms after the broker was back.
    pub burst: usize,
    /// How many steps consumed, at which time in seconds since the broker was back.
    pub consuming: Vec<(f64, usize)>,
}

impl Restart {
    /// The seconds from the broker's return until so many steps consumed. Infinite if they did not.
    #[must_use]
    pub fn until(&self, steps: usize) -> f64 {
        let mut consuming = self.consuming.iter();
        let enough = consuming.find(|(_, count)| *count >= steps);
        enough.map_or(f64::INFINITY, |(at, _)| *at)
    }
}

impl Data {
    /// Reads the file.
    ///
    /// # Errors
    /// When it is missing, or is not such a file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Replaces the curve of the same name, or adds it.
    pub fn put_curve(&mut self, curve: Curve) {
        match self
            .curves
            .iter_mut()
            .find(|known| known.name == curve.name)
        {
            Some(known) => *known = curve,
            None => self.curves.push(curve),
        }
    }

    /// Replaces the steps of the same name, or adds them.
    pub fn put_density(&mut self, density: Density) {
        let mut known = self.densities.iter_mut();
        match known.find(|known| known.name == density.name) {
            Some(known) => *known = density,
            None => self.densities.push(density),
        }
    }
}
