//! What the figures should be, and whether they are.

use crate::{
    contestant::{BATCHED_LOOP, LOOP, REFERENCE_BATCHED_LOOP, REFERENCE_LOOP},
    report::{Results, Unit, short},
};
use std::fmt::Write as _;

/// The contestant that has targets.
pub const OURS: &str = "ours";

/// A loop of this project counts as a bound if it is at least this many times as fast as the reference.
const AS_FAST: f64 = 0.95;

/// The loops of this project, each with its reference.
const LOOPS: [(&str, &str); 2] = [
    (LOOP, REFERENCE_LOOP),
    (BATCHED_LOOP, REFERENCE_BATCHED_LOOP),
];

/// What a figure of one row should be.
#[derive(Clone, Copy, Debug)]
struct Target {
    row: &'static str,
    unit: Unit,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    /// At least as much as the loop that has most.
    FastestLoop,
    /// At most this many times the loop's.
    Loop(f64),
    /// At most this.
    AtMost(f64),
}

const TARGETS: [Target; 12] = {
    const fn target(row: &'static str, unit: Unit, bound: Bound) -> Target {
        Target { row, unit, bound }
    }
    use Bound::{AtMost, FastestLoop, Loop};
    use Unit::{CpuPerMessage, PeakMemory, PrivateMemory, Rate, Size, StartUp};
    [
        target("1 KB, prefetch 1", Rate, FastestLoop),
        target("1 KB, prefetch 10", Rate, FastestLoop),
        target("1 KB, prefetch 100", Rate, FastestLoop),
        target("1 MB, prefetch 10", Rate, FastestLoop),
        target("1 KB, prefetch 10", CpuPerMessage, Loop(1.2)),
        target("1 KB, prefetch 100", CpuPerMessage, Loop(1.2)),
        target("1 KB, prefetch 100", PeakMemory, AtMost(16.0)),
        target("1 MB, prefetch 10", PeakMemory, AtMost(48.0)),
        target(
            "5 MB with self-passthrough, five in a row",
            PeakMemory,
            AtMost(48.0),
        ),
        target("idle step", PrivateMemory, AtMost(6.0)),
        target("start to first published message", StartUp, AtMost(40.0)),
        target("stripped binary", Size, AtMost(12.0)),
    ]
};

/// Whether the targets hold, and whether the loops count.
#[derive(Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Two tables in Markdown.
    pub tables: String,
    /// How many targets do not hold.
    pub misses: usize,
}

/// Compares the results with the targets.
#[must_use]
pub fn verdict(results: &[Results]) -> Verdict {
    let mut tables = "| row | target | figure | |\n|---|---|--:|---|\n".to_owned();
    let mut misses = 0;
    for target in TARGETS {
        let results = results.iter().find(|results| results.row() == target.row);
        let measured = results.and_then(|results| target.measure(results));
        let (bound, unit) = (target.bound, target.unit);
        let _ = match measured {
            Some(Measured {
                text,
                figure,
                holds,
            }) => {
                misses += usize::from(!holds);
                let holds = if holds { "holds" } else { "misses" };
                writeln!(
                    tables,
                    "| {} | {unit} {text} | {figure} | {holds} |",
                    target.row
                )
            }
            None => {
                writeln!(
                    tables,
                    "| {} | {unit} {bound} | – | not measured |",
                    target.row
                )
            }
        };
    }
    tables.push_str(&loops(results));
    Verdict { tables, misses }
}

/// A target in comparison with what was measured.
struct Measured {
    text: String,
    figure: String,
    holds: bool,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FastestLoop => f.write_str("≥ 1.0 × the fastest loop"),
            Self::Loop(times) => write!(f, "≤ {times:.1} × {LOOP}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Target {
    fn measure(&self, results: &Results) -> Option<Measured> {
        let ratio = |name: &'static str| {
            let ratio = results.ratio(self.unit, OURS, name)?;
            Some((ratio, name))
        };
        let (text, figure, holds) = match self.bound {
            Bound::AtMost(most) => {
                let figure = results.figure(self.unit, OURS)?;
                (self.bound.to_string(), short(figure), figure <= most)
            }
            Bound::Loop(times) => {
                let (figure, name) = ratio(counting(results, LOOPS[0]))?;
                let text = format!("≤ {times:.1} × {name}");
                (text, format!("{figure:.2}"), figure <= times)
            }
            Bound::FastestLoop => {
                let ratios = LOOPS
                    .into_iter()
                    .filter_map(|loops| ratio(counting(results, loops)));
                let (figure, name) = ratios.min_by(|(one, _), (other, _)| one.total_cmp(other))?;
                let text = format!("≥ 1.0 × {name}");
                (text, format!("{figure:.2}"), figure >= 1.0)
            }
        };
        Some(Measured {
            text,
            figure,
            holds,
        })
    }
}

