//! Medians, spreads and ratios of what was measured, as a table in Markdown.

use std::fmt::{self, Write as _};

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Published messages per second.
    Rate,
    /// CPU time for each of them, in microseconds.
    CpuPerMessage,
    /// The most physical memory, in megabytes.
    PeakMemory,
    /// Physical memory that can be shared with no other process, in megabytes.
    PrivateMemory,
    /// CPU time of an idle process, in milliseconds per minute.
    IdleCpu,
    /// Milliseconds.
    StartUp,
    /// Megabytes of a file.
    Size,
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rate => "messages/s",
            Self::CpuPerMessage => "CPU, µs per message",
            Self::PeakMemory => "peak memory, MB",
            Self::PrivateMemory => "private memory, MB",
            Self::IdleCpu => "CPU, ms per minute",
            Self::StartUp => "time, ms",
            Self::Size => "size, MB",
        })
    }
}

/// A number of one run.
pub type Figure = (Unit, f64);

/// The results of all contestants in one row.
pub struct Results<'a> {
    row: &'a str,
    contestants: &'a [&'a str],
    /// For each unit, by contestant and round.
    runs: Vec<(Unit, Vec<Vec<f64>>)>,
}

impl<'a> Results<'a> {
    /// Begins a row. The first contestant is the one that the others are compared with.
    #[must_use]
    pub fn new(row: &'a str, contestants: &'a [&'a str]) -> Self {
        Self {
            row,
            contestants,
            runs: Vec::new(),
        }
    }

    /// Adds a run of the contestant with this index.
    pub fn add(&mut self, contestant: usize, figures: &[Figure]) {
        for &(unit, value) in figures {
            let index = self.runs.iter().position(|(known, _)| *known == unit);
            let index = index.unwrap_or_else(|| {
                self.runs
                    .push((unit, vec![Vec::new(); self.contestants.len()]));
                self.runs.len() - 1
            });
            self.runs[index].1[contestant].push(value);
        }
    }

    /// The row's name.
    #[must_use]
    pub fn row(&self) -> &'a str {
        self.row
    }

    /// The median of a contestant's runs.
    #[must_use]
    pub fn figure(&self, unit: Unit, contestant: &str) -> Option<f64> {
        finite(median(self.runs_of(unit, contestant)?))
    }

    /// How many times the figure of another contestant a contestant's is.
    #[must_use]
    pub fn ratio(&self, unit: Unit, contestant: &str, other: &str) -> Option<f64> {
        ratio(self.runs_of(unit, contestant)?, self.runs_of(unit, other)?)
    }

    fn runs_of(&self, unit: Unit, contestant: &str) -> Option<&[f64]> {
        let index = self
            .contestants
            .iter()
            .position(|name| *name == contestant)?;
        let (_, runs) = self.runs.iter().find(|(known, _)| *known == unit)?;
        runs.get(index).map(Vec::as_slice)
    }

    /// The lines of the table: one for each unit.
    #[must_use]
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        for (unit, runs) in &self.runs {
            let _ = write!(lines, "| {} | {unit} |", self.row);
            for values in runs {
                let _ = write!(lines, " {} |", Spread(values));
            }
            for others in &runs[1..] {
                let ratio = ratio(&runs[0], others);
                let ratio = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
                let _ = write!(lines, " {ratio} |");
            }
            lines.push('\n');
        }
        lines
    }
}

/// The head of the table.
#[must_use]
pub fn head(contestants: &[&str]) -> String {
    let first = contestants.first().copied().unwrap_or_default();
    let mut names = String::new();
    for name in contestants {
        let _ = write!(names, " {name} |");
    }
    for name in contestants.iter().skip(1) {
        let _ = write!(names, " {first} ÷ {name} |");
    }
    let columns = (2 * contestants.len()).saturating_sub(1);
    format!(
        "| row | figure |{names}\n|---|---|{}\n",
        "--:|".repeat(columns)
    )
}

/// The middle of some values; for an even number, the mean of the two in the middle. NaN if there are none.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => f64::midpoint(sorted[length / 2 - 1], sorted[length / 2]),
    }
}

/// The median of the ratios of each round, in which both ran under the same conditions.
fn ratio(ours: &[f64], others: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(others)
        .map(|(ours, other)| ours / other)
        .collect();
    finite(median(&ratios))
}

/// A missing or zero value has no ratio, and no values have no median.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// The median of some values, with the smallest and the largest of them.
pub struct Spread<'a>(pub &'a [f64]);

impl fmt::Display for Spread<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self.0 {
            [] => f.write_str("–"),
            [value] => f.write_str(&short(*value)),
            values => {
                write!(
                    f,
                    "{} ({}..{})",
                    short(median(values)),
                    short(least),
                    short(greatest)
                )
            }
        }
    }
}

/// Rounds to three digits: a run is not more exact than that.
pub(crate) fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_value_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in the second round.
        let mut results = Results::new("row", &["ours", "other", "absent"]);
        for (ours, other) in [(100.0, 200.0), (50.0, 100.0), (101.0, 202.0)] {
            results.add(0, &[(Unit::Rate, ours)]);
            results.add(1, &[(Unit::Rate, other)]);
        }
        let expected = "| row | messages/s | 100 (50.0..101) | 200 (100..202) | – | 0.50 | – |\n";
        assert_eq!(results.lines(), expected);
    }

    #[test]
    fn the_table_head_has_a_column_for_each_cell() {
        let head = head(&["ours", "other"]);
        assert_eq!(
            head,
            "| row | figure | ours | other | ours ÷ other |\n|---|---|--:|--:|--:|\n"
        );
    }
}