/// The loop that is the bound: the reference, if ours is slower.
fn counting(results: &Results, (own, reference): (&'static str, &'static str)) -> &'static str {
    match results.ratio(Unit::Rate, own, reference) {
        Some(ratio) if ratio < AS_FAST => reference,
        _ => own,
    }
}

/// Which loops of this project are as fast as the reference.
fn loops(results: &[Results]) -> String {
    let mut lines = String::new();
    for results in results {
        for (own, reference) in LOOPS {
            let Some(ratio) = results.ratio(Unit::Rate, own, reference) else {
                continue;
            };
            let counts = if ratio < AS_FAST {
                format!("slower by more than 5 %: the {reference} is the bound")
            } else {
                "counts".to_owned()
            };
            let row = results.row();
            let _ = writeln!(
                lines,
                "| {row} | {own} ÷ {reference} | {ratio:.2} | {counts} |"
            );
        }
    }
    if lines.is_empty() {
        return "\nThe loops were not compared with a reference.\n".to_owned();
    }
    format!("\n| row | messages/s | ratio | |\n|---|---|--:|---|\n{lines}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 5] = [
        OURS,
        LOOP,
        BATCHED_LOOP,
        REFERENCE_LOOP,
        REFERENCE_BATCHED_LOOP,
    ];

    /// The results of a row, each with a rate and a CPU time per message.
    fn results(row: &'static str, rates: &[f64]) -> Results<'static> {
        let mut results = Results::new(row, &NAMES);
        for (contestant, rate) in rates.iter().enumerate() {
            let figures = [(Unit::Rate, *rate), (Unit::CpuPerMessage, 1e6 / rate)];
            results.add(contestant, &figures);
        }
        results
    }

    fn lines_of(verdict: &Verdict, row: &str) -> Vec<String> {
        let begin = format!("| {row} |");
        let lines = verdict.tables.lines();
        let lines = lines.filter_map(|line| line.strip_prefix(&begin));
        lines.map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn the_fastest_loop_is_the_bound() {
        let verdict = verdict(&[results("1 KB, prefetch 100", &[110.0, 100.0, 120.0])]);
        assert_eq!(
            lines_of(&verdict, "1 KB, prefetch 100"),
            [
                "messages/s ≥ 1.0 × batched loop | 0.92 | misses |",
                "CPU, µs per message ≤ 1.2 × loop | 0.91 | holds |",
                "peak memory, MB ≤ 16 | – | not measured |",
            ]
        );
        assert_eq!(verdict.misses, 1);
    }

    #[test]
    fn a_slow_loop_does_not_count() {
        let rates = [100.0, 80.0, 90.0, 101.0, 94.0];
        let verdict = verdict(&[results("1 KB, prefetch 100", &rates)]);
        assert_eq!(
            lines_of(&verdict, "1 KB, prefetch 100"),
            [
                "messages/s ≥ 1.0 × reference loop | 0.99 | misses |",
                "CPU, µs per message ≤ 1.2 × reference loop | 1.01 | holds |",
                "peak memory, MB ≤ 16 | – | not measured |",
                "loop ÷ reference loop | 0.79 | slower by more than 5 %: the reference loop is the bound |",
                "batched loop ÷ reference batched loop | 0.96 | counts |",
            ]
        );
    }

    #[test]
    fn memory_has_a_limit_of_its_own() {
        let mut results = Results::new("idle step", &NAMES);
        results.add(0, &[(Unit::PrivateMemory, 6.0)]);
        let verdict = verdict(&[results]);
        assert_eq!(
            lines_of(&verdict, "idle step"),
            ["private memory, MB ≤ 6 | 6.00 | holds |"]
        );
        assert_eq!(verdict.misses, 0);
    }

    #[test]
    fn every_target_has_a_row() {
        let rows = crate::rows::rows();
        for target in TARGETS {
            assert!(rows.iter().any(|row| row.name == target.row), "{target:?}");
        }
    }
}
